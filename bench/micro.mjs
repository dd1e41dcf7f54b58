// What the parts cost inside one process: each verb of each store and what each wrapper adds, with 64 calls at a time as a busy server
// makes them, a new session's id and cookie, and what an untouched request adds. Nanoseconds of this process's CPU time, median of
// the rounds; what a server of Redis or Postgres uses itself is not in it.

import { IncomingMessage, ServerResponse } from "node:http"
import { Socket } from "node:net"
import { join } from "node:path"
import { createService } from "@coatcheck/server"
import { createSessions } from "coatcheck"
import { cachedStore } from "coatcheck/cached"
import { encryptedStore } from "coatcheck/encrypted"
import { guardedStore } from "coatcheck/guarded"
import { memoryStore } from "coatcheck/memory"
import { nodeAdapter } from "coatcheck/node"
import { openStore } from "coatcheck/open"
import { withEngine } from "./lib/engines.mjs"
import { inFolder } from "./lib/programs.mjs"
import { failure, median, number, table } from "./lib/report.mjs"
import { SECRET, user } from "./servers/common.mjs"

const TOGETHER = 64
const HOUR = 3_600_000
const value = JSON.stringify({ v: 1, created: 0, ends: 0, owner: null, marks: {}, data: { ...user(), count: 100_000 } })

/** How each is measured. `part` is of the calls that a round has: what waits for disks or networks makes fewer. */
const measures = {
  memory: verbsOf("memory", 1, (use) => use(roomy())),
  SQLite: verbsOf("SQLite", 1 / 4, (use) => inFolder((folder) => opened(`sqlite:${join(folder, "micro.db")}`, use))),
  files: verbsOf("files", 1 / 20, (use) => inFolder((folder) => opened(`file:${join(folder, "micro")}`, use))),
  Redis: verbsOf("Redis", 1 / 4, (use) => withEngine("redis", (url) => opened(url, use))),
  Postgres: verbsOf("Postgres", 1 / 10, (use) => withEngine("postgres", (url) => opened(url, use))),
  service: verbsOf("service (both ends of the wire in this process)", 1 / 10, async (use) => {
    const service = createService(roomy())
    const { port } = await service.listen({ port: 0 })
    await opened(`http://127.0.0.1:${port}`, use)
    await service.close({ deadline: 1_000 })
  }),
  guarded: added("guarded", (store) => guardedStore(store)),
  encrypted: added("encrypted", (store) => encryptedStore(store, { secret: SECRET })),
  "near-cache": (add) =>
    withEngine("redis", (url) =>
      opened(url, async (store) => {
        const near = cachedStore(store)
        const key = await written(near)
        await add("near-cache on Redis: get, a hit", () => near.get(key()))
        await near.close()
      }),
    ),
}

/** One row a measured part, or one with what failed. `calls` is how many of each are made in a round. */
export async function measureMicro({ calls, rounds, stores, log }) {
  const rows = []
  const add = async (what, one, { part = 1, ...options } = {}) => {
    const own = Math.max(1, Math.round((calls * part) / TOGETHER)) * TOGETHER
    const ns = await cost(one, { calls: own, rounds, ...options })
    rows.push({ what, ns })
    log(`${what}: ${number(ns)} ns`)
  }
  await add("an untouched request through the node adapter, over the bare handler", ...untouched())
  await add("a new session: id, hash, record, cookie text, memory store", newSession())
  for (const name of stores) {
    try {
      await measures[name](add)
    } catch (error) {
      rows.push({ what: name, ...failure(error) })
      log(`${name} failed: ${error.message}`)
    }
  }
  return rows
}

/** Measures each verb of the store that `open` lends. */
function verbsOf(name, part, open) {
  return (add) => open((store) => verbs(name, store, (what, one) => add(what, one, { part })))
}

async function opened(url, use) {
  const store = await openStore(url, { deadline: "1m" }) // CPU time is counted, and a busy machine may take longer
  try {
    await use(store)
  } finally {
    await store.close()
  }
}

async function verbs(name, store, add) {
  const versions = new Map()
  const key = await written(store, versions)
  await add(`${name}: get`, () => store.get(key()))
  await add(`${name}: set if version`, () => conditional(store, key(), versions))
  await add(`${name}: touch`, () => store.touch(key(), Date.now() + HOUR))
  let fresh = 0
  const created = []
  await add(`${name}: set if absent`, () => {
    created.push(`fresh-${fresh}`)
    return store.set(`fresh-${fresh++}`, value, { if: "absent", expiresAt: Date.now() + HOUR })
  })
  await add(`${name}: delete`, () => store.delete(created.pop() ?? "none"))
}

/** What a wrapper adds to the calls of a store that costs next to nothing itself. */
function added(name, wrap) {
  return async (add) => {
    const bare = roomy()
    const wrapped = wrap(roomy())
    const [bareVersions, wrappedVersions] = [new Map(), new Map()]
    const bareKey = await written(bare, bareVersions)
    const wrappedKey = await written(wrapped, wrappedVersions)
    const part = 4 // a difference of small times takes many of them
    await add(`${name}, added to a get`, () => wrapped.get(wrappedKey()), { part, over: () => bare.get(bareKey()) })
    await add(`${name}, added to a set if version`, () => conditional(wrapped, wrappedKey(), wrappedVersions), {
      over: () => conditional(bare, bareKey(), bareVersions),
    })
    await wrapped.close()
  }
}

/** Writes 64 entries; gives a function that goes round their keys. */
async function written(store, versions = new Map()) {
  const keys = Array.from({ length: TOGETHER }, (_, n) => `bench-${n}`)
  for (const key of keys) versions.set(key, (await store.set(key, value, { expiresAt: Date.now() + HOUR })).version)
  let turn = 0
  return () => keys[turn++ % TOGETHER]
}

async function conditional(store, key, versions) {
  const outcome = await store.set(key, value, { if: { version: versions.get(key) } })
  if (!outcome.ok) throw new Error("a conflict where none can be")
  versions.set(key, outcome.version)
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

async function cost(one, { calls, rounds, over, ready, batch, with: wrapped, without }) {
  await ready
  const results = []
  for (let round = 0; round <= rounds; round++) {
    const ns = batch
      ? difference(batch, wrapped(), without, calls)
      : (await plain(one, calls)) - (over ? await plain(over, calls) : 0)
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
    rows.map(({ what, ns, failed }) => [what, failed ?? number(ns)]),
  )
