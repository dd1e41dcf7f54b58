import fc from "fast-check"
import { afterEach, describe, expect, it } from "vitest"
import { startRedis } from "../../../../../test/support/redis.ts"
import type { Entry, Store, StoreReport } from "../../core/store.ts"
import { type FakeClock, fakeClock } from "../../testing/fake-clock.ts"
import { awkwardKeys } from "../../testing/store-keys.ts"
import { redisAddress } from "./address.ts"
import { connectTo } from "./connect.ts"
import { type RedisConnection, RedisLinkError, RedisReplyError } from "./connection.ts"
import { unpackRecord } from "./record.ts"
import { storeOn } from "./store.ts"

const server = await startRedis()
let stores = 0
const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

type Send = (args: readonly string[]) => Promise<unknown>

interface Rig {
  readonly store: Store
  readonly clock: FakeClock
  readonly reports: StoreReport[]
  /** What the names of the store's keys begin with, colon included. */
  readonly space: string
  /** Commands that left, without those of the background before. */
  readonly sent: string[][]
  /** Sends a command past the store. */
  readonly command: Send
  /** Stands between store and server from now on. */
  between(wire: (args: readonly string[], onward: Send) => Promise<unknown>): void
}

/** A store on a real server, with its wire in our hands. Its clock stands; Redis's own does not, hence the long grace. */
async function rig(grace = 60_000): Promise<Rig> {
  const clock = fakeClock()
  const access = { clock, deadline: 1_000, tls: false } as const
  const nobody = { username: undefined, password: undefined, sentinelUsername: undefined, sentinelPassword: undefined }
  const base = await connectTo(redisAddress(server.url), { ...access, ...nobody })
  const sent: string[][] = []
  let wire = (args: readonly string[], onward: Send): Promise<unknown> => onward(args)
  const through = (onward: Send): Send => {
    return (args) => {
      sent.push([...args])
      return wire(args, onward)
    }
  }
  const connection: RedisConnection = {
    ...base,
    send: (key, args) => through((onward) => base.send(key, onward))(args),
    primaries: async () => (await base.primaries()).map(({ id, send }) => ({ id, send: through(send) })),
  }
  const reports: StoreReport[] = []
  const prefix = `store-${++stores}`
  const report = (one: StoreReport): void => void reports.push(one)
  const settings = { clock, report, deadline: 1_000, maxValueBytes: 1_048_576, maxQueued: 10_000, grace, prefix }
  const store = storeOn({ reads: connection, writes: connection, replicas: null }, settings)
  closers.push(() => store.close())
  return {
    store,
    clock,
    reports,
    space: `${prefix}:`,
    sent,
    command: (args) => base.send("", args),
    between: (next) => void (wire = next),
  }
}

/** Names of what left since the last time, scripts by what they do. */
function names(sent: string[][]): string[] {
  return sent.splice(0).map(([command = ""]) => command)
}

describe("what a verb costs", () => {
  it("is one command, and one more in the same flush where an insert has an owner", async () => {
    const { store, clock, sent } = await rig()
    await store.set("warm", "1", { owner: "alice" })
    await store.touch("warm", null)
    await store.delete("warm")
    await store.list({ owner: "alice" })
    sent.length = 0
    const end = clock.now() + 60_000
    const { version } = (await store.set("k", "1", { if: "absent", expiresAt: end })) as { version: string }
    expect(names(sent)).toEqual(["EVALSHA"])
    await store.get("k")
    expect(names(sent)).toEqual(["GET"])
    await store.set("k", "2", { if: { version }, version: "v2" })
    expect(names(sent)).toEqual(["EVALSHA"])
    await store.touch("k", end + 1)
    expect(names(sent)).toEqual(["EVALSHA"])
    await store.delete("k", { version: "v2" })
    expect(names(sent)).toEqual(["EVALSHA"])
    // With an owner, an insert has one more in the same flush. A write that moves neither owner nor end has none.
    await store.set("k", "1", { if: "absent", expiresAt: end, owner: "alice", version: "v1" })
    expect(names(sent)).toEqual(["EVALSHA", "EVALSHA"])
    await store.set("k", "2", { if: { version: "v1" }, version: "v2", expiresAt: end, owner: "alice" })
    expect(names(sent)).toEqual(["EVALSHA"])
    await store.set("k", "3", { if: { version: "v2" }, version: "v3" })
    expect(names(sent)).toEqual(["EVALSHA"])
  })

  it("is counted by the server as well", async () => {
    const { store, command } = await rig()
    const run = async (): Promise<void> => {
      const { version } = (await store.set("k", "1")) as { version: string }
      await store.get("k")
      await store.touch("k", null, { version })
      await store.delete("k", { version })
    }
    await run()
    await command(["CONFIG", "RESETSTAT"])
    await run()
    const stats = String(await command(["INFO", "commandstats"]))
    const calls = (name: string): number => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
    expect({ eval: calls("eval"), evalsha: calls("evalsha") }).toEqual({ eval: 0, evalsha: 3 })
    // Each script reads once by itself, and `get` once; the touch changed nothing, so it wrote nothing.
    expect({ get: calls("get"), set: calls("set"), del: calls("del") }).toEqual({ get: 4, set: 1, del: 1 })
  })
})

