// The faults that last until somebody mends them: away, refusing, frozen, half-open, speaking nonsense, too slow. Each is struck while
// connections are open and used; three rounds of calls go into it, the first with what was open, the later ones with what
// the store has learned. Then it ends, the store must be back by itself, and it must close in the middle of the next one.

import assert from "node:assert/strict"
import { type FailureBench, type FailureCheck, eventually } from "./failure-case.ts"
import { codes, judge, type Made, playRound } from "./failure-round.ts"
import type { FaultCounts, FaultProxy } from "./fault-proxy.ts"

/** Deadlines after which something comes that is too late: a process that hardly gets to run counts its own slowly. */
const LATE = 6

interface LastingFault {
  readonly rows: string
  readonly name: string
  strike(proxy: FaultProxy, deadline: number): void | Promise<void>
  /** What the proxy must have counted more of, for the fault to have happened. null: that every call failed shows it. */
  readonly counted: keyof FaultCounts | null
  /** The store finds a way by itself while the fault lasts. */
  readonly heals?: true
  /** Once the store knows, nobody can have seen a write, and it must say so. */
  readonly surelyUndone?: true
}

const faults: readonly LastingFault[] = [
  {
    rows: "S14 REL-04",
    name: "the server is away",
    strike: (proxy) => proxy.down(),
    counted: null,
    surelyUndone: true,
  },
  {
    rows: "S14 REL-03",
    name: "the server resets each connection",
    strike: (proxy) => proxy.refuse(),
    counted: "reset",
  },
  {
    rows: "S14 REL-03",
    name: "the server is frozen, and finds what was sent when it goes on",
    strike: (proxy) => proxy.freeze(),
    counted: "held",
  },
  {
    rows: "F-SLOW-3",
    name: "the open connections are half-open",
    strike: (proxy) => proxy.halfOpen(),
    counted: "lost",
    heals: true,
  },
  {
    rows: "REL-03",
    name: "the server takes calls and answers rubbish",
    strike: (proxy) => proxy.rubbish(),
    counted: "rubbish",
  },
  {
    rows: "F-SLOW-1",
    name: "answers come later than the deadline",
    strike: (proxy, deadline) => proxy.delay(deadline * LATE, { jitter: deadline }),
    counted: "delayed",
  },
  {
    rows: "F-SLOW-1 REL-04",
    name: "requests reach the server after the deadline",
    strike: (proxy, deadline) => proxy.delay(deadline * LATE, { of: "requests" }),
    counted: "delayed",
  },
]

const ROUNDS = 3
const unharmed = "calls went well while the server was out of reach"

/** A case for each fault that lasts. */
export const lastingChecks: readonly FailureCheck[] = faults.map((fault) => ({
  name: `${fault.rows}: ${fault.name}: calls end in time and tell the truth, it comes back by itself, and it closes meanwhile`,
  async check(bench) {
    const { proxy, deadline } = bench
    const before = { ...proxy.counts }
    await fault.strike(proxy, deadline)
    const first = await playRound(bench)
    const rounds = [first]
    // Where new connections pass, a call that needs one goes well.
    const failed = first.calls.filter(({ code }) => code !== "ok")
    assert.ok(fault.heals ? failed.length > 0 : failed.length === first.calls.length, unharmed)
    await first.overtaken()
    if (fault.heals) {
      await bench.recovered()
    } else {
      while (rounds.length < ROUNDS) rounds.push(await playRound(bench))
      const last = rounds.at(-1)?.calls ?? []
      assert.ok(!codes(last).has("ok"), unharmed)
      if (fault.surelyUndone) assert.deepEqual(codes(last), new Set(["unavailable"]))
    }
    const { counted } = fault
    if (counted !== null) assert.ok(proxy.counts[counted] > before[counted], "the fault never happened")

    const calls = rounds.flatMap((round): readonly Made[] => round.calls)
    await judge(calls)
    await proxy.passThrough()
    await bench.recovered()
    for (const one of rounds.flatMap(({ open }) => open)) await one.again()
    await judge(calls)
    await closesMeanwhile(bench, fault)
  },
}))

/** Closing waits for no server: calls under way end, later ones are refused, and no connection is left. */
async function closesMeanwhile(bench: FailureBench, fault: LastingFault): Promise<void> {
  const { store, proxy, deadline, unique } = bench
  await fault.strike(proxy, deadline)
  const underWay = Array.from({ length: 8 }, (_, at) =>
    bench.timed<unknown>(() => (at % 2 === 0 ? store.get(unique("get")) : store.set(unique("set"), "1"))),
  )
  await bench.timed(() => store.close())
  await Promise.all(underWay)
  assert.equal((await bench.timed(() => store.get(unique("late")))).code, "closed")
  await eventually(() => proxy.counts.open === 0, "a connection is open although its store was closed", bench.patience)
}
