import { afterAll, describe, expect, it } from "vitest"
import { dial } from "../../../../../test/support/redis-dial.ts"
import { startRedis, until } from "../../../../../test/support/redis.ts"
import { systemClock } from "../../core/clock.ts"
import { encode } from "../../core/crypto.ts"
import type { Entry, Page, Store } from "../../core/store.ts"
import { redisStore } from "../redis.ts"
import type { RedisConnection } from "./connection.ts"
import { storeOn } from "./store.ts"

const server = await startRedis()
const stores: Store[] = []
afterAll(() => Promise.all(stores.map((store) => store.close())))

async function open(prefix: string, url = server.url): Promise<Store> {
  const store = await redisStore(url, { prefix, report: () => {} })
  stores.push(store)
  return store
}

/** Keys one behind the other, written together. */
async function fill(store: Store, name: string, count: number): Promise<string[]> {
  const keys = Array.from({ length: count }, (_, at) => `${name}${at}`)
  for (let at = 0; at < count; at += 1_000) {
    await Promise.all(keys.slice(at, at + 1_000).map((key) => store.set(key, "1")))
  }
  return keys
}

/** Every page, with something done after each. */
async function walk(
  store: Store,
  query: Parameters<Store["list"]>[0],
  between: (page: number) => Promise<unknown> = async () => {},
): Promise<{ keys: Set<string>; pages: number; entries: Entry[] }> {
  const entries: Entry[] = []
  let cursor: string | null = null
  let pages = 0
  do {
    const page: Page = await store.list({ ...query, ...(cursor !== null && { cursor }) })
    expect(page.entries.length).toBeLessThanOrEqual(query?.limit ?? 100)
    entries.push(...page.entries)
    cursor = page.cursor
    pages += 1
    if (cursor !== null) await between(pages)
  } while (cursor !== null)
  return { keys: new Set(entries.map(({ key }) => key)), pages, entries }
}

const calls = async (name: string): Promise<number> =>
  Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(await server.command("INFO", "commandstats"))?.[1] ?? 0)

