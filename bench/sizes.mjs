// What a session takes: bytes on disk in SQLite, files and Postgres after it was written many times, and memory in Redis; each without an
// owner, and with one who has two sessions. The record is 300 bytes of JSON, the key as long as those of sessions are.

import { lstatSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { openStore } from "coatcheck/open"
import { Redis } from "ioredis"
import pg from "pg"
import { withEngine } from "./lib/engines.mjs"
import { inFolder } from "./lib/programs.mjs"
import { each, fill, HOUR, keyOf, value } from "./lib/records.mjs"
import { failure, number, table } from "./lib/report.mjs"

/** Each write of a file waits for the disk, so there are fewer of them. */
const FILES_PART = 1 / 10
const ROUNDS = 3
const TOGETHER = 500
/** It is about room, not time, so a slow disk may take its own. */
const PATIENCE = "1m"

/** Without an owner, and with one: what is said of the n-th session. */
const kinds = [
  () => ({ expiresAt: Date.now() + HOUR }),
  (n) => ({ expiresAt: Date.now() + HOUR, owner: `user-${n >> 1}` }),
]

/** Of each store, what is measured: `measure(count)` gives the bytes of so many sessions, of each kind. */
const measures = [
  { store: "SQLite", what: "on disk", measure: (count) => inFiles("sqlite:", count) },
  { store: "files", what: "on disk", part: FILES_PART, measure: (count) => inFiles("file:", count) },
  { store: "Postgres", what: "on disk, vacuumed between the writes", measure: (count) => postgres("VACUUM", count) },
  { store: "Postgres", what: "on disk, never vacuumed", measure: (count) => postgres("SELECT 1", count) },
  { store: "Redis", what: "of memory", measure: redis },
]

/** One row a measure, without and with owner, or one with what failed. */
export async function measureSizes({ count, stores, log }) {
  const rows = []
  for (const { store, what, part = 1, measure } of measures.filter((one) => stores.includes(one.store))) {
    const own = Math.max(1, Math.round(count * part))
    const row = { what: `${store}, ${what}`, count: own }
    try {
      const [without, withOwner] = (await measure(own)).map((bytes) => bytes / own)
      rows.push({ ...row, without, withOwner })
      log(`${row.what}: ${number(without)} bytes a session, ${number(withOwner)} with an owner, of ${own}`)
    } catch (error) {
      rows.push({ ...row, ...failure(error) })
      log(`${row.what} failed: ${error.message}`)
    }
  }
  return rows
}

const nothing = () => Promise.resolve()

/** Every session is written three times, a tenth is deleted and made again; `between` is waited for after each. */
async function churn(url, count, options, between = nothing) {
  const store = await openStore(url, { deadline: PATIENCE })
  try {
    for (let round = 0; round < ROUNDS; round++) {
      await fill(store, 0, count, options, { together: TOGETHER })
      await between()
    }
    const tenth = Math.ceil(count / 10)
    await each(0, tenth, (n) => store.delete(keyOf(n * 10)), { together: TOGETHER })
    await each(0, tenth, (n) => store.set(keyOf(n * 10), value, options(n * 10)), { together: TOGETHER })
    await between()
  } finally {
    await store.close()
  }
}

function inFiles(scheme, count) {
  return forEachKind((options) =>
    inFolder(async (folder) => {
      await churn(`${scheme}${join(folder, "sessions")}`, count, options)
      return onDisk(folder)
    }),
  )
}

/** What the file system has given away for a folder, not what its files say they hold. */
function onDisk(path) {
  const found = lstatSync(path)
  const inside = found.isDirectory() ? readdirSync(path).map((name) => onDisk(join(path, name))) : []
  return inside.reduce((sum, bytes) => sum + bytes, found.blocks * 512)
}

/** With `statement` between the rounds of writes. */
function postgres(statement, count) {
  return withEngine("postgres", async (url) => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      return await forEachKind(async (options, n) => {
        await churn(`${url}?table=sessions${n}`, count, options, () => client.query(statement))
        const { rows } = await client.query(`SELECT pg_total_relation_size('sessions${n}') AS bytes`)
        return Number(rows[0].bytes)
      })
    } finally {
      await client.end()
    }
  })
}

function redis(count) {
  return withEngine("redis", async (url) => {
    const client = new Redis(url)
    const used = async () => Number(/^used_memory:(\d+)/m.exec(await client.info("memory"))?.[1])
    try {
      return await forEachKind(async (options) => {
        await client.flushall("SYNC")
        const before = await used()
        await churn(url, count, options)
        return (await used()) - before
      })
    } finally {
      client.disconnect()
    }
  })
}

/** One behind the other. */
async function forEachKind(measure) {
  const results = []
  for (const [n, options] of kinds.entries()) results.push(await measure(options, n))
  return results
}

export const sizesTable = (rows) =>
  table(
    [`bytes a session of ${value.length} B takes`, "sessions", "without owner", "with owner"],
    rows.map(({ what, count, failed, without, withOwner }) =>
      failed ? [what, count, failed, ""] : [what, count, number(without), number(withOwner)],
    ),
  )
