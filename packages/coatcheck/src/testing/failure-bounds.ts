// What a store may not do however bad it gets: hold on to calls that have ended, open a connection a call, or be slower than the
// network is. And what it must do with a server that is full.

import assert from "node:assert/strict"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { eventually, type FailureBench, type FailureCheck, failureCase, pause } from "./failure-case.ts"
import type { FailureHarness } from "./failure-harness.ts"
import type { StoreCase } from "./store-case.ts"
import { codes, judge, playRound } from "./failure-round.ts"

const BURST = 2_000
const BURST_VALUE = 8_192
const CONNECTIONS = 32

/** Cases of load and limits. */
export const boundChecks: readonly FailureCheck[] = [
  {
    name: "F-SLOW-1: answers that come late but within the deadline are waited for, and no longer than they take",
    async check(bench) {
      const { proxy, deadline } = bench
      const late = Math.floor(deadline / 6)
      proxy.delay(late)
      const { calls } = await playRound(bench)
      // A listing may take several round trips.
      assert.deepEqual(codes(calls.filter(({ verb }) => verb !== "list")), new Set(["ok"]))
      for (const { verb, ms } of calls) assert.ok(ms >= late - 2, `${verb} was faster than the network`)
      await judge(calls)
      assert.ok(proxy.counts.delayed > 0, "the fault never happened")
    },
  },
  {
    name: "F-SLOW-1: at 1 KiB a second calls still end in time, and it comes back",
    async check(bench) {
      bench.proxy.limit(1_024)
      const rounds = [await playRound(bench), await playRound(bench)]
      await bench.proxy.passThrough()
      await bench.recovered()
      for (const { open, calls } of rounds) {
        for (const one of open) await one.again()
        await judge(calls)
      }
      assert.ok(bench.proxy.counts.delayed > 0, "the fault never happened")
    },
  },
  {
    name: "REL-03: thousands of calls into a frozen server: all end in time, few connections are used, and nothing is kept of them",
    check: burstIntoFrozen,
  },
]

async function burstIntoFrozen(bench: FailureBench): Promise<void> {
  const { proxy, store, look, harness, unique } = bench
  proxy.freeze()
  await bench.timed(() => store.get(unique("get"))) // what a first failure leaves behind is not what is looked for
  const connected = proxy.counts.connections
  const before = memory()
  const keys = Array.from({ length: BURST }, () => unique("burst"))
  const filler = "x".repeat(BURST_VALUE)
  const endings = await Promise.all(keys.map((key, at) => bench.timed(() => store.set(key, `"${at}${filler}"`))))
  const undone = keys.filter((_, at) => endings[at]?.code === "unavailable")
  assert.ok(!codesOf(endings).has("ok"), "calls went well while the server was out of reach")
  const connections = harness.connections ?? CONNECTIONS
  const used = proxy.counts.connections - connected
  assert.ok(used <= connections, `${used} connections for one store`)
  // What was handed to a connection is only given up with it; a store may wait for a while before it gives it up.
  const enough = (BURST * BURST_VALUE) / 2
  const patience = performance.now() + 4 * bench.deadline
  let kept = memory() - before
  for (; kept > enough && performance.now() < patience; kept = memory() - before) await pause(bench.deadline / 4)
  assert.ok(kept < enough, `${Math.round(kept / 1_024)} KiB are kept of calls that have ended`)
  await proxy.passThrough()
  await bench.recovered()
  const step = Math.max(1, Math.floor(undone.length / 50))
  for (const key of undone.filter((_, index) => index % step === 0)) {
    assert.equal(await look.get(key), null, "a write that was called undone happened later")
  }
  await store.close()
  await eventually(() => proxy.counts.open === 0, "a connection is open although its store was closed", bench.patience)
}

function codesOf(endings: readonly { readonly code: string }[]): Set<string> {
  return new Set(endings.map(({ code }) => code))
}

/** Bytes that are in use when all rubbish is collected. */
function memory(): number {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void // that is what the flag exposes
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** The case of a server without room, for harnesses that can fill theirs. */
export function fullCase(harness: FailureHarness, fill: NonNullable<FailureHarness["fill"]>): StoreCase {
  return failureCase(harness, {
    name: "REL-03: a server without room: writes are refused as full, reads and endings work, and it goes on when there is room",
    async check(bench) {
      const { store, timed, unique } = bench
      const key = unique("kept")
      await bench.surely(() => store.set(key, "1"))
      const free = await fill()
      try {
        const written = await timed(() => store.set(unique("refused"), `"${"x".repeat(4_096)}"`))
        assert.equal(written.code, "full")
        assert.equal((await timed(() => store.get(key))).answer?.value, "1")
      } finally {
        await free()
      }
      await bench.recovered()
      assert.equal((await timed(() => store.delete(key))).code, "ok")
    },
  })
}
