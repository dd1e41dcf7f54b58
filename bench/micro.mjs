// What the parts cost inside one process: each verb of each store, with 64 calls at a time as a busy server makes them, a new
// session's id and cookie, and what an untouched request adds. Nanoseconds of this process's CPU time, median of the rounds.

import { mkdtempSync, rmSync } from "node:fs"
import { IncomingMessage, ServerResponse } from "node:http"
import { Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createService } from "@coatcheck/server"
import { createSessions } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { nodeAdapter } from "coatcheck/node"
import { openStore } from "coatcheck/open"
import { median, number, table } from "./lib/report.mjs"
import { user } from "./servers/common.mjs"

const TOGETHER = 64
const value = JSON.stringify({ v: 1, created: 0, ends: 0, owner: null, marks: {}, data: { ...user(), count: 100_000 } })

/** One row a measured part. `calls` is how many of each are made in a round. */
export async function measureMicro({ calls, rounds, log }) {
  const rows = []
  const add = async (what, one, options) => {
    const ns = await cost(one, { calls, rounds, ...options })
    rows.push({ what, ns })
    log(`${what}: ${number(ns)} ns`)
  }
  await add("an untouched request through the node adapter, over the bare handler", ...untouched())
  await add("a new session: id, hash, record, cookie text, memory store", newSession())
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-micro-"))
  try {
    await verbs("memory", roomy(), add)
    await verbs("SQLite", await openStore(`sqlite:${join(folder, "micro.db")}`), add, calls / 4)
    const behind = roomy()
    const service = createService(behind)
    const { port } = await service.listen({ port: 0 })
    await verbs(
      "service (both ends of the wire in this process)",
      await openStore(`http://127.0.0.1:${port}`),
      add,
      calls / 8,
    )
    await service.close({ deadline: 1_000 })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return rows
}

async function verbs(name, store, add, calls) {
  const options = calls ? { calls } : {}
  const keys = Array.from({ length: TOGETHER }, (_, n) => `bench-${n}`)
  const versions = new Map()
  for (const key of keys)
    versions.set(key, (await store.set(key, value, { expiresAt: Date.now() + 3_600_000 })).version)
  let turn = 0
  const key = () => keys[turn++ % TOGETHER]
  await add(`${name}: get`, () => store.get(key()), options)
  await add(
    `${name}: set if version`,
    async () => {
      const own = key()
      const outcome = await store.set(own, value, { if: { version: versions.get(own) } })
      if (!outcome.ok) throw new Error("a conflict where none can be")
      versions.set(own, outcome.version)
    },
    options,
  )
  await add(`${name}: touch`, () => store.touch(key(), Date.now() + 3_600_000), options)
  let fresh = 0
  const created = []
  await add(
    `${name}: set if absent`,
    () => {
      created.push(`fresh-${fresh}`)
      return store.set(`fresh-${fresh++}`, value, { if: "absent", expiresAt: Date.now() + 3_600_000 })
    },
    options,
  )
  await add(`${name}: delete`, () => store.delete(created.pop() ?? "none"), options)
  await store.close()
}

/** A memory store that takes all that a long run creates. */
function roomy() {
  return memoryStore({ maxEntries: 10_000_000, maxBytes: 8 * 2 ** 30 })
}

function newSession() {
  let made
  return async () => {
    made ??= createSessions({ store: roomy() })
    const session = await made.open({ cookie: null, secure: false, sent: false, attach() {} })
    session.data.count = 1
    await session.commit()
  }
}

function untouched() {
  const bare = (request, response) => void response
  let wrapped
  const ready = openStore("memory:").then((store) => {
    wrapped = nodeAdapter(createSessions({ store }))(bare)
  })
  const socket = new Socket()
  const request = () => {
    const message = new IncomingMessage(socket)
    message.method = "GET"
    message.url = "/plain"
    message.headers.cookie = "session=RI-yqto9rOvvf-IcPRSgokx3bc_5Y-tGzG1B2x6mS_8"
    return message
  }
  const batch = () =>
    Array.from({ length: TOGETHER }, () => {
      const message = request()
      return [message, new ServerResponse(message)]
    })
  return [() => {}, { ready, batch, with: () => wrapped, without: bare }]
}

async function cost(one, { calls, rounds, ready, batch, with: wrapped, without }) {
  await ready
  const results = []
  for (let round = 0; round <= rounds; round++) {
    const ns = batch ? difference(batch, wrapped(), without, calls) : await plain(one, calls)
    if (round > 0) results.push(ns)
  }
  return median(results)
}

async function plain(one, calls) {
  const before = process.cpuUsage()
  for (let made = 0; made < calls; made += TOGETHER) {
    const together = []
    for (let i = 0; i < TOGETHER; i++) together.push(one())
    await Promise.all(together)
  }
  const { user: inUser, system } = process.cpuUsage(before)
  return ((inUser + system) * 1_000) / calls
}

// Both handlers see requests of the same kind, made outside the measured time.
function difference(batch, wrapped, bare, calls) {
  let sum = 0
  for (let made = 0; made < calls; made += TOGETHER) {
    const forBare = batch()
    const forWrapped = batch()
    const start = process.hrtime.bigint()
    for (const [request, response] of forBare) bare(request, response)
    const middle = process.hrtime.bigint()
    for (const [request, response] of forWrapped) wrapped(request, response)
    const end = process.hrtime.bigint()
    sum += Number(end - middle) - Number(middle - start)
  }
  return sum / calls
}

export const microTable = (rows) =>
  table(
    ["part", "ns"],
    rows.map(({ what, ns }) => [what, number(ns)]),
  )
