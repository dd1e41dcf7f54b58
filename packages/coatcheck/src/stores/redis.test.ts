import { inspect } from "node:util"
import { createClient } from "@redis/client"
import { Redis } from "ioredis"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import { startRedis, until } from "../../../../test/support/redis.ts"
import type { Store, StoreReport } from "../core/store.ts"
import { fakeClock } from "../testing/fake-clock.ts"
import { storeCases } from "../testing/store-suite.ts"
import { type RedisClient, redisStore, type RedisStoreOptions } from "./redis.ts"

const server = await startRedis()
let stores = 0

/** The suite over whatever `target` gives, each case under a prefix of its own. */
function suite(target: () => string | RedisClient): void {
  // Redis's clock runs while the suite's stands still: the grace keeps records that a slow machine would lose meanwhile.
  const another = (setup: object): Promise<Store> =>
    redisStore(target(), { ...setup, prefix: `suite-${stores}`, grace: "1m" })
  const harness = {
    open: (setup: object) => {
      stores += 1
      return another(setup)
    },
    openSecond: another,
  }
  for (const { name, run } of storeCases(harness)) it(name, run)
}

describe("the redis store keeps the contract", () => {
  suite(() => server.url)
})

describe("the redis store on a client of the caller's keeps the contract", () => {
  const { port } = server
  const nodeRedis = createClient({ socket: { host: "127.0.0.1", port } }) // RESP3, and so other forms of maps and scores
  const ioredis = new Redis(port, "127.0.0.1", { lazyConnect: true, autoResendUnfulfilledCommands: false })
  beforeAll(async () => {
    await Promise.all([nodeRedis.connect(), ioredis.connect()])
  })
  afterAll(() => {
    nodeRedis.destroy()
    ioredis.disconnect()
  })
  describe("@redis/client", () => {
    suite(() => nodeRedis)
  })
  describe("ioredis", () => {
    suite(() => ioredis)
  })

  it("REL-07: is told what the server is set up for as well", async () => {
    await server.command("CONFIG", "SET", "appendonly", "yes")
    for (const client of [nodeRedis, ioredis]) {
      const reports: StoreReport[] = []
      await open(client, { report: (report) => reports.push(report) })
      expect(reports).toMatchObject([{ kind: "warning", message: expect.stringMatching(/appendfsync everysec/) }])
    }
    await server.command("CONFIG", "SET", "appendonly", "no")
    expect([nodeRedis.isOpen, ioredis.status]).toEqual([true, "ready"]) // they stay the caller's
  })
})

const opened: Store[] = []
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close()
})

async function open(target: string | RedisClient, options: RedisStoreOptions = {}): Promise<Store> {
  const store = await redisStore(target, { report: () => {}, ...options })
  opened.push(store)
  return store
}

describe("settings", () => {
  it("PRS-07: a prefix is a plain name, so that it is no pattern, no hash tag, and no beginning of another's keys", async () => {
    for (const prefix of [
      "",
      "a:b",
      "*",
      "a*",
      "{x}",
      "a b",
      "a\r\nFLUSHALL",
      "a\u0000",
      "ü",
      "x".repeat(65),
      "[a]",
      '"; DROP',
      7,
    ]) {
      await expect(redisStore(server.url, { prefix: prefix as string }), String(prefix)).rejects.toThrow(TypeError)
    }
    await expect(redisStore(`${server.url}?prefix=a*`)).rejects.toThrow(/prefix must be/)
    for (const prefix of ["a", "A-1_b.c", "x".repeat(64)]) await open(server.url, { prefix })
  })

  it("refuses what makes no sense, and repeats nothing of the URL", async () => {
    const secret = "hunter2"
    const wrong: [string, RedisStoreOptions, RegExp][] = [
      ["redis://localhost", { wait: -1 }, /wait must be a whole number from 0 up/],
      ["redis://localhost?deadline=2d", {}, /deadline must be a day at most/],
      ["redis://localhost", { wait: 1.5 }, /wait/],
      ["redis://localhost", { maxValueBytes: 0 }, /maxValueBytes must be a whole number from 1 up/],
      ["redis://localhost", { maxQueued: 0 }, /maxQueued/],
      ["redis://localhost", { deadline: "soon" as "1s" }, /deadline must be a duration/],
      ["redis://localhost", { grace: "0ms" }, /grace must be a duration/],
      [`redis://:${secret}@localhost?wait=many`, {}, /wait/],
      [`redis://:${secret}@localhost?maxQueued=1e3`, {}, /maxQueued/],
      [`redis://:${secret}@localhost?${secret}=1`, {}, /prefix, wait, grace, deadline, maxValueBytes, maxQueued/],
      [`http://:${secret}@localhost`, {}, /Not the URL/],
    ]
    for (const [url, options, message] of wrong) {
      const error: unknown = await redisStore(url, options).catch((reason: unknown) => reason)
      expect(error, url).toBeInstanceOf(TypeError)
      expect((error as TypeError).message).toMatch(message)
      expect((error as TypeError).message).not.toContain(secret)
    }
    await expect(redisStore(7 as unknown as string)).rejects.toThrow(/a URL, or a client/)
  })

  it("those of the URL go before the options", async () => {
    const store = await open(`${server.url}?prefix=url&maxValueBytes=4&deadline=2s&maxQueued=9&grace=1s`, {
      prefix: "options",
      maxValueBytes: 9,
    })
    await store.set("k", "1234")
    expect(await server.command("EXISTS", "url:entry:k")).toBe("1")
    await expect(store.set("k", "12345")).rejects.toMatchObject({ code: "too-large" })
    await expect(Promise.all(Array.from({ length: 10 }, () => store.get("k")))).rejects.toMatchObject({
      code: "unavailable",
    })
  })

  it("S14: a server that is not there fails the start within the deadline, and says what to do", async () => {
    const started = performance.now()
    await expect(redisStore("redis://127.0.0.1:1", { deadline: "300ms" })).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/see that the server runs/),
    })
    expect(performance.now() - started).toBeLessThan(2_000)
  })
})

