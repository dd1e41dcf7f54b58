// Connections that break in the middle: at every place of a reply, or a sample of them, at every place of a request, and a counter
// under all of it. A reply that is cut is the case in which a write has happened and its caller was not told.

import assert from "node:assert/strict"
import type { FailureBench, FailureCheck } from "./failure-case.ts"
import { judge, playRound } from "./failure-round.ts"
import { seededRandom } from "./seeded-random.ts"

const CUTS = 24

/** Cases of connections that are cut. */
export const cutChecks: readonly FailureCheck[] = [
  {
    name: "F-SLOW-2 REL-04: replies are cut at every place: a write is done or unknown, and the same call again settles it",
    check: (bench) => cutEverywhere(bench, "replyBytes", (at) => bench.proxy.cutReplies(at)),
  },
  {
    name: "REL-04: requests are cut at every place: no call does half of what it should",
    check: (bench) => cutEverywhere(bench, "requestBytes", (at) => bench.proxy.cutRequests(at)),
  },
  {
    name: "F-SLOW-2: a counter under cuts and resets is between what was acknowledged and that plus what is unknown",
    check: countUnderCuts,
  },
]

async function cutEverywhere(
  bench: FailureBench,
  length: "replyBytes" | "requestBytes",
  cutAt: (bytes: number) => void,
): Promise<void> {
  const { proxy, harness } = bench
  const before = proxy.counts[length]
  await judge((await playRound(bench)).calls)
  const whole = proxy.counts[length] - before
  // Over several connections each carries less of it.
  const share = whole / Math.max(1, proxy.counts.open)
  const step = Math.max(1, Math.floor(share / (harness.cuts ?? CUTS)))
  let unknown = 0
  let cut = 0
  for (let at = 0; at <= whole; at += step) {
    const cutBefore = proxy.counts.cut
    cutAt(at)
    const { calls, open } = await playRound(bench)
    await proxy.passThrough()
    await bench.recovered()
    for (const one of open) await one.again()
    await judge(calls)
    unknown += open.length
    if (proxy.counts.cut > cutBefore) cut++
    else if (calls.every(({ code }) => code === "ok")) break
  }
  assert.ok(cut >= 2, "the fault never happened")
  assert.ok(unknown > 0 || length === "requestBytes", "no write was left without an answer")
}

async function countUnderCuts(bench: FailureBench): Promise<void> {
  const { proxy, store, look, timed, unique } = bench
  const random = seededRandom(20_261_120)
  const key = unique("counter")
  await look.set(key, "0")
  const totals = { ok: 0, unknown: 0 }
  const rounds = Math.max(6, Math.min(bench.harness.cuts ?? CUTS, 40))

  async function addOne(): Promise<void> {
    const { answer: entry } = await timed(() => store.get(key))
    if (entry === undefined || entry === null) return
    const { code, answer } = await timed(() =>
      store.set(key, String(Number(entry.value) + 1), { if: { version: entry.version } }),
    )
    if (code === "unknown-outcome") totals.unknown++
    else if (answer?.ok) totals.ok++
  }

  for (let round = 0; round < rounds; round++) {
    await Promise.all([addOne(), addOne()])
    const place = Math.floor(random() * 600)
    if (round % 3 === 0) proxy.cutReplies(place)
    else if (round % 3 === 1) proxy.cutRequests(place)
    else setImmediate(() => proxy.reset())
    await Promise.all([addOne(), addOne(), addOne()])
    await proxy.passThrough()
    await bench.recovered()
  }
  // A reply that does not begin leaves a write unknown, whatever the length of others was.
  const known = await look.get(key)
  proxy.cutReplies(0)
  const lost = await timed(() =>
    store.set(key, String(Number(known?.value) + 1), { if: { version: known?.version ?? "" } }),
  )
  if (lost.code === "unknown-outcome") totals.unknown++
  await proxy.passThrough()
  await bench.recovered()
  const count = Number((await look.get(key))?.value)
  assert.ok(totals.ok >= rounds && totals.unknown > 0, "the fault never happened, or nothing else did")
  assert.ok(count >= totals.ok, `${totals.ok} were acknowledged, and the counter is at ${count}`)
  assert.ok(count <= totals.ok + totals.unknown, `the counter is at ${count}, over ${totals.ok} + ${totals.unknown}`)
}