describe("scripts", () => {
  it("a server that has forgotten them is taught once, and each call is done once", async () => {
    const { store, sent, command } = await rig()
    await store.set("k", "1", { version: "v1" })
    for (const mode of ["SYNC", "ASYNC"]) {
      await command(["SCRIPT", "FLUSH", mode])
      sent.length = 0
      const outcomes = await Promise.all([
        store.set("a", "1", { if: "absent", version: "a1" }),
        store.set("a", "2", { if: { version: "a1" }, version: "a2" }),
      ])
      expect(outcomes.every(({ ok }) => ok)).toBe(true)
      expect(names(sent)).toEqual(["EVALSHA", "EVALSHA", "EVAL", "EVAL"])
      await store.set("a", "3", { if: { version: "a2" } })
      expect(names(sent)).toEqual(["EVALSHA"])
      await store.delete("a")
    }
  })

  it("a server that says so again and again gets the text once more, and then the call fails", async () => {
    const { store, between, sent } = await rig()
    between(() => Promise.reject(new RedisReplyError("NOSCRIPT No matching script. Please use EVAL.")))
    await expect(store.set("k", "1")).rejects.toMatchObject({ code: "unavailable" })
    expect(names(sent)).toEqual(["EVALSHA", "EVAL"])
  })
})

