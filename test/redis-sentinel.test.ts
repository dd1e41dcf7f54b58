// The redis store over a primary with two replicas that three sentinels watch: the store's contract, and a primary that dies under load.

import type { Store } from "coatcheck"
import { redisStore } from "coatcheck/redis"
import { storeCases } from "coatcheck/testing"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startLoad } from "./support/redis-load.ts"
import { endOfProcess } from "./support/redis-process.ts"
import { type SentinelSet, startSentinel, until } from "./support/redis.ts"

let set: SentinelSet
let store: Store
beforeAll(async () => {
  set = await startSentinel()
  store = await redisStore(set.url, { prefix: "load", report: () => {} })
}, 60_000)
afterAll(() => store.close())

describe("the redis store over Sentinel", () => {
  let cases = 0
  const open = (setup: Parameters<Parameters<typeof storeCases>[0]["open"]>[0]): Promise<Store> =>
    redisStore(set.url, { ...setup, prefix: `case-${cases}` })
  const harness = {
    open(setup: Parameters<typeof open>[0]) {
      cases++
      return open(setup)
    },
    openSecond: open,
  }
  for (const { name, run } of storeCases(harness)) it(name, run)
})

describe("a process whose store over Sentinel is closed", () => {
  it("ends by itself", async () => {
    expect(await endOfProcess(set.url)).toEqual([0, null])
  })
})

describe("a primary that dies", () => {
  it("F-SEN-1, F-RED-1: is replaced under load within 30 s, with typed errors and nobody else's data", async () => {
    const load = startLoad(store, { prefix: "k" })
    await until("there is load", () => load.acked > 500)
    const old = await set.primary()
    await old.kill()
    const died = performance.now()
    const before = load.acked
    await until("another primary takes writes", () => load.acked > before + 500, 30)
    expect(performance.now() - died).toBeLessThan(30_000)
    await load.stop()

    expect(Object.keys(load.failed).filter((code) => code !== "unavailable" && code !== "unknown-outcome")).toEqual([])
    expect(load.longest).toBeLessThan(1_500)
    const { lost, wrong } = await load.check(store)
    expect(wrong).toBe(0)
    expect(lost).toBeLessThan(load.acked)
  })
})
