// The redis store while its one server is away, frozen or still loading, with clients that go on calling all the time; and a process that ends
// when its store is closed.

import type { Store } from "coatcheck"
import { redisStore } from "coatcheck/redis"
import { afterEach, describe, expect, it } from "vitest"
import { endOfProcess } from "./support/redis-process.ts"
import { startLoad } from "./support/redis-load.ts"
import { startRedis, until } from "./support/redis.ts"

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function open(...[url, options]: Parameters<typeof redisStore>): Promise<Store> {
  const store = await redisStore(url, { report: () => {}, ...options })
  closers.push(() => store.close())
  return store
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code

/** Later than its deadline by so much is a call of a busy machine still in time. */
const SLACK_MS = 700

describe("F-RED-1: a server that is stopped for five seconds", () => {
  it("is felt as typed errors within the deadline, holds a bounded number of calls, and is used again without a restart", async () => {
    const server = await startRedis({ config: { appendonly: "yes", appendfsync: "always" } })
    const store = await open(server.url, { deadline: "500ms", maxQueued: 100 })
    const load = startLoad(store, { prefix: "k", clients: 64 })
    await until("there is load", () => load.acked > 1_000)
    await server.stop()
    const stopped = performance.now()

    // More than may wait: the rest is told at once.
    const began = performance.now()
    const calls = Array.from({ length: 500 }, () => store.get("k0").catch(codeOf))
    const first = await Promise.race(calls)
    expect(first).toBe("unavailable")
    expect(performance.now() - began).toBeLessThan(400)
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["unavailable"]))
    expect(performance.now() - began).toBeLessThan(500 + SLACK_MS)

    await until("five seconds have passed", () => performance.now() - stopped > 5_000)
    await server.start()
    const back = performance.now()
    const before = load.acked
    await until("it is used again", () => load.acked > before + 1_000)
    expect(performance.now() - back).toBeLessThan(5_000)
    await load.stop()
    expect(Object.keys(load.failed).sort()).toEqual(["unavailable", "unknown-outcome"])
    expect(load.failed["unknown-outcome"]).toBeLessThanOrEqual(64)
    expect(load.longest).toBeLessThan(500 + SLACK_MS)
    expect(await load.check(await open(server.url))).toEqual({ lost: 0, wrong: 0 })
  })
})

describe("F-RED-2: a server that is frozen", () => {
  it("for 0.2 s: nobody fails", async () => {
    const server = await startRedis()
    const store = await open(server.url)
    const load = startLoad(store, { prefix: "k" })
    await until("there is load", () => load.acked > 500)
    server.freeze()
    const frozen = performance.now()
    await until("a moment has passed", () => performance.now() - frozen > 200)
    const before = load.acked
    server.thaw()
    await until("it goes on", () => load.acked > before + 500)
    await load.stop()
    expect(load.failed).toEqual({})
    expect(load.longestGap).toBeGreaterThan(150)
    expect(await load.check(store)).toEqual({ lost: 0, wrong: 0 })
  })

  it("for 2 s: calls end within their deadline and do not pile up, and it goes on when the server does", async () => {
    const server = await startRedis()
    const store = await open(server.url, { deadline: "400ms", maxQueued: 64 })
    const load = startLoad(store, { prefix: "k", clients: 32 })
    await until("there is load", () => load.acked > 500)
    server.freeze()
    const frozen = performance.now()
    await until("calls have failed", () => (load.failed["unknown-outcome"] ?? 0) >= 32)
    const codes = await Promise.all(Array.from({ length: 200 }, () => store.get("k0").catch(codeOf)))
    expect(new Set(codes)).toEqual(new Set(["unavailable"]))
    await until("two seconds have passed", () => performance.now() - frozen > 2_000)
    server.thaw()
    const back = performance.now()
    const before = load.acked
    await until("it goes on", () => load.acked > before + 500)
    expect(performance.now() - back).toBeLessThan(5_000)
    await load.stop()
    expect(load.longest).toBeLessThan(400 + SLACK_MS)
    expect(await load.check(await open(server.url))).toEqual({ lost: 0, wrong: 0 })
    // What the frozen server was sent before it was given up, it did late or never, and once: nobody wrote it again.
    expect(Number((await server.info("connected_clients")).trim())).toBeLessThan(6)
  })
})

describe("F-RED-3: a server that is still loading", () => {
  it("is unavailable, and used as soon as it has loaded", async () => {
    // So slowly that it is not done before it is let go.
    const slowly = { "key-load-delay": "5000", "loading-process-events-interval-bytes": "1024" }
    const server = await startRedis({ config: { save: "3600 1", ...slowly } })
    await server.command("DEBUG", "POPULATE", "3000", "k", "100")
    const store = await open(server.url)
    await store.set("there", "1")
    await server.stop()
    await server.start("loading")
    let error: unknown
    await until("it says that it loads", async () => {
      error = await store.set("there", "2").catch((thrown: unknown) => thrown)
      return /loading/.test(String(error))
    })
    await server.command("CONFIG", "SET", "key-load-delay", "0")
    expect(error).toMatchObject({ code: "unavailable", message: expect.stringMatching(/loading its data/) })
    await until("it has loaded", () => store.get("there"))
    expect(await store.get("there")).toMatchObject({ value: "1" })
  })
})

describe("a process whose store is closed", () => {
  it("ends by itself", async () => {
    const { url } = await startRedis()
    expect(await endOfProcess(url)).toEqual([0, null])
  })
})