describe("a record", () => {
  it("is one string that people can read, under a name that says whose it is", async () => {
    const { store, clock, space, command } = await rig()
    const end = clock.now() + 60_000
    await store.set("session:x", '{"a":"ü"}', { version: "v1", expiresAt: end, owner: "alice b" })
    await store.set("plain", "1", { version: "v2" })
    expect(await command(["GET", `${space}entry:session:x`])).toBe(`1 v1 ${end} alice b\n{"a":"ü"}`)
    expect(await command(["GET", `${space}entry:plain`])).toBe("1 v2 -\n1")
    expect(await command(["ZRANGE", `${space}owner:alice b`, "0", "-1", "WITHSCORES"])).toEqual([
      "session:x",
      String(end),
    ])
    expect(await command(["TTL", `${space}entry:plain`])).toBe(-1)
  })

  it("M7: Redis's TTL is the seconds that were asked for, after an insert, a write and a touch", async () => {
    const { store, clock, space, command } = await rig(400)
    const ttl = (): Promise<unknown> => command(["TTL", `${space}entry:k`])
    await store.set("k", "1", { version: "v1", expiresAt: clock.now() + 1_800_000 })
    expect(await ttl()).toBe(1_800)
    await store.set("k", "2", { if: { version: "v1" }, version: "v2" })
    expect(await ttl()).toBe(1_800)
    await store.touch("k", clock.now() + 60_000)
    expect(await ttl()).toBe(60)
    // By the caller's clock: half a minute later it is half a minute.
    clock.advance(30_000)
    await store.set("k", "3", { if: { version: "v2" } })
    expect(await ttl()).toBe(30)
    await store.touch("k", null)
    expect(await ttl()).toBe(-1)
  })

  it("is gone from Redis soon after its end, and one that ended before it was written at once", async () => {
    const { store, clock, space, command } = await rig(400)
    await store.set("k", "1", { expiresAt: clock.now() - 60_000 })
    await store.set("l", "1", { expiresAt: 0 })
    await expect.poll(() => command(["EXISTS", `${space}entry:k`, `${space}entry:l`])).toBe(0)
    expect((await command(["PTTL", `${space}entry:k`])) as number).toBe(-2)
    await store.set("k", "1", { expiresAt: clock.now() + 100 })
    const left = (await command(["PTTL", `${space}entry:k`])) as number
    expect(left).toBeGreaterThan(100)
    expect(left).toBeLessThanOrEqual(500)
  })

  it("KVS-11: keys and owners of any characters are names of one key, and reach no other", async () => {
    const { store, space, command, clock } = await rig()
    const expiresAt = clock.now() + 1_000
    for (const key of awkwardKeys) await store.set(key, JSON.stringify(key), { owner: key, expiresAt })
    const found = (await command(["KEYS", `${space}*`])) as string[]
    const expected = awkwardKeys.flatMap((key) => [`${space}entry:${key}`, `${space}owner:${key}`])
    expect(found.toSorted()).toEqual(expected.toSorted())
    await expect(store.set("a\r\nFLUSHALL", "1")).rejects.toMatchObject({ code: "invalid" })
    await expect(store.get("*\u0000")).rejects.toMatchObject({ code: "invalid" })
    const value = '"\\r\\n$3\\r\\n"\r\n*1\r\n$8\r\nFLUSHALL\r\n'
    await store.set("value", value)
    expect(await store.get("value")).toMatchObject({ value })
    expect(await store.list({ prefix: "no*" })).toEqual({ entries: [], cursor: null })
  })
})

