// How SQLite behaves when there are many sessions: what a read costs among them, how long the event loop stands still while a million
// expired ones are swept, and how fast all are dumped over HTTP.

import { spawn } from "node:child_process"
import { once } from "node:events"
import { join, resolve } from "node:path"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { createService } from "@coatcheck/server"
import { sqliteStore } from "coatcheck/sqlite"
import { inFolder } from "./lib/programs.mjs"
import { fill, HOUR, keyOf, value } from "./lib/records.mjs"
import { median, number, table } from "./lib/report.mjs"

const LIVE = 16
const LONGEST_SWEEP_MS = 600_000

/** One row a fact. `sizes` are numbers of sessions, ascending. */
export async function measureScale({ sizes, log }) {
  const rows = []
  const add = (what, result) => {
    rows.push({ what, result })
    log(`${what}: ${result}`)
  }
  await inFolder((folder) => reads(folder, sizes, add, log))
  await inFolder((folder) => sweep(folder, sizes.at(-1), add, log))
  return rows
}

async function reads(folder, sizes, add, log) {
  const store = await sqliteStore(join(folder, "reads.db"))
  let filled = 0
  let first = null
  for (const size of sizes) {
    await fill(store, filled, size, () => ({ expiresAt: Date.now() + 10 * HOUR }), { log })
    filled = size
    const ns = median(await timed(() => store.get(keyOf(Math.floor(Math.random() * size)))))
    first ??= ns
    add(`SQLite get among ${size} sessions`, `${number(ns)} ns, ${number(ns / first, 2)} x`)
  }
  await dump(store, filled, add)
  await store.close()
}

async function timed(call) {
  const rounds = []
  const calls = 20_000
  for (let round = 0; round < 7; round++) {
    const before = process.cpuUsage()
    for (let i = 0; i < calls; i++) await call()
    const { user, system } = process.cpuUsage(before)
    if (round > 1) rounds.push(((user + system) * 1_000) / calls)
  }
  return rounds
}

async function dump(store, count, add) {
  const service = createService(store)
  const { port } = await service.listen({ port: 0 })
  const command = resolve(import.meta.dirname, "../packages/server/bin/coatcheck.js")
  const start = performance.now()
  const child = spawn(process.execPath, [command, "dump", "--format", "json", `http://127.0.0.1:${port}`], {
    stdio: ["ignore", "pipe", "inherit"],
  })
  let lines = 0
  child.stdout.on("data", (chunk) => {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) lines++
  })
  await once(child, "close")
  add(`dump of ${count} sessions over HTTP`, `${number((performance.now() - start) / 1_000, 1)} s, ${lines} lines`)
  await service.close({ deadline: 1_000 })
}

async function sweep(folder, count, add, log) {
  let ahead = 0
  const clock = { now: () => Date.now() + ahead, sleep: (ms) => new Promise((done) => setTimeout(done, ms)) }
  const store = await sqliteStore(join(folder, "sweep.db"), { clock })
  await fill(store, 0, count, () => ({ expiresAt: Date.now() + HOUR }), { log })
  ahead = 2 * HOUR
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const start = performance.now()
  // `count` sees what is not swept yet, and is null while that is more than it counts.
  for (let n = 0; ; n++) {
    await store.set(`live:${n % LIVE}`, value, { expiresAt: clock.now() + HOUR })
    await new Promise((done) => setTimeout(done, 5))
    if (n % 20 === 0 && (await store.count()) === LIVE) break
    if (performance.now() - start > LONGEST_SWEEP_MS) throw new Error("the sweep did not come to its end")
  }
  delay.disable()
  add(
    `sweep of ${count} expired sessions: longest block of the event loop`,
    `${number(delay.max / 1e6, 1)} ms (99.9 %: ${number(delay.percentile(99.9) / 1e6, 1)} ms), all gone after ${number((performance.now() - start) / 1_000)} s`,
  )
  await store.close()
}

export const scaleTable = (rows) =>
  table(
    ["what", "measured"],
    rows.map(({ what, result }) => [what, result]),
  )