describe("F-RED-3: what the server says", () => {
  const quick = { deadline: "400ms" } as const

  it("REL-03: is a code that tells whether a write happened, and the store goes on when it is over", async () => {
    const own = await startRedis()
    const store = await open(own.url, { ...quick, prefix: "says" })
    await store.set("k", "1", { version: "v1" })
    const write = () => store.set("k", "2", { if: { version: "v1" }, version: "v2" })
    const whole = async (): Promise<void> => {
      expect(await store.get("k")).toMatchObject({ version: "v1" })
    }

    await own.command("CONFIG", "SET", "maxmemory", "1")
    await expect(write()).rejects.toMatchObject({ code: "full", message: expect.stringMatching(/raise maxmemory/) })
    await expect(store.set("new", "1", { owner: "alice" })).rejects.toMatchObject({ code: "full" })
    await whole()
    expect(await store.delete("none")).toEqual({ ok: true, removed: null }) // makes room, so it is allowed
    await own.command("CONFIG", "SET", "maxmemory", "0")

    await own.command("CONFIG", "SET", "min-replicas-to-write", "1")
    await expect(write()).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/too few replicas/),
    })
    await whole()
    const patient = await open(own.url, { deadline: "10s", prefix: "says" })
    const waiting = patient.set("k", "2", { if: { version: "v1" }, version: "v2" })
    await own.command("CONFIG", "SET", "min-replicas-to-write", "0")
    expect(await waiting).toMatchObject({ ok: true }) // the condition went before the deadline
    await store.set("k", "1", { version: "v1" })

    await own.command("ACL", "SETUSER", "default", "-evalsha", "-eval")
    await expect(write()).rejects.toMatchObject({ code: "denied" })
    await whole()
    await own.command("ACL", "SETUSER", "default", "+@all", "resetkeys", "~other:*")
    await expect(store.get("k")).rejects.toMatchObject({ code: "denied" })
    await own.command("ACL", "SETUSER", "default", "~*")

    await own.command("CONFIG", "SET", "busy-reply-threshold", "20")
    const busy = own.command("EVAL", "while true do end", "0").catch(() => "killed")
    await until("the server is busy", async () =>
      (await own.command("PING").catch((error: unknown) => String(error))).includes("BUSY"),
    )
    await expect(write()).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/busy with a script/),
    })
    await own.command("SCRIPT", "KILL")
    await busy
    await whole()

    await own.command("REPLICAOF", "127.0.0.1", "1")
    await expect(write()).rejects.toMatchObject({ code: "unavailable" })
    await own.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    await expect(store.get("k")).rejects.toMatchObject({ code: "unavailable" })
    await own.command("REPLICAOF", "NO", "ONE")
    await until("it is used again", () => store.get("k"))
    expect(await write()).toMatchObject({ ok: true })
  })

  it("LOG-01: a server that lacks a command is told as such, and nothing that it repeats of the call is passed on", async () => {
    const own = await startRedis({ config: { "rename-command": 'EVALSHA ""' } })
    const store = await open(own.url, { prefix: "lacks" })
    const error: unknown = await store.set("session-of-alice", '"data-of-alice"').catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: "unsupported", message: expect.stringMatching(/Redis 7 or Valkey 8/) })
    expect(inspect(error)).toContain("unknown command")
    expect(inspect(error)).not.toContain("alice")
  })

  it("a pause that is longer than the deadline: a read is unavailable, of a write nobody knows", async () => {
    const own = await startRedis()
    const store = await open(own.url, quick)
    await store.set("k", "1", { version: "v1" })
    await own.command("CLIENT", "PAUSE", "2500", "ALL")
    const [read, written] = await Promise.allSettled([store.get("k"), store.set("k", "2", { version: "v2" })])
    expect(read).toMatchObject({ reason: { code: "unavailable" } })
    expect(written).toMatchObject({ reason: { code: "unknown-outcome" } })
    await until("it answers again", () => store.get("k"))
  })

  it("connections that are killed are felt by no read, and make a write unknown at most", async () => {
    const own = await startRedis()
    const store = await open(own.url, { deadline: "2s" })
    await store.set("k", "0")
    let unknown = 0
    let acknowledged = 0
    for (let round = 0; round < 30; round++) {
      const [read, written] = await Promise.allSettled([
        store.get("k"),
        store.set("k", String(round)),
        own.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
      ])
      expect(read.status).toBe("fulfilled")
      if (written.status === "fulfilled") acknowledged += 1
      else {
        expect(written.reason).toMatchObject({ code: "unknown-outcome" })
        unknown += 1
      }
    }
    expect(unknown + acknowledged).toBe(30)
    expect(await store.get("k")).not.toBeNull()
  })
})

