// The stores made of a store around real engines over a network: the store suite through all of them at once, and near-caches of two
// processes that see each other's writes by the engine's own channel, long before an age would tell.

import { createSessions, type Sessions, type Store } from "coatcheck"
import { cachedStore } from "coatcheck/cached"
import { encryptedStore } from "coatcheck/encrypted"
import { guardedStore } from "coatcheck/guarded"
import { openStore } from "coatcheck/open"
import { redisStore } from "coatcheck/redis"
import { type StoreSetup, storeCases } from "coatcheck/testing"
import { afterAll, describe, expect, it, onTestFinished } from "vitest"
import { type ServerEngine, serverEngines } from "./support/engines.ts"
import { until } from "./support/redis.ts"
import { browser } from "./support/sessions.ts"

const secret = "fS8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5"
const redis = await serverEngines.Redis()
const quiet = { report: () => {} }
const engines: ServerEngine[] = [redis]
afterAll(async () => {
  for (const engine of engines) await engine.close()
})

describe("a near-cache around sealed values around a guard around Redis keeps the contract", () => {
  let stores = 0
  const handle = async (setup: StoreSetup): Promise<Store> => {
    // Redis's clock runs while the suite's stands still.
    const options = { ...setup, prefix: `wrapped-${stores}`, grace: "1m", maxValueBytes: 1_400_000 } as const
    const guarded = guardedStore(await redisStore(redis.url, options), setup)
    return cachedStore(encryptedStore(guarded, { secret, ...setup }), setup)
  }
  const open = (setup: StoreSetup): Promise<Store> => {
    stores++
    return handle(setup)
  }
  for (const { name, run } of storeCases({ open, openSecond: handle })) it(name, run)
})

const watched: readonly (readonly [string, () => Promise<string>])[] = [
  ["Redis", async () => redis.url],
  ["Postgres", () => started("Postgres", "notify=true")],
  ["the service", () => started("the service", "")],
]

async function started(name: keyof typeof serverEngines, parameters: string): Promise<string> {
  const engine = await serverEngines[name]()
  engines.push(engine)
  return parameters === "" ? engine.url : `${engine.url}${engine.url.includes("?") ? "&" : "?"}${parameters}`
}

describe.each(watched)("two near-caches over %s", (_name, url) => {
  it("see each other's writes, touches and deletes by the channel", async () => {
    const where = await url()
    const [one, other] = await Promise.all([openStore(where, quiet), openStore(where, quiet)])
    const stores = [cachedStore(one, { maxAge: "1h" }), cachedStore(other, { maxAge: "1h" })] as const
    onTestFinished(async () => {
      for (const store of stores) await store.close()
    })
    const [here, there] = stores
    await here.set("k", "0")
    // Until the channels stand, copies may be made that nobody tells of; when they stand, everything is told to have changed.
    await until("the channel stands", async () => {
      await there.get("k")
      const version = `v${Math.random().toString(36).slice(2)}`
      await here.set("k", "1", { version })
      return until("a write is seen", async () => (await there.get("k"))?.version === version, 2).then(
        () => true,
        () => false,
      )
    })
    for (const [writer, reader] of [
      [here, there],
      [there, here],
    ] as const) {
      await reader.get("k")
      await writer.set("k", '"new"', { owner: "alice" })
      await until("the write", async () => (await reader.get("k"))?.value === '"new"')
      const end = Date.now() + 3_600_000
      await writer.touch("k", end)
      await until("the touch", async () => Math.abs(((await reader.get("k"))?.expiresAt ?? 0) - end) < 5_000)
      await writer.delete("k")
      expect(await writer.get("k")).toBeNull()
      await until("the delete", async () => (await reader.get("k")) === null)
      await writer.set("k", "1")
    }
  })
})

it("S12: what another process ended is over for a near-cache that did not hear of it yet, as soon as it writes", async () => {
  const [here, there] = await Promise.all([openStore(redis.url, quiet), openStore(redis.url, quiet)])
  const { watch: _watch, ...silent } = there
  const near = cachedStore(silent, { maxAge: "1h", report: () => {} })
  onTestFinished(async () => {
    await near.close()
    await here.close()
  })
  await here.set("s", "1", { version: "a" })
  expect(await near.get("s")).toMatchObject({ version: "a" })
  await here.delete("s", { version: "a" })
  expect(await near.get("s")).toMatchObject({ version: "a" }) // as old as its age, at the most
  expect(await near.set("s", "2", { if: { version: "a" } })).toEqual({ ok: false, current: null })
  expect(await near.get("s")).toBeNull()
  expect(await here.get("s")).toBeNull()
})

it.each(["update", "assign"] as const)(
  "S11: 2 x 100 parallel increments by %s, each through a near-cache of its own, are exactly 200 more",
  async (how) => {
    const stores = await Promise.all(
      [1, 2].map(async () => cachedStore(await openStore(redis.url, quiet), { maxAge: "1h" })),
    )
    onTestFinished(async () => {
      for (const store of stores) await store.close()
    })
    const systems = stores.map((store) =>
      createSessions<{ count: number }>({ store, rules: { count: "add" }, deadline: "20s" }),
    )
    const [first, second] = systems as [Sessions<{ count: number }>, Sessions<{ count: number }>]
    const visitor = browser(first)
    await visitor.visit((session) => void (session.data.count = 0))
    const { cookie } = visitor
    await browser(second, { cookie }).visit((session) => session.data.count) // both have a copy nearby
    const increment = (sessions: Sessions<{ count: number }>): Promise<unknown> =>
      browser(sessions, { cookie }).visit((session) => {
        if (how === "update") return session.update((data) => void (data.count = (data.count ?? 0) + 1))
        session.data.count = (session.data.count ?? 0) + 1
        return undefined
      })
    await Promise.all(systems.flatMap((sessions) => Array.from({ length: 100 }, () => increment(sessions))))
    const plain = await openStore(redis.url, quiet)
    onTestFinished(() => plain.close())
    const truth = createSessions<{ count: number }>({ store: plain })
    expect(await browser(truth, { cookie }).visit((session) => session.data.count)).toBe(200)
  },
)

it("S12: a page in flight on one near-cache brings nothing back that another one has ended", async () => {
  const stores = await Promise.all(
    [1, 2].map(async () => cachedStore(await openStore(redis.url, quiet), { maxAge: "1h" })),
  )
  onTestFinished(async () => {
    for (const store of stores) await store.close()
  })
  const [here, there] = stores.map((store) => createSessions<{ count: number }>({ store })) as [
    Sessions<{ count: number }>,
    Sessions<{ count: number }>,
  ]
  const visitor = browser(here)
  await visitor.visit((session) => void (session.data.count = 1))
  const { cookie } = visitor
  const slow = await browser(there, { cookie }).open()
  slow.session.data.count = 2
  await visitor.visit((session) => session.destroy())
  expect(await slow.end()).toBeNull()
  for (const sessions of [here, there]) {
    expect(await browser(sessions, { cookie }).visit((session) => session.isNew)).toBe(true)
  }
})
