// Listings, counts and `wait` over a cluster: every primary is walked, and one that dies in the middle of a listing is begun again on the
// replica that takes over, which keeps its keys in another order.

import { type Page, type Store } from "coatcheck"
import { redisStore } from "coatcheck/redis"
import { afterAll, beforeAll, expect, it } from "vitest"
import { type RedisCluster, startCluster, until } from "../support/redis.ts"

let cluster: RedisCluster
let store: Store
const keys = Array.from({ length: 1_500 }, (_, at) => `key-${at}`)

beforeAll(async () => {
  cluster = await startCluster()
  store = await redisStore(cluster.url, { prefix: "walk", wait: 1, deadline: "5s", report: () => {} })
})
afterAll(() => store.close())

it("a write is acknowledged when a replica of its own primary has it", async () => {
  const outcomes = await Promise.all(keys.map((key, at) => store.set(key, "1", { owner: `owner-${at % 3}` })))
  expect(outcomes.every(({ ok }) => ok)).toBe(true)
  const held = await Promise.all(cluster.nodes.map(async (node) => Number(await node.command("DBSIZE"))))
  // Each record and each of the three lists is on two nodes.
  expect(held.reduce((sum, one) => sum + one, 0)).toBe(2 * (keys.length + 3))
})

it("counts and listings reach every primary", async () => {
  expect(await store.count?.()).toBe(keys.length)
  expect(await store.count?.({ prefix: "key-1" })).toBe(keys.filter((key) => key.startsWith("key-1")).length)
  expect(await store.count?.({ owner: "owner-1" })).toBe(500)
  const found = await walk({ limit: 70 })
  expect(found.toSorted()).toEqual(keys.toSorted())
  expect((await walk({ owner: "owner-2", limit: 70 })).length).toBe(500)
})

it("F-CLU-1: a listing misses nothing when a primary dies under it", async () => {
  const found = new Set(
    await walk({ limit: 100 }, async (page) => {
      if (page !== 2) return
      const [victim] = await cluster.primaries()
      await victim?.kill()
      await until("a replica has taken over", async () => (await cluster.primaries()).length === 3, 30)
      await until(
        "the store has found it",
        async () => {
          await Promise.all(keys.slice(0, 100).map((key) => store.get(key)))
          return true
        },
        30,
      )
    }),
  )
  expect(keys.filter((key) => !found.has(key))).toEqual([])
})

/** The keys of every page, with something done after each. */
async function walk(
  query: Parameters<Store["list"]>[0],
  between: (page: number) => Promise<unknown> = async () => {},
): Promise<string[]> {
  const found: string[] = []
  let cursor: string | null = null
  let pages = 0
  do {
    const page: Page = await store.list({ ...query, ...(cursor !== null && { cursor }) })
    found.push(...page.entries.map(({ key }) => key))
    cursor = page.cursor
    pages += 1
    if (cursor !== null) await between(pages)
  } while (cursor !== null)
  return found
}