describe("a listing by prefix", () => {
  it("misses nothing that stays, while the server's table grows and shrinks under it", async () => {
    const store = await open("scan")
    const stays = await fill(store, "stays-", 600)
    const bulk = await fill(store, "bulk-", 3_000)
    const shrinking = await walk(store, { prefix: "stays-", limit: 40 }, async (page) => {
      await Promise.all(bulk.slice((page - 1) * 300, page * 300).map((key) => store.delete(key)))
    })
    expect(stays.filter((key) => !shrinking.keys.has(key))).toEqual([])
    const growing = await walk(store, { prefix: "stays-", limit: 40 }, (page) => fill(store, `more-${page}-`, 300))
    expect(stays.filter((key) => !growing.keys.has(key))).toEqual([])
    await server.command("FLUSHALL")
  })

  it("begins again with a server that was started anew in the middle, whose places in the table are others", async () => {
    const own = await startRedis({ config: { appendonly: "yes", appendfsync: "no" } })
    const store = await open("again", own.url)
    const keys = await fill(store, "k", 2_000)
    const found = await walk(store, { limit: 100 }, async (page) => {
      if (page !== 10) return
      await own.stop()
      await own.start()
      await until("the store is connected again", () => store.get("k0"))
    })
    expect(keys.filter((key) => !found.keys.has(key))).toEqual([])
    expect(found.pages).toBeGreaterThan(20)
  })

  it("finds the few among many of others with few questions", async () => {
    const store = await open("few")
    const keys = await fill(store, "k", 20)
    const others = await open("others")
    await fill(others, "o", 20_000)
    await server.command("CONFIG", "RESETSTAT")
    const found = await walk(store, { limit: 100 })
    expect([...found.keys].toSorted()).toEqual(keys.toSorted())
    // A thousand keys a question: twenty for all of them, and some to get there.
    expect(await calls("scan")).toBeLessThan(40)
    expect(found.pages).toBeLessThan(6)
    await server.command("CONFIG", "RESETSTAT")
    expect((await walk(store, { prefix: "none" })).entries).toEqual([])
    expect(await calls("scan")).toBeLessThan(40)
    await server.command("FLUSHALL")
  })

  it("keeps its cursors short where one server has all and another one none", async () => {
    const [empty, full] = await Promise.all(["1", "0"].map((db) => dial(`${server.url}/${db}`)))
    if (empty === undefined || full === undefined) throw new Error("two were dialled")
    await server.command("-n", "1", "DEBUG", "POPULATE", "3000", "other")
    const nodes = [empty, full].map((one, at) => ({
      id: String(at),
      send: (args: readonly string[]) => one.send("", args),
    }))
    const connection: RedisConnection = { ...full, primaries: async () => nodes }
    const settings = {
      clock: systemClock,
      report: () => {},
      deadline: 1_000,
      maxValueBytes: 9,
      maxQueued: 9_999,
      grace: 1,
    }
    const store = storeOn({ reads: connection, writes: connection, replicas: null }, { ...settings, prefix: "uneven" })
    stores.push(store)
    const keys = await fill(store, "k", 1_500)
    const found = new Set<string>()
    let cursor: string | null = null
    do {
      const page: Page = await store.list({ limit: 10, ...(cursor !== null && { cursor }) })
      for (const { key } of page.entries) found.add(key)
      cursor = page.cursor
      expect(cursor?.length ?? 0).toBeLessThan(1_000)
    } while (cursor !== null)
    expect(found.size).toBe(keys.length)
    await empty.close()
    await server.command("FLUSHALL")
  })

  it("PRS-07: stores of other prefixes see nothing of it, though their names begin alike or look like patterns", async () => {
    const names = ["app", "app.b", "ap", "app_b", "app-entry", "App"]
    const all = await Promise.all(names.map((name) => open(name)))
    for (const [at, store] of all.entries()) await store.set(`key-${at}`, "1", { owner: "alice" })
    await server.command("SET", "app:entry", "1 v1 -\n1")
    await server.command("SET", "xapp:entry:key", "1 v1 -\n1")
    for (const [at, store] of all.entries()) {
      expect((await store.list()).entries.map(({ key }) => key)).toEqual([`key-${at}`])
      expect((await store.list({ owner: "alice" })).entries.map(({ key }) => key)).toEqual([`key-${at}`])
      expect(await store.count?.()).toBe(1)
    }
    await server.command("FLUSHALL")
  })

  it("without values reads no more than the first line of each", async () => {
    const store = await open("heads")
    const owner = "\u{1f511}".repeat(128)
    const version = "v".repeat(64)
    await store.set("big", JSON.stringify("ü".repeat(100_000)), { owner, version, expiresAt: 8_640_000_000_000_000 })
    await store.set("small", "1")
    await server.command("CONFIG", "RESETSTAT")
    const { entries } = await store.list({ values: false })
    expect(entries.toSorted((a, b) => (a.key < b.key ? -1 : 1))).toMatchObject([
      { key: "big", value: "", owner, version, expiresAt: 8_640_000_000_000_000 },
      { key: "small", value: "", owner: null },
    ])
    expect([await calls("get"), await calls("getrange")]).toEqual([0, 2])
    expect((await store.list({ owner, values: false })).entries).toMatchObject([{ key: "big", value: "", owner }])
    await server.command("FLUSHALL")
  })

  it("takes a key that has just gone for gone, and not for damaged", async () => {
    const reports: string[] = []
    const url = `${server.url}?prefix=gone`
    const store = await redisStore(url, { report: ({ kind }) => void reports.push(kind) })
    stores.push(store)
    await fill(store, "k", 20)
    await store.set("left", "1", { owner: "ann" })
    await server.command("DEL", "gone:entry:left") // as Redis does by itself when the end has come
    reports.length = 0
    for (const values of [false, true]) {
      expect(await store.list({ owner: "ann", values })).toEqual({ entries: [], cursor: null })
    }
    expect(reports).toEqual([])
    await server.command("SET", "gone:entry:left", "rubbish")
    expect((await store.list({ owner: "ann", values: false })).entries).toEqual([])
    expect(reports).toEqual(["damaged"])
    await server.command("FLUSHALL")
  })

  it("is one call among those that may be under way, however many entries a page has", async () => {
    const store = await redisStore(`${server.url}?prefix=few&maxQueued=3`, { report: () => {} })
    stores.push(store)
    for (let at = 0; at < 40; at++) await store.set(`k${at}`, "1", { owner: "ann" })
    await server.command("DEL", "few:entry:k7")
    await server.command("RPUSH", "few:entry:k7", "another kind")
    for (const query of [{ limit: 1_000 }, { owner: "ann" }, { owner: "ann", values: false }]) {
      expect((await store.list(query)).entries).toHaveLength(39)
    }
    await server.command("FLUSHALL")
  })

  it("refuses cursors that are none of its own", async () => {
    const store = await open("cursors")
    await fill(store, "k", 200)
    const { cursor } = await store.list({ limit: 3, prefix: "k" })
    expect(cursor).not.toBeNull()
    const made = [
      "x",
      "!",
      ...[
        null,
        {},
        [],
        [[], "", "", "0"],
        [[], "", "", "0", [], 1],
        [1, "", "", "0", []],
        [[1], "", "", "0", []],
        [[], 1, "", "0", []],
        [[], "", "", "-1", []],
        [[], "", "", "0 MATCH *", []],
        [[], "0", "", "18446744073709551616", []],
        [[], "", "", "0", ["other"]],
        [[], "", "", "0", ["k\n"]],
        [[], "", "", "0", [7]],
      ].map((parts) => encode(JSON.stringify(parts))),
    ]
    for (const wrong of made) {
      await expect(store.list({ prefix: "k", cursor: wrong }), wrong).rejects.toMatchObject({ code: "invalid" })
    }
    const members = [
      [],
      ["1"],
      ["1", 2],
      ["x", "k"],
      ["1e3", "k"],
      ["(1", "k"],
      ["1", ""],
      ["1", "k\n"],
      ["1", "k", "l"],
    ]
    for (const wrong of ["x", ...members.map((parts) => encode(JSON.stringify(parts)))]) {
      await expect(store.list({ owner: "a", cursor: wrong }), wrong).rejects.toMatchObject({ code: "invalid" })
    }
    expect(await store.list({ owner: "a", cursor: encode(JSON.stringify(["inf", "k"])) })).toEqual({
      entries: [],
      cursor: null,
    })
    // A primary that is not there any more is no reason to stop.
    const elsewhere = encode(JSON.stringify([["gone"], "gone too", "", "77", []]))
    expect((await walk(store, { prefix: "k", cursor: elsewhere })).keys.size).toBe(200)
    await server.command("FLUSHALL")
  })
})

