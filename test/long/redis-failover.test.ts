// What a failover costs the redis store, counted: how long nobody could write, and how much that was acknowledged is gone afterwards. Redis
// replicates after it has answered, so without `wait` a failover may lose the last of it; with `wait` and min-replicas-to-write on a server
// with two replicas nothing acknowledged is lost. The numbers go to standard output, and from there into the docs.

import type { Store } from "coatcheck"
import { redisStore, type RedisStoreOptions } from "coatcheck/redis"
import { afterEach, describe, expect, it } from "vitest"
import { type Load, startLoad } from "../support/redis-load.ts"
import { type RedisServer, type SentinelSet, startCluster, startRedis, startSentinel, until } from "../support/redis.ts"

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function open(url: string, options: RedisStoreOptions): Promise<Store> {
  const store = await redisStore(url, { report: () => {}, ...options })
  closers.push(() => store.close())
  return store
}

const settings: readonly { name: string; safe: boolean; options: RedisStoreOptions; config: Record<string, string> }[] =
  [
    { name: "default settings", safe: false, options: {}, config: {} },
    {
      name: "wait: 1 and min-replicas-to-write 1",
      safe: true,
      options: { wait: 1 },
      config: { "min-replicas-to-write": "1", "min-replicas-max-lag": "1" },
    },
  ]

async function passes(ms: number): Promise<void> {
  const began = performance.now()
  await until("the time has passed", () => performance.now() - began > ms)
}

/** What was left of the load, said and judged. `atRisk`: acknowledged while no replica could have it. */
async function judge(what: string, load: Load, store: Store, safe: boolean, atRisk?: number): Promise<void> {
  await load.stop()
  const { lost, wrong } = await load.check(store)
  const failed = Object.entries(load.failed).map(([code, count]) => `${count} ${code}`)
  console.log(
    `${what}: acknowledged ${load.acked}, of them lost ${lost}; failed ${failed.join(", ") || "none"}; ` +
      `longest without an acknowledgement ${Math.round(load.longestGap)} ms, longest call ${Math.round(load.longest)} ms`,
  )
  expect(wrong).toBe(0)
  expect(Object.keys(load.failed).filter((code) => code !== "unavailable" && code !== "unknown-outcome")).toEqual([])
  expect(load.longestGap).toBeLessThan(30_000)
  if (safe) expect(lost).toBe(0)
  else expect(lost).toBeLessThanOrEqual(atRisk ?? load.acked)
}

describe.each(settings)("F-SEN-1: Sentinel, $name", ({ safe, options, config, name }) => {
  async function underLoad(): Promise<{ set: SentinelSet; primary: RedisServer; store: Store; load: Load }> {
    const set = await startSentinel({ config })
    const store = await open(set.url, options)
    const load = startLoad(store, { prefix: "k" })
    await until("there is load", () => load.acked > 2_000)
    return { set, primary: await set.primary(), store, load }
  }

  async function goesOn({ set, load }: { set: SentinelSet; load: Load }, old: RedisServer): Promise<void> {
    await until("the sentinels have another primary", async () => (await set.primary()) !== old, 30)
    const before = load.acked
    await until("it takes writes", () => load.acked > before + 1_000, 30)
  }

  it("the primary is killed while its replicas follow", async () => {
    const one = await underLoad()
    await one.primary.kill()
    await goesOn(one, one.primary)
    await judge(`Sentinel, kill -9, ${name}`, one.load, one.store, safe)
  })

  it("the primary is killed after its replicas could not follow for 0.8 s", async () => {
    const one = await underLoad()
    const before = one.load.acked
    // Whoever is connected stays; replicas are thrown out and can't come back.
    await one.primary.command("CONFIG", "SET", "requirepass", "shut")
    await one.primary.command("--pass", "shut", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "replica")
    await passes(800)
    const atRisk = one.load.acked - before
    await one.primary.kill()
    await goesOn(one, one.primary)
    if (!safe) expect(atRisk).toBeGreaterThan(100)
    await judge(`Sentinel, 0.8 s without replicas, then kill -9, ${name}`, one.load, one.store, safe, atRisk + 16)
  })

  it("the primary is frozen for 6 s and goes on as if nothing had been", async () => {
    const one = await underLoad()
    one.primary.freeze()
    await passes(6_000)
    one.primary.thaw()
    await goesOn(one, one.primary)
    await until("it has become a replica", async () => (await one.primary.info("role")) === "slave", 30)
    await judge(`Sentinel, frozen for 6 s, ${name}`, one.load, one.store, safe)
  })
})

