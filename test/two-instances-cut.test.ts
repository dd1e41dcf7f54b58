// Two instances of the application over one engine, with connections that break in the middle of replies again and again: what was
// acknowledged stands, and the count is no higher than that plus what nobody knows. For every engine that is reached over a network.

import type { Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import { type FaultProxy, faultProxy, seededRandom } from "coatcheck/testing"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { serverEngines, type ServerEngine } from "./support/engines.ts"
import { type Instance, newVisitor, twoInstances } from "./support/instances.ts"
import { until } from "./support/redis.ts"
import type { Tally } from "./support/session-worker.ts"

/** Cuts every connection in the middle of its next reply, lets some round trips pass, and does it again at another place. */
async function cutNowAndThen(proxy: FaultProxy, isOver: () => boolean): Promise<void> {
  const random = seededRandom(12)
  while (!isOver()) {
    const { cut, roundTrips } = proxy.counts
    proxy.cutReplies(Math.floor(random() * 300))
    await until("a reply was cut", () => proxy.counts.cut > cut || isOver())
    await proxy.passThrough()
    await until("some round trips passed", () => proxy.counts.roundTrips > roundTrips + 10 || isOver())
  }
}

const sum = (tallies: readonly Tally[], field: "acknowledged" | "unknown"): number =>
  tallies.reduce((all, tally) => all + tally[field], 0)

describe.each(Object.entries(serverEngines))("two instances over %s, with replies that are cut", (_, start) => {
  let engine: ServerEngine
  let store: Store
  let proxy: FaultProxy
  let both: [Instance, Instance]
  beforeAll(async () => {
    engine = await start()
    store = await openStore(engine.url, { deadline: "10s", report: () => {} })
    proxy = await faultProxy({ target: engine.port })
    both = await twoInstances(engine.through(proxy.port))
  })
  afterAll(async () => {
    await Promise.all(both.map((instance) => instance.close()))
    await proxy.close()
    await store.close()
    await engine.close()
  })

  it.each(["update", "assign"] as const)(
    "S11 F-SLOW-2: by %s: the count is between what was acknowledged, and that plus what is unknown",
    async (how) => {
      const { cookie, count } = await newVisitor(store)
      const { cut } = proxy.counts
      // For a time, not for a number of times: while the guard refuses, a number would be used up in a moment.
      const command = { how, cookie, times: { ms: 2_500 }, clients: 32 }
      let isOver = false
      const [tallies] = await Promise.all([
        Promise.all(both.map((instance) => instance.increment(command))).finally(() => (isOver = true)),
        cutNowAndThen(proxy, () => isOver),
      ])
      await proxy.passThrough()
      const [acknowledged, unknown] = [sum(tallies, "acknowledged"), sum(tallies, "unknown")]
      expect(await count()).toBeGreaterThanOrEqual(acknowledged)
      expect(await count()).toBeLessThanOrEqual(acknowledged + unknown)
      expect(acknowledged).toBeGreaterThan(100)
      expect(proxy.counts.cut).toBeGreaterThan(cut + 3)
    },
  )
})