describe("a count", () => {
  it("is exact up to some thousand keys, and near beyond", async () => {
    const store = await open("count")
    await fill(store, "a", 1_500)
    await fill(store, "b", 500)
    expect([await store.count?.(), await store.count?.({ prefix: "b" }), await store.count?.({ prefix: "c" })]).toEqual(
      [2_000, 500, 0],
    )
    await fill(store, "c", 14_000)
    await server.command("CONFIG", "RESETSTAT")
    const all = Number(await store.count?.())
    expect(Math.abs(all - 16_000)).toBeLessThan(300)
    expect(await calls("scan")).toBeLessThan(8)
    const some = Number(await store.count?.({ prefix: "c" }))
    expect(Math.abs(some - 14_000)).toBeLessThan(700)
    await server.command("FLUSHALL")
  })

  it("of an owner is what his list says", async () => {
    const store = await open("owned")
    const now = Date.now()
    for (const key of ["a1", "a2", "b1"]) await store.set(key, "1", { owner: "alice", expiresAt: now + 60_000 })
    await store.set("a3", "1", { owner: "bob" })
    await server.command("ZADD", "owned:owner:alice", String(now - 5), "past")
    expect(await store.count?.({ owner: "alice" })).toBe(3)
    expect(await store.count?.({ owner: "alice", prefix: "a" })).toBe(2)
    expect(await store.count?.({ owner: "nobody" })).toBe(0)
    const many = Array.from({ length: 5_001 }, (_, at) => [String(now + 60_000), `m${at}`]).flat()
    await server.command("ZADD", "owned:owner:crowd", ...many)
    expect(await store.count?.({ owner: "crowd" })).toBe(5_001)
    expect(await store.count?.({ owner: "crowd", prefix: "m" })).toBeNull()
    await server.command("FLUSHALL")
  })
})