describe("F-SEN-2: sentinels that are down or behind", () => {
  it("one of three is enough to find the primary, and one that missed a failover leads nobody back", async () => {
    const set = await startSentinel()
    const [first, second, third] = set.sentinels as [RedisServer, RedisServer, RedisServer]
    await second.kill()
    await third.kill()
    const store = await open(set.url, {})
    expect((await store.set("k", "1")).ok).toBe(true)
    await Promise.all([second.start(), third.start()])
    await until("they know each other again", async () => {
      const state = await second.command("SENTINEL", "MASTER", set.name)
      return /num-other-sentinels\n2\n/.test(state) && /\nflags\nmaster\n/.test(state)
    })

    const old = await set.primary()
    first.freeze()
    old.freeze()
    await until(
      "the others have another primary",
      async () => {
        const answer = await second.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", set.name)
        return Number(answer.split("\n")[1]) !== old.port
      },
      40,
    )
    // Both come back at once, and for a moment the first sentinel and the old primary agree with each other.
    old.thaw()
    first.thaw()
    const late = await open(set.url, {})
    expect((await late.set("early", "2")).ok).toBe(true)
    expect(await old.command("EXISTS", "coatcheck:entry:early").catch(() => "0")).toBe("0")
    // What Redis makes of the rest is its own affair; when it has settled, both stores are where the sentinels are.
    await until("the old one is a replica", async () => (await old.info("role")) === "slave", 40)
    expect((await late.set("after", "3")).ok).toBe(true)
    await until("it is read by who was there before", async () => (await store.get("after"))?.value === "3")
    const primary = await set.primary()
    expect(primary).not.toBe(old)
    expect(await primary.command("EXISTS", "coatcheck:entry:after")).toBe("1")
  })
})

describe.each(settings)("F-CLU-1: a cluster, $name", ({ safe, options, config, name }) => {
  it("a primary is killed", async () => {
    const cluster = await startCluster({ config: { ...config, "min-replicas-max-lag": "1" } })
    const store = await open(cluster.url, options)
    const load = startLoad(store, { prefix: "k" })
    await until("there is load", () => load.acked > 2_000)
    const dying = await cluster.primaryOf("coatcheck:entry:k0")
    await dying.kill()
    const died = performance.now()
    await until("another node has its slots", async () => (await cluster.primaryOf("coatcheck:entry:k0")) !== dying, 30)
    // With one replica a shard, the survivor of a pair takes no write that must have a replica.
    const reads = await open(cluster.url, {})
    await until("its slots are read", async () => (await reads.get("k0")) !== undefined, 30)
    const readable = Math.round(performance.now() - died)
    if (safe) {
      await expect(store.set("k0", "1")).rejects.toMatchObject({ code: expect.stringMatching(/^un/) as unknown })
      await dying.start()
    }
    await until(
      "its slots are written",
      async () => (await store.set("k0", '"k0"').catch(() => ({ ok: false }))).ok,
      30,
    )
    console.log(
      `Cluster, kill -9, ${name}: read again after ${readable} ms, written after ${Math.round(performance.now() - died)} ms`,
    )
    await judge(`Cluster, kill -9, ${name}`, load, reads, safe)
  })
})

describe("F-RED-2: a server that is frozen for 10 s", () => {
  it("holds no more calls than may be under way, and is used again when it goes on", async () => {
    const server = await startRedis()
    const store = await open(server.url, { maxQueued: 128 })
    const load = startLoad(store, { prefix: "k", clients: 64 })
    await until("there is load", () => load.acked > 2_000)
    const before = process.memoryUsage().heapUsed
    server.freeze()
    await passes(10_000)
    const after = process.memoryUsage().heapUsed
    server.thaw()
    const back = performance.now()
    const acked = load.acked
    await until("it goes on", () => load.acked > acked + 1_000)
    console.log(
      `Frozen for 10 s: used again after ${Math.round(performance.now() - back)} ms, heap ${Math.round((after - before) / 2 ** 20)} MiB more`,
    )
    expect(performance.now() - back).toBeLessThan(5_000)
    await judge("Frozen for 10 s", load, await open(server.url, {}), true)
  })
})