describe("what is damaged or not ours", () => {
  const broken = [
    "",
    "1",
    "{}",
    '{"v":1}',
    "1 v1 -",
    "1 v1 -\n",
    "1 v1\n1",
    "1  -\n1",
    "1 v1 \n1",
    "1 v1 - \n1",
    "1 v1 x\n1",
    "1 v1 1.5\n1",
    "1 v1 1e9\n1",
    "1 v1 --1\n1",
    "2 v1 -\n1",
    " 1 v1 -\n1",
    "1 v/1 -\n1",
    `1 ${"v".repeat(65)} -\n1`,
    `1 v1 ${"9".repeat(18)}\n1`,
    "1\tv1\t-\n1",
    "1 v1 -x\n1",
    "1 v1 -\r\n",
  ]

  it("PRS-05: counts as absent to every verb, is told once, and can be replaced and deleted", async () => {
    const { store, space, command, reports } = await rig()
    for (const [at, text] of broken.entries()) {
      const name = `k${at}`
      const key = `${space}entry:${name}`
      await command(["SET", key, text])
      expect([await store.get(name), text]).toEqual([null, text])
      expect(await store.get(name)).toBeNull()
      expect(reports.splice(0)).toMatchObject([{ store: "redis", kind: "damaged" }])
      expect(await store.touch(name, null)).toEqual({ ok: false, current: null })
      expect(await store.set(name, "2", { if: { version: "v1" } })).toEqual({ ok: false, current: null })
      expect(await store.delete(name, { version: "x" })).toEqual({ ok: true, removed: null })
      expect(await command(["EXISTS", key])).toBe(0)
      await command(["SET", key, text])
      expect(await store.set(name, "3", { if: "absent", version: "v3" })).toEqual({ ok: true, version: "v3" })
      expect(await store.get(name)).toMatchObject({ value: "3", owner: null, expiresAt: null })
      await command(["SET", key, text])
      expect(await store.set(name, "4", { version: "v4" })).toMatchObject({ ok: true })
      expect(reports).toEqual([])
      await store.delete(name)
    }
    for (const [at, text] of broken.entries()) await command(["SET", `${space}entry:k${at}`, text])
    await store.set("whole", "1")
    expect((await store.list()).entries).toMatchObject([{ key: "whole" }])
  })

  it("so does another kind of data, which a listing steps over", async () => {
    const { store, space, command, reports } = await rig()
    const key = `${space}entry:k`
    await command(["HSET", key, "a", "1"])
    await command(["SET", `${space}entry:bad\u0001name`, "1 v1 -\n1"])
    expect(await store.get("k")).toBeNull()
    expect(reports).toMatchObject([{ kind: "damaged" }])
    expect(await store.touch("k", null)).toEqual({ ok: false, current: null })
    expect(await store.list()).toEqual({ entries: [], cursor: null })
    expect(await store.list({ values: false })).toEqual({ entries: [], cursor: null })
    expect(await store.set("k", "1", { if: "absent", version: "v1" })).toEqual({ ok: true, version: "v1" })
    await command(["DEL", key])
    await command(["HSET", key, "a", "1"])
    expect(await store.delete("k")).toEqual({ ok: true, removed: null })
    // An owner's set is none of the caller's business: where it is something else, the call says so.
    await command(["SET", `${space}owner:eve`, "1"])
    await expect(store.list({ owner: "eve" })).rejects.toMatchObject({ code: "corrupt" })
    const late = { code: "unknown-outcome", cause: { code: "corrupt" } }
    await expect(store.set("m", "1", { owner: "eve" })).rejects.toMatchObject(late)
  })

  it("is told again after an hour, and no list of those told grows without end", async () => {
    const { store, space, command, reports, clock } = await rig()
    await command(["SET", `${space}entry:k`, "rubbish"])
    await store.get("k")
    clock.advance(3_599_999)
    await store.get("k")
    expect(reports).toHaveLength(1)
    clock.advance(1)
    await store.get("k")
    expect(reports).toHaveLength(2)
    const others = Array.from({ length: 1_000 }, (_, at) => `o${at}`)
    await command(["MSET", ...others.flatMap((key) => [`${space}entry:${key}`, "rubbish"])])
    await Promise.all(others.map((key) => store.get(key)))
    await store.get("k")
    expect(reports).toHaveLength(1_003)
  })

  it("is the same to the scripts and to whoever reads their answers", async () => {
    const { store, space, command, clock } = await rig()
    const key = `${space}entry:k`
    const piece = fc.constantFrom(
      "1",
      "2",
      " ",
      "-",
      "\n",
      "v1",
      "_",
      "0",
      "17",
      "a b",
      "é",
      "\r",
      "\u0000",
      "x".repeat(64),
    )
    const future = String(clock.now() + 60_000)
    const head = fc
      .tuple(fc.constantFrom("v1", "-", "", "v 1"), fc.constantFrom("-", future, "5", "-5", "", "x"), fc.string())
      .map(([version, end, rest]) => `1 ${version} ${end}${rest}`)
    const text = fc.oneof(
      fc.array(piece, { maxLength: 9 }).map((pieces) => pieces.join("")),
      head,
    )
    const property = fc.asyncProperty(text, fc.string(), async (first, rest) => {
      const record = `${first}\n${rest}`
      await command(["SET", key, record])
      const read = await store.get("k")
      const unpacked = unpackRecord("k", record)
      const lives = unpacked !== null && (unpacked.expiresAt === null || unpacked.expiresAt > clock.now())
      expect(read).toEqual(lives ? unpacked : null)
      const touched = await store.touch("k", clock.now() + 1_000)
      expect(touched).toEqual(read === null ? { ok: false, current: null } : { ok: true, version: read.version })
      const { removed } = (await store.delete("k")) as { removed: unknown }
      expect(removed).toEqual(read === null ? null : { ...read, expiresAt: clock.now() + 1_000 })
    })
    await fc.assert(property, { numRuns: 300 })
  })
})