describe("REL-07: what is said at the start", () => {
  async function said(url: string, options: RedisStoreOptions = {}): Promise<StoreReport[]> {
    const reports: StoreReport[] = []
    await open(url, { report: (report) => reports.push(report), ...options })
    expect(reports.every(({ store }) => store === "redis")).toBe(true)
    return reports
  }

  it("eviction, no append-only file, its window, and replicas that nobody waits for", async () => {
    const own = await startRedis({ config: { appendonly: "yes", appendfsync: "always" } })
    expect(await said(own.url)).toEqual([])
    await own.command("CONFIG", "SET", "appendfsync", "everysec")
    expect(await said(own.url)).toMatchObject([
      { kind: "warning", message: expect.stringMatching(/last second's writes \(appendfsync everysec\)/) },
    ])
    await own.command("CONFIG", "SET", "appendfsync", "no")
    expect(await said(own.url)).toMatchObject([
      { message: expect.stringMatching(/half minute's writes \(appendfsync no\)/) },
    ])
    await own.command("CONFIG", "SET", "appendonly", "no")
    expect(await said(own.url)).toMatchObject([
      { message: expect.stringMatching(/no append-only file.*set appendonly yes/) },
    ])
    await own.command("CONFIG", "SET", "appendonly", "yes", "appendfsync", "always", "maxmemory-policy", "allkeys-lru")
    expect(await said(own.url)).toMatchObject([
      { message: expect.stringMatching(/throws out sessions.*allkeys-lru.*set noeviction/) },
    ])
    await own.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "repl-diskless-sync-delay", "0")
    const replica = await startRedis({ config: { replicaof: `127.0.0.1 ${own.port}` } })
    await until("it follows", async () => (await replica.info("master_link_status")) === "up")
    expect(await said(own.url)).toMatchObject([
      { message: expect.stringMatching(/failover.*min-replicas-to-write, or .*wait/) },
    ])
    expect(await said(own.url, { wait: 1 })).toEqual([])
    await own.command("CONFIG", "SET", "min-replicas-to-write", "1")
    expect(await said(own.url)).toEqual([])
  })

  it("nothing of what a server does not let itself be asked, and then the store works all the same", async () => {
    // As docs/reference/stores.md has it.
    const commands =
      "+get +getrange +set +del +scan +dbsize +eval +evalsha +@sortedset +pttl +persist +pexpire +ping +auth +select +wait"
    const users = [`shop on >secret ~shop:* -@all ${commands}`]
    const own = await startRedis({ users, config: { "maxmemory-policy": "allkeys-lru" } })
    const url = own.url.replace("//", "//shop:secret@")
    expect(await said(url, { prefix: "shop" })).toEqual([])
    const store = await open(url, { prefix: "shop" })
    expect(await store.set("k", "1", { owner: "alice", expiresAt: Date.now() + 60_000 })).toMatchObject({ ok: true })
    expect((await store.list()).entries).toHaveLength(1)
    expect((await store.list({ owner: "alice" })).entries).toHaveLength(1)
    expect(await store.count?.()).toBe(1)
    expect(await store.touch("k", null)).toMatchObject({ ok: true })
    expect(await store.delete("k")).toMatchObject({ ok: true })
    // A managed server that refuses CONFIG alone still tells the rest.
    await own.command("ACL", "SETUSER", "shop", "+info", "+time", "+config|get", "+client", "+subscribe")
    expect(await said(url, { prefix: "shop" })).toMatchObject([
      { message: expect.stringMatching(/allkeys-lru/) },
      { message: expect.stringMatching(/append-only/) },
    ])
    await own.command("ACL", "SETUSER", "shop", "&__redis__:invalidate")
    const told: (string | null)[] = []
    store.watch?.((key) => told.push(key))
    await until("the channel stands", () => told.includes(null))
    await store.set("seen", "1")
    await until("it is told", () => told.includes("seen"))
  })

  it("clocks that differ by more than two seconds", async () => {
    const own = await startRedis({ config: { appendonly: "yes", appendfsync: "always" } })
    for (const [ahead, kinds] of [
      [0, []],
      [1_000, []],
      [-500, []],
      [3_000, ["skew"]],
      [-60_000, ["skew"]],
    ] as const) {
      const reports = await said(own.url, { clock: fakeClock(Date.now() + ahead) })
      expect(reports.map(({ kind }) => kind)).toEqual(kinds)
    }
    expect(await said(own.url, { clock: fakeClock(Date.now() + 90_000) })).toMatchObject([
      { message: expect.stringMatching(/differ by about 90 s/) },
    ])
  })
})

describe("wait", () => {
  it("REL-02: a write is acknowledged when a replica has it; without one its outcome is unknown, and reads go on", async () => {
    const own = await startRedis({ config: { "repl-diskless-sync-delay": "0" } })
    const replica = await startRedis({ config: { replicaof: `127.0.0.1 ${own.port}` } })
    await until("it follows", async () => (await own.command("WAIT", "1", "50")) === "1")
    const store = await open(own.url, { wait: 1, deadline: "5s", prefix: "wait" })
    for (let n = 0; n < 20; n++) {
      await store.set("k", String(n), { version: `v${n}`, owner: "alice" })
      expect(await replica.command("GET", "wait:entry:k")).toContain(`\n${n}`)
    }
    const keys = Array.from({ length: 300 }, (_, n) => `many-${n}`)
    const outcomes = await Promise.all(keys.map((key) => store.set(key, "1", { version: "v1" })))
    expect(outcomes.every(({ ok }) => ok)).toBe(true)
    expect(await replica.command("DBSIZE")).toBe("302")

    await store.touch("many-2", null) // so that the server knows every script
    await store.delete("many-2")

    replica.freeze()
    // One WAIT for all of them: each ends within its deadline, and a read in between at once.
    const started = performance.now()
    const calls = Promise.allSettled([
      store.set("k", "a"),
      store.touch("k", Date.now() + 60_000),
      store.delete("many-0"),
    ])
    await until("the server waits for its replica", async () => (await own.info("blocked_clients")) === "1")
    const asked = performance.now()
    expect(await store.get("many-1")).not.toBeNull()
    expect(performance.now() - asked).toBeLessThan(1_000)
    const reasons = (await calls).map((one) => (one.status === "rejected" ? (one.reason as Error).message : "done"))
    expect(reasons).toEqual(Array.from({ length: 3 }, () => expect.stringMatching(/0 of 1 replicas/)))
    expect(performance.now() - started).toBeLessThan(5_300)
    // What was refused by its condition wrote nothing, and needs no replica.
    expect(await store.set("many-1", "2", { if: "absent" })).toMatchObject({ ok: false })
    replica.thaw()
    await until("replicas have it again", async () => (await store.set("k", "b")).ok)
  })

  it("needs connections of its own", async () => {
    const client = { status: "ready", call: async () => null }
    await expect(redisStore(client, { wait: 1 })).rejects.toThrow(/wait needs connections of the store's own/)
  })
})