describe("what became of a write", () => {
  it("REL-03, REL-04: of one that was lost on the way nobody knows; of one that did not leave it is known", async () => {
    const { store, between, clock, sent } = await rig()
    await store.set("k", "1", { version: "v1" })
    for (const write of [
      () => store.set("k", "2"),
      () => store.set("k", "2", { if: { version: "v1" } }),
      () => store.touch("k", clock.now() + 5),
      () => store.delete("k"),
    ]) {
      sent.length = 0
      between(() => Promise.reject(new RedisLinkError(true, "the socket closed")))
      await expect(write()).rejects.toMatchObject({ code: "unknown-outcome" })
      expect(names(sent)).toEqual(["EVALSHA"])
      between(() => Promise.reject(new Error("something that no driver of ours says")))
      await expect(write()).rejects.toMatchObject({ code: "unknown-outcome" })
    }
    between((args, onward) => onward(args))
    expect(await store.get("k")).toMatchObject({ version: "v1" })
  })

  it("an insert that was lost may be sent again: it is ok when it had landed", async () => {
    const { store, between, clock } = await rig()
    between(async (args, onward) => {
      await onward(args)
      throw new RedisLinkError(true, "the reply was cut off")
    })
    const insert = () => store.set("k", "1", { if: "absent", version: "v1", owner: "alice" })
    await expect(insert()).rejects.toMatchObject({ code: "unknown-outcome" })
    between((args, onward) => onward(args))
    clock.advance(100) // the entry in the list of alice, which may be repeated, is
    expect(await insert()).toEqual({ ok: true, version: "v1" })
    expect((await store.list({ owner: "alice" })).entries).toHaveLength(1)
  })
})

/** What an owner's set holds. */
async function members({ command, space }: Rig, owner: string): Promise<Record<string, string>> {
  const flat = (await command(["ZRANGE", `${space}owner:${owner}`, "0", "-1", "WITHSCORES"])) as string[]
  return Object.fromEntries(flat.flatMap((key, at) => (at % 2 === 0 ? [[key, flat[at + 1] as string]] : []))) // they come in pairs
}

async function listed({ store }: Rig, owner: string, limit = 100): Promise<string[]> {
  const keys: string[] = []
  let cursor: string | null = null
  do {
    const page: Awaited<ReturnType<Store["list"]>> = await store.list({
      owner,
      limit,
      ...(cursor !== null && { cursor }),
    })
    keys.push(...page.entries.map((entry: Entry) => entry.key))
    cursor = page.cursor
  } while (cursor !== null)
  return keys
}

/** Whether a command is about an owner's set. */
const aboutOwner = (args: readonly string[]): boolean => args.some((one) => /^store-\d+:owner:/.test(one))

describe("an owner's list", () => {
  it("names a key before its record is written: a crash in between leaves a name, which is no entry", async () => {
    const at = await rig()
    const { store, between, clock } = at
    const expiresAt = clock.now() + 1_000
    for (const options of [{ if: "absent" }, {}] as const) {
      between((args, onward) =>
        aboutOwner(args) ? onward(args) : Promise.reject(new RedisReplyError("OOM command not allowed")),
      )
      await expect(store.set("k", "1", { ...options, owner: "alice", expiresAt })).rejects.toMatchObject({
        code: "full",
      })
      between((args, onward) => onward(args))
      await expect.poll(() => members(at, "alice")).toEqual({ k: String(expiresAt) })
      expect(await listed(at, "alice")).toEqual([])
      await expect.poll(() => members(at, "alice")).toEqual({ k: String(clock.now()) })
    }
  })

  it("an insert is acknowledged when both are written: without the name its outcome is unknown", async () => {
    const at = await rig()
    const { store, between, clock } = at
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    between(async (args, onward) => {
      if (aboutOwner(args)) await held
      return onward(args)
    })
    let acknowledged = false
    const insert = store.set("k", "1", { if: "absent", owner: "alice" }).then(() => (acknowledged = true))
    await expect.poll(() => store.get("k")).not.toBeNull()
    expect(acknowledged).toBe(false)
    release()
    await insert
    expect(await listed(at, "alice")).toEqual(["k"])
    between((args, onward) => (aboutOwner(args) ? Promise.reject(new RedisReplyError("NOPERM no")) : onward(args)))
    await expect(store.set("l", "1", { if: "absent", owner: "alice" })).rejects.toMatchObject({
      code: "unknown-outcome",
      cause: { code: "denied" },
    })
    await expect(store.set("l", "1", { owner: "bob", expiresAt: clock.now() + 9 })).rejects.toMatchObject({
      code: "unknown-outcome",
    })
    // A refused condition has nothing to do with lists.
    expect(await store.set("l", "1", { if: "absent", owner: "carol" })).toMatchObject({ ok: false })
  })

  it("follows a conditional write that moved the owner before it is acknowledged, and one that moved the end after", async () => {
    const at = await rig()
    const { store, between, clock, sent, reports } = at
    const end = clock.now() + 10_000
    const next = end + 5_000
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    await store.set("k", "1", { if: "absent", version: "v1", owner: "alice", expiresAt: end })
    sent.length = 0
    await store.set("k", "2", { if: { version: "v1" }, version: "v2", owner: "bob" })
    expect(names(sent)).toHaveLength(2)
    expect(await members(at, "bob")).toEqual({ k: String(end) })
    expect(await listed(at, "bob")).toEqual(["k"])
    expect(await listed(at, "alice")).toEqual([])
    for (const move of [
      () => store.set("k", "3", { if: { version: "v2" }, version: "v2b", expiresAt: next }),
      () => store.touch("k", next + 1),
    ]) {
      between(async (args, onward) => {
        if (aboutOwner(args)) await held
        return onward(args)
      })
      expect(await move()).toMatchObject({ ok: true }) // does not wait
    }
    release()
    between((args, onward) => onward(args))
    await store.touch("k", next + 2)
    await expect.poll(() => members(at, "bob")).toEqual({ k: String(next + 2) })
    // The same end again moves nothing.
    sent.length = 0
    await store.touch("k", next + 2)
    expect(names(sent)).toHaveLength(1)
    // What fails in the background is told once; the next touch does it.
    between((args, onward) => (aboutOwner(args) ? Promise.reject(new RedisReplyError("NOPERM no")) : onward(args)))
    await store.touch("k", next + 3)
    await store.touch("k", next + 4)
    await expect.poll(() => reports).toMatchObject([{ store: "redis", kind: "background" }])
    between((args, onward) => (aboutOwner(args) ? Promise.reject(new RedisReplyError("NOPERM no")) : onward(args)))
    await expect(store.set("k", "4", { if: { version: "v2b" }, owner: "carol" })).rejects.toMatchObject({
      code: "unknown-outcome",
    })
  })

  it("names who was replaced, kept his owner or got one, whatever was left out", async () => {
    const at = await rig()
    const { store, clock } = at
    const end = clock.now() + 10_000
    await store.set("a", "1", { owner: "alice" })
    await store.set("a", "2", { expiresAt: end })
    expect(await listed(at, "alice")).toEqual(["a"])
    await store.set("b", "1", { expiresAt: end })
    await store.set("b", "2", { owner: "alice" })
    expect((await members(at, "alice"))["b"]).toBe(String(end))
    await store.set("b", "3", { owner: "alice" })
    await store.set("e", "1", { owner: "erin", expiresAt: end })
    await store.set("e", "2", { owner: "erin" })
    expect(await at.command(["PTTL", `${at.space}owner:erin`])).toBeGreaterThan(60_000) // the end that was not known at first is
    expect((await listed(at, "alice")).toSorted()).toEqual(["a", "b"])
    await store.set("c", "1", { owner: "alice" })
    expect(await members(at, "alice")).toMatchObject({ c: "inf" })
    await store.set("c", "1", { owner: null })
    expect((await listed(at, "alice")).toSorted()).toEqual(["a", "b"])
    await store.set("d", "1", { owner: "dora", expiresAt: clock.now() })
    expect(await members(at, "dora")).toEqual({})
  })

  it("a past score is only a suspicion: who lives is listed and gets his end, who is missing a minute later goes", async () => {
    const at = await rig()
    const { store, clock, command, space } = at
    const set = `${space}owner:alice`
    await store.set("lives", "1", { owner: "alice", expiresAt: clock.now() + 600_000 })
    await store.set("bobs", "1", { owner: "bob" })
    const past = clock.now() - 1
    await command(["ZADD", set, String(past), "lives", String(past), "gone", String(past), "bobs"])
    expect(await listed(at, "alice")).toEqual(["lives"])
    await expect
      .poll(() => members(at, "alice"))
      .toEqual({ lives: String(clock.now() + 600_000), gone: String(past), bobs: String(past) })
    clock.advance(59_998)
    expect(await listed(at, "alice")).toEqual(["lives"])
    await command(["PING"])
    expect(Object.keys(await members(at, "alice"))).toHaveLength(3)
    clock.advance(2)
    expect(await listed(at, "alice")).toEqual(["lives"])
    await expect.poll(async () => Object.keys(await members(at, "alice"))).toEqual(["lives"])
  })

  it("a listing that runs while a record is being inserted does not take its name away", async () => {
    const at = await rig()
    const { store, between, clock } = at
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    between(async (args, onward) => {
      if (args.some((one) => one.endsWith("entry:k")) && args[0]?.startsWith("EVAL")) await held
      return onward(args)
    })
    const insert = store.set("k", "1", { if: "absent", owner: "alice", expiresAt: clock.now() + 1_000 })
    await expect.poll(() => members(at, "alice")).not.toEqual({})
    for (let round = 0; round < 3; round++) expect(await listed(at, "alice")).toEqual([])
    await expect.poll(() => members(at, "alice")).toEqual({ k: String(clock.now()) })
    release()
    await insert
    expect(await listed(at, "alice")).toEqual(["k"])
    await expect.poll(() => members(at, "alice")).toEqual({ k: String(clock.now() + 1_000) })
  })

  it("a doubt about what was put there anew meanwhile changes nothing", async () => {
    const at = await rig()
    const { store, between, clock } = at
    const [soon, later] = [clock.now() + 1_000, clock.now() + 9_000]
    await store.set("k", "1", { if: "absent", owner: "alice", expiresAt: soon })
    await at.command(["DEL", `${at.space}entry:k`])
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    let settled: Promise<unknown> = Promise.resolve()
    between((args, onward) => {
      // The doubt is the one script over an owner's set whose arguments end with what was seen.
      if (!(aboutOwner(args) && args.at(-1) === String(soon))) return onward(args)
      settled = held.then(() => onward(args))
      return settled
    })
    expect(await listed(at, "alice")).toEqual([])
    await store.set("k", "2", { if: "absent", owner: "alice", expiresAt: later })
    release()
    await settled
    expect(await members(at, "alice")).toEqual({ k: String(later) })
  })

  it("pages that nobody disturbs give each entry once", async () => {
    const at = await rig()
    const keys = Array.from({ length: 23 }, (_, n) => `k${n}`)
    for (const [n, key] of keys.entries()) {
      await at.store.set(key, "1", {
        owner: "alice",
        ...(n % 3 > 0 && { expiresAt: at.clock.now() + 1_000 + (n % 5) }),
      })
    }
    for (const limit of [1, 2, 7, 23, 24]) {
      expect((await listed(at, "alice", limit)).toSorted()).toEqual(keys.toSorted())
    }
  })

  it("a deleted key is doubted at once, and its name goes with the next additions", async () => {
    const at = await rig()
    const { store, clock } = at
    for (const key of ["a", "b", "c"]) await store.set(key, "1", { owner: "alice" })
    for (const key of ["a", "b", "c"]) await store.delete(key)
    const now = String(clock.now())
    await expect.poll(() => members(at, "alice")).toEqual({ a: now, b: now, c: now })
    clock.advance(60_000)
    await store.set("x", "1", { owner: "alice" })
    await expect.poll(async () => Object.keys(await members(at, "alice"))).toEqual(["c", "x"])
    await store.set("y", "1", { owner: "alice" })
    await expect.poll(async () => Object.keys(await members(at, "alice"))).toEqual(["x", "y"])
  })

  it("the set never expires before the longest-lived record of its owner, even one touch behind", async () => {
    const at = await rig()
    const { store, clock, command, space, between } = at
    const left = async (): Promise<number> => Number(await command(["PTTL", `${space}owner:alice`]))
    await store.set("short", "1", { if: "absent", owner: "alice", expiresAt: clock.now() + 1_000 })
    expect(await left()).toBeGreaterThan(60_000)
    await store.set("long", "1", { if: "absent", owner: "alice", expiresAt: clock.now() + 1_800_000 })
    const wanted = await left()
    expect(wanted).toBeGreaterThan(3_600_000)
    await store.set("short2", "1", { if: "absent", owner: "alice", expiresAt: clock.now() + 1_000 })
    expect(await left()).toBeGreaterThan(3_600_000)
    // Touched at the last moment, and the list was not reached: it lasts as long as the record all the same.
    between((args, onward) => (aboutOwner(args) ? Promise.reject(new RedisReplyError("NOPERM no")) : onward(args)))
    clock.advance(1_799_999)
    await store.touch("long", clock.now() + 1_800_000)
    expect(await left()).toBeGreaterThan(1_800_000 + 1_799_999)
    between((args, onward) => onward(args))
    await store.set("short9", "1", { if: "absent", owner: "alice", expiresAt: clock.now() + 1_000 })
    expect(await left()).toBeGreaterThan(1_800_000)
    await store.set("ever", "1", { if: "absent", owner: "alice" })
    expect(await left()).toBe(-1)
    await store.set("short3", "1", { if: "absent", owner: "alice", expiresAt: clock.now() + 1_000 })
    expect(await left()).toBe(-1)
    // When the one without an end has gone, the set has an end again.
    await store.delete("ever")
    await expect.poll(async () => (await members(at, "alice"))["ever"]).not.toBe("inf")
    await store.set("short4", "1", { if: "absent", owner: "alice", expiresAt: clock.now() + 1_000 })
    expect(await left()).toBeGreaterThan(60_000)
    // While an end is not known yet, the set stays.
    await store.set("bobs", "1", { expiresAt: clock.now() + 900_000 })
    between((args, onward) =>
      args[0] === "EVALSHA" && args[3]?.endsWith("entry:bobs")
        ? Promise.reject(new RedisReplyError("OOM no"))
        : onward(args),
    )
    await expect(store.set("bobs", "2", { owner: "bob" })).rejects.toMatchObject({ code: "full" })
    await expect.poll(() => command(["PTTL", `${space}owner:bob`])).toBe(-1)
  })

  it("pages by end and key miss nobody who lives, while ends move and others come and go", async () => {
    const at = await rig()
    const { store, clock } = at
    const same = clock.now() + 500_000
    const stays = Array.from({ length: 40 }, (_, n) => `s${n}`)
    await Promise.all(
      stays.map((key, n) => store.set(key, "1", { owner: "alice", expiresAt: n % 2 === 0 ? same : same + n })),
    )
    await Promise.all(
      Array.from({ length: 20 }, (_, n) => store.set(`g${n}`, "1", { owner: "alice", expiresAt: same })),
    )
    const seen = new Set<string>()
    let cursor: string | null = null
    let page = 0
    do {
      const query = { owner: "alice", limit: 3, ...(cursor !== null && { cursor }) }
      const { entries, cursor: next }: Awaited<ReturnType<Store["list"]>> = await store.list(query)
      for (const { key } of entries) seen.add(key)
      // The last of the page moves or goes, and ends go up and down everywhere.
      const last = entries.at(-1)
      if (last !== undefined)
        await (last.key.startsWith("g") ? store.delete(last.key) : store.touch(last.key, same + 1_000 + page))
      if (page < 19) await store.delete(`g${page}`)
      await store.touch(`s${(page * 7) % 40}`, page % 2 === 0 ? same - 1_000 : same + 50_000 + page)
      await store.set(`new${page}`, "1", { owner: "alice", expiresAt: same - 2_000 })
      cursor = next
      page += 1
    } while (cursor !== null && page < 500)
    expect(stays.filter((key) => !seen.has(key))).toEqual([])
    expect(page).toBeLessThan(500)
  })
})
