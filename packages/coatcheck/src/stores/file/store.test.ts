import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setImmediate as turn } from "node:timers/promises"
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import type { Store, StoreReport } from "../../core/store.ts"
import { type FakeClock, fakeClock } from "../../testing/fake-clock.ts"
import { fileStore } from "../file.ts"
import { nameOf, packRecord } from "./record.ts"

/** What the disk does next: each call that is about to be made is asked about, and what comes back is its error. */
const disk = vi.hoisted(() => ({
  calls: [] as string[],
  fail: (_call: string, _path: string): string | null => null,
  /** While it is set, syncs wait in it. */
  held: null as (() => void)[] | null,
}))

vi.mock("node:fs", async (original) => {
  const real = await original<typeof import("node:fs")>()
  const asked = (kind: string, path: unknown): Error | null => {
    // A file or a folder of the store's is told by its place: "open work", "open records", "open record".
    const part = /\/(records|owners|locks|work)(?:\/|$)/.exec(String(path))?.[1] ?? ""
    const call = kind === "open" ? `open ${/[0-9a-f]{64}$/.test(String(path)) ? "record" : part}` : kind
    disk.calls.push(call)
    const code = disk.fail(call, String(path))
    return code === null ? null : Object.assign(new Error(`${code}: ${call}`), { code })
  }
  const failing = <Call extends (...args: never[]) => unknown>(name: string, call: Call): Call =>
    ((...args: never[]) => {
      const error = asked(name, name === "link" ? args[1] : args[0])
      if (error) throw error
      return call(...args)
    }) as Call
  return {
    ...real,
    openSync: failing("open", real.openSync),
    linkSync: failing("link", real.linkSync),
    readdirSync: failing("list", real.readdirSync as never),
    writeSync: failing("write", real.writeSync),
    renameSync: failing("rename", real.renameSync),
    unlinkSync: failing("unlink", real.unlinkSync),
    fsync: (fd: number, done: (error: Error | null) => void) => {
      const error = asked(real.fstatSync(fd).isDirectory() ? "sync folder" : "sync file", "")
      const go = (): void => (error ? done(error) : real.fsync(fd, done))
      if (disk.held) disk.held.push(go)
      else go()
    },
  }
})

const root = fs.mkdtempSync(join(fs.existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "coatcheck-file-store-"))
let path = ""
let made = 0
let clock: FakeClock
let reports: StoreReport[] = []
const stores: Store[] = []

beforeEach(() => {
  path = join(root, String(++made))
  clock = fakeClock()
  reports = []
})
/** Lets the syncs go that were held. */
function letGo(): void {
  const held = disk.held ?? []
  disk.held = null
  for (const go of held) go()
}

afterEach(async () => {
  disk.fail = () => null
  letGo()
  for (const store of stores.splice(0)) await store.close()
})
afterAll(() => fs.rmSync(root, { recursive: true, force: true }))

async function open(options: Parameters<typeof fileStore>[1] = {}): Promise<Store> {
  const store = await fileStore(path, { clock, report: (report) => reports.push(report), ...options })
  stores.push(store)
  return store
}

const recordOf = (key: string): string => join(path, "records", nameOf(key).slice(0, 2), nameOf(key))
const filesIn = (part: string): string[] =>
  fs.readdirSync(join(path, part), { recursive: true, encoding: "utf8" }).filter((name) => name.includes("/"))

/** Lets the n-th call of a kind from now on fail, once. */
function failNext(kind: string, code: string, nth = 1): void {
  let left = nth
  disk.fail = (call) => (call === kind && --left === 0 ? code : null)
}

describe("a write", () => {
  it("REL-02: is acknowledged after file and folder are synced, in that order, and takes one file", async () => {
    const store = await open()
    await store.set("k", "1")
    disk.calls.length = 0
    await store.set("k", "2").then(() => disk.calls.push("acknowledged"))
    const told = (): string[] => disk.calls.filter((call) => !/^(open|list)/.test(call))
    expect(told()).toEqual(["link", "write", "sync file", "rename", "sync folder", "unlink", "acknowledged"])
    disk.calls.length = 0
    await store.delete("k").then(() => disk.calls.push("acknowledged"))
    expect(told()).toEqual(["link", "unlink", "sync folder", "unlink", "acknowledged"])
  })

  it("of a record that others write too is taken with theirs: one lock, one file, in order", async () => {
    const store = await open()
    await store.set("k", "0", { version: "v0" })
    disk.calls.length = 0
    const first = store.set("k", "1", { if: { version: "v0" }, version: "v1" })
    const outcomes = await Promise.all([
      first,
      store.set("k", "2", { if: { version: "v1" }, version: "v2" }),
      store.set("k", "3", { if: { version: "v1" }, version: "v3" }),
      store.touch("k", clock.now() + 5, { version: "v2" }),
      store.delete("k", { version: "v1" }),
      store.set("k", "4", { if: { version: "v2" }, version: "v4" }),
    ])
    const v2 = { key: "k", value: "2", version: "v2", expiresAt: null, owner: null }
    expect(outcomes).toEqual([
      { ok: true, version: "v1" },
      { ok: true, version: "v2" },
      { ok: false, current: v2 },
      { ok: true, version: "v2" },
      { ok: false, current: { ...v2, expiresAt: clock.now() + 5 } },
      { ok: true, version: "v4" },
    ])
    expect(disk.calls.filter((call) => call === "rename").length).toBeLessThanOrEqual(2)
    expect(await store.get("k")).toEqual({ ...v2, value: "4", version: "v4", expiresAt: clock.now() + 5 })
  })

  it("that changes nothing writes nothing", async () => {
    const store = await open()
    const end = clock.now() + 1_000
    await store.set("k", "1", { version: "v1", expiresAt: end })
    disk.calls.length = 0
    await store.set("k", "2", { if: "absent" })
    await store.touch("k", end)
    await store.delete("gone")
    expect(disk.calls.filter((call) => call === "write" || call.startsWith("sync"))).toEqual([])
  })

  it("REL-03: waits for another process's lock until its deadline, is told that nothing happened, and nothing does", async () => {
    const store = await open({ deadline: "1s" })
    const other = await open()
    await store.set("k", "1")
    await other.set("k", "1")
    disk.held = []
    const slow = other.set("k", "2").catch((error: unknown) => error)
    while (fs.readdirSync(join(path, "locks")).length === 0) await turn()
    const late = store.set("k", "3")
    const lateToo = store.delete("k")
    const seen = Promise.allSettled([late, lateToo])
    for (let step = 0; step < 12; step++) {
      clock.advance(100)
      await turn()
    }
    for (const outcome of await seen) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "unavailable", retryable: true } })
    }
    letGo()
    expect(await slow).toMatchObject({ code: "unknown-outcome" }) // its own deadline passed too
    await vi.waitFor(() => expect(fs.readdirSync(join(path, "locks"))).toEqual([]))
    expect(await store.get("k")).toMatchObject({ value: "2" })
  })

  it("REL-04: whose disk does not answer is unknown at its deadline, and goes on", async () => {
    const store = await open({ deadline: "1s" })
    await store.set("k", "1")
    disk.held = []
    const slow = store.set("k", "2").catch((error: unknown) => error)
    while (disk.held.length === 0) await turn()
    for (let step = 0; step < 12; step++) {
      clock.advance(100)
      await turn()
    }
    expect(await slow).toMatchObject({ code: "unknown-outcome" })
    letGo()
    await vi.waitFor(async () => expect(await store.get("k")).toMatchObject({ value: "2" }))
  })
})

describe("when the disk fails", () => {
  const definite: [string, string, string][] = [
    ["open work", "EMFILE", "unavailable"],
    ["open record", "EMFILE", "unavailable"],
    ["open records", "EMFILE", "unavailable"],
    ["link", "EIO", "unavailable"],
    ["link", "ENOSPC", "full"],
    ["link", "EMLINK", "unavailable"],
    ["write", "ENOSPC", "full"],
    ["write", "EDQUOT", "full"],
    ["write", "EIO", "unavailable"],
    ["sync file", "EIO", "unavailable"],
    ["sync file", "ENOSPC", "full"],
    ["rename", "ENOSPC", "full"],
    ["rename", "EACCES", "denied"],
    ["link", "EROFS", "unavailable"],
  ]
  it.each(definite)("F-EIO-1: %s fails with %s: nothing has happened", async (kind, errno, code) => {
    const store = await open()
    await store.set("k", "1", { owner: "alice" })
    disk.fail = (call) => (call === kind ? errno : null)
    await expect(store.set("k", "2", { owner: "alice" })).rejects.toMatchObject({ code, cause: { code: errno } })
    disk.fail = () => null
    expect(await store.get("k")).toMatchObject({ value: "1" })
    expect(fs.readdirSync(join(path, "work")).filter((name) => /\..{16}$/.test(name))).toEqual([])
    expect(await store.set("k", "3")).toMatchObject({ ok: true })
    expect(fs.readdirSync(join(path, "locks"))).toEqual([])
  })

  it("F-EIO-1: a file whose sync failed is thrown away and written anew, never synced again", async () => {
    const store = await open()
    await store.set("k", "1")
    failNext("sync file", "EIO")
    await expect(store.set("k", "2")).rejects.toMatchObject({ code: "unavailable" })
    disk.calls.length = 0
    await store.set("k", "2")
    expect(disk.calls.indexOf("write")).toBeGreaterThan(-1)
    expect(disk.calls.indexOf("write")).toBeLessThan(disk.calls.indexOf("sync file"))
  })

  it.each(["sync folder", "rename"])(
    "F-EIO-1: after an I/O error of %s the outcome is unknown, and nobody is told that it stands before it was written anew",
    async (kind) => {
      const store = await open()
      await store.set("k", "1", { version: "v1" })
      failNext(kind, "EIO")
      const call = { if: { version: "v1" }, version: "v2" } as const
      await expect(store.set("k", "2", call)).rejects.toMatchObject({ code: "unknown-outcome" })
      // The read itself may not say so while the disk goes on failing.
      disk.fail = (one) => (one === "sync file" ? "EIO" : null)
      await expect(store.get("k")).rejects.toMatchObject({ code: "unavailable" })
      await expect(store.set("k", "2", call)).rejects.toMatchObject({ code: "unavailable" })
      disk.fail = () => null
      disk.calls.length = 0
      const entry = await store.get("k")
      expect(["v1", "v2"]).toContain(entry?.version)
      expect(disk.calls.filter((one) => one.startsWith("sync"))).toEqual(["sync file", "sync folder"])
      expect(await store.set("k", "2", call)).toEqual({ ok: true, version: "v2" })
      disk.calls.length = 0
      expect(await store.get("k")).toMatchObject({ value: "2", version: "v2" })
      expect(disk.calls.filter((one) => one.startsWith("sync"))).toEqual([])
    },
  )

  it("F-EIO-1: a delete whose folder could not be synced is made sure of by an entry that has expired", async () => {
    const store = await open()
    await store.set("k", "1", { owner: "alice" })
    failNext("sync folder", "EIO")
    await expect(store.delete("k")).rejects.toMatchObject({ code: "unknown-outcome" })
    expect(await store.get("k")).toBeNull()
    expect(fs.readFileSync(recordOf("k"), "utf8")).toContain('"expiresAt":0')
    expect(await store.set("k", "2", { if: "absent" })).toMatchObject({ ok: true })
    expect(await store.get("k")).toMatchObject({ value: "2", owner: null })
  })

  it("F-EIO-1: a delete that fails with an I/O error is unknown, any other one has not happened", async () => {
    const store = await open()
    for (const [errno, code] of [
      ["EIO", "unknown-outcome"],
      ["EACCES", "denied"],
    ] as const) {
      await store.set("k", "1")
      disk.fail = (call, file) => (call === "unlink" && file === recordOf("k") ? errno : null)
      await expect(store.delete("k")).rejects.toMatchObject({ code })
      disk.fail = () => null
      expect(await store.get("k")).toMatchObject({ value: "1" })
      expect(await store.delete("k")).toMatchObject({ ok: true, removed: { value: "1" } })
    }
  })

  it("F-EIO-1: a mark of an owner, and a folder, whose sync failed are made anew", async () => {
    const store = await open()
    for (const nth of [1, 2]) {
      const key = `k${nth}`
      failNext("sync folder", "EIO", nth) // of a folder for marks, and of a mark in it
      await expect(store.set(key, "1", { owner: `o${nth}` })).rejects.toMatchObject({ code: "unavailable" })
      expect(filesIn("owners").filter((name) => name.includes(nameOf(key)))).toEqual([])
      const folder = join(path, "owners", nameOf(`o${nth}`).slice(0, 2))
      expect(fs.existsSync(folder), "a folder that was not synced is taken away again").toBe(nth === 2)
      disk.fail = () => null
      expect(await store.set(key, "1", { owner: `o${nth}` })).toMatchObject({ ok: true })
      expect((await store.list({ owner: `o${nth}` })).entries).toHaveLength(1)
    }
  })

  it("a write on a full disk does not take those along that need no room", async () => {
    const store = await open()
    await store.set("k", "1", { version: "v1" })
    disk.fail = (call) => (call === "write" ? "ENOSPC" : null)
    const [set, deleted] = await Promise.allSettled([
      store.set("k", "2", { if: { version: "v1" } }),
      store.delete("k", { version: "v1" }),
    ])
    expect(set).toMatchObject({ status: "rejected", reason: { code: "full" } })
    expect(deleted).toMatchObject({ status: "fulfilled", value: { ok: true, removed: { value: "1" } } })
  })

  it("a lock that could not be given back is taken again by its own store, and by others once a sweep has cleared it", async () => {
    const store = await open()
    await store.set("k", "1")
    disk.fail = (call) => (call === "unlink" ? "EIO" : null)
    await store.set("k", "2")
    expect(fs.readdirSync(join(path, "locks"))).toContain(nameOf("k"))
    disk.fail = () => null
    await vi.waitFor(async () => {
      clock.advance(1_000)
      await store.set("other", "1") // starts a sweep
      expect(fs.readdirSync(join(path, "locks"))).toEqual([])
    })
    expect(await (await open()).set("k", "3")).toMatchObject({ ok: true })
  })

  it("a folder that is gone is no empty store", async () => {
    const store = await open()
    await store.set("k", "1")
    fs.rmSync(path, { recursive: true })
    await expect(store.get("k")).rejects.toMatchObject({ code: "unavailable" })
    await expect(store.set("k", "1")).rejects.toMatchObject({ code: "unavailable" })
    await expect(store.delete("k")).rejects.toMatchObject({ code: "unavailable" })
    for (const query of [{}, { owner: "alice" }]) {
      await expect(store.list(query)).rejects.toMatchObject({ code: "unavailable" })
      await expect(store.count?.(query)).rejects.toMatchObject({ code: "unavailable" })
    }
  })
})

describe("a folder inside that somebody has removed", () => {
  it("fails the write that meets it, and is made again by the next one", async () => {
    const store = await open()
    await store.set("k", "1", { owner: "alice" })
    for (const part of ["records", "owners"]) {
      for (const shard of fs.readdirSync(join(path, part))) fs.rmSync(join(path, part, shard), { recursive: true })
      await expect(store.set("k", "2", { owner: "alice" })).rejects.toMatchObject({ code: "unavailable" })
      expect(await store.set("k", "3", { owner: "alice" })).toMatchObject({ ok: true })
      await store.delete("k")
    }
    await store.set("k", "4", { owner: "alice" })
    expect((await store.list({ owner: "alice" })).entries).toMatchObject([{ value: "4" }])
  })
})

describe("a damaged record", () => {
  it("F-POW-2: is absent, is told of by its file's name once an hour, and can be replaced and deleted", async () => {
    const store = await open()
    for (const key of ["cut", "empty", "flipped", "moved"]) await store.set(key, `"of ${key}"`, { owner: "alice" })
    const bytes = fs.readFileSync(recordOf("flipped"))
    bytes.writeUInt8(bytes.readUInt8(60) ^ 4, 60)
    fs.writeFileSync(recordOf("flipped"), bytes)
    fs.truncateSync(recordOf("cut"), 50)
    fs.truncateSync(recordOf("empty"), 0)
    fs.copyFileSync(recordOf("moved"), recordOf("moved"))
    fs.writeFileSync(
      recordOf("moved"),
      packRecord({ key: "k", value: "1", version: "v", expiresAt: null, owner: null }),
    )
    for (const key of ["cut", "empty", "flipped", "moved"]) {
      expect(await store.get(key)).toBeNull()
      expect(await store.get(key)).toBeNull()
      expect(await store.touch(key, null)).toEqual({ ok: false, current: null })
      expect(reports.at(-1)).toMatchObject({ store: "file", kind: "damaged" })
      expect(reports.at(-1)?.message).toContain(`records/${nameOf(key).slice(0, 2)}/${nameOf(key)}`)
    }
    expect(reports).toHaveLength(4)
    expect((await store.list()).entries).toEqual([])
    expect((await store.list({ owner: "alice" })).entries).toEqual([])
    clock.advance(3_600_000)
    await store.get("cut")
    expect(reports).toHaveLength(5)
    expect(await store.delete("cut")).toEqual({ ok: true, removed: null })
    expect(fs.existsSync(recordOf("cut"))).toBe(false)
    expect(await store.set("flipped", "2", { if: "absent" })).toMatchObject({ ok: true })
    expect(await store.get("flipped")).toMatchObject({ value: "2", owner: null })
  })

  it("F-POW-2: a file of the length of a disk is not read into memory", async () => {
    const store = await open()
    await store.set("k", "1")
    fs.truncateSync(recordOf("k"), 8 * 1_073_741_824)
    const before = process.memoryUsage().rss
    expect(await store.get("k")).toBeNull()
    expect(process.memoryUsage().rss - before).toBeLessThan(268_435_456)
    fs.truncateSync(recordOf("k"), 0)
  })
})

describe("a sweep", () => {
  /** Writes now and then, a second of the clock apart, until it is as it should be. */
  async function until(store: Store, seen: () => boolean): Promise<void> {
    while (!seen()) {
      clock.advance(1_000)
      await store.touch("alive", null)
      await turn()
    }
  }

  it("M6 X3: removes what has expired with its owner's mark, in small batches, and nothing else", async () => {
    const store = await open()
    await store.set("alive", "1", { owner: "alice" })
    const keys = Array.from({ length: 150 }, (_, at) => `k${at}`)
    await Promise.all(keys.map((key) => store.set(key, "1", { owner: "alice", expiresAt: clock.now() + 500 })))
    expect(filesIn("records").filter((name) => name.length > 64)).toHaveLength(151)
    await until(store, () => filesIn("records").filter((name) => name.length > 64).length === 1)
    await until(store, () => filesIn("owners").filter((name) => name.length > 64).length === 1)
    expect(await store.get("alive")).toMatchObject({ owner: "alice" })
    expect((await store.list({ owner: "alice" })).entries).toHaveLength(1)
    expect(reports).toEqual([])
  }, 60_000)

  it("removes marks that lead to no record, or to somebody else's", async () => {
    const store = await open()
    await store.set("alive", "1", { owner: "alice" })
    const [mark = ""] = filesIn("owners").filter((name) => name.length > 64)
    const none = mark.slice(0, -64) + nameOf("none")
    fs.writeFileSync(join(path, "owners", none), "")
    const own = nameOf("bob")
    fs.mkdirSync(join(path, "owners", own.slice(0, 2)), { recursive: true })
    fs.writeFileSync(join(path, "owners", own.slice(0, 2), `${own}.${nameOf("alive")}`), "")
    expect((await store.list({ owner: "bob" })).entries).toEqual([])
    await until(store, () => filesIn("owners").filter((name) => name.length > 64).length === 1)
    expect(filesIn("owners").filter((name) => name.length > 64)).toEqual([mark])
  }, 60_000)

  it("leaves alone what was written anew between its look and its lock", async () => {
    const store = await open()
    await store.set("alive", "1")
    await store.set("k", "1", { owner: "alice", expiresAt: clock.now() + 500 })
    const [mark = ""] = filesIn("owners").filter((name) => name.length > 64)
    const anew = packRecord({ key: "k", value: "2", version: "v2", expiresAt: null, owner: "alice" })
    let met = 0
    const meet = (): void => {
      disk.fail = (call, lock) => {
        if (call !== "link" || !lock.endsWith(nameOf("k"))) return null
        met += 1
        fs.writeFileSync(recordOf("k"), anew)
        return null
      }
    }
    meet()
    await until(store, () => met === 1)
    for (let turns = 0; turns < 20; turns++) await turn()
    expect(await store.get("k")).toMatchObject({ value: "2" })
    fs.rmSync(recordOf("k")) // now its mark leads nowhere, until the sweep is about to remove it
    await until(store, () => met === 2)
    for (let turns = 0; turns < 20; turns++) await turn()
    expect(await store.get("k")).toMatchObject({ value: "2" })
    expect(filesIn("owners")).toContain(mark)
  }, 60_000)

  it("that fails is told of, and tried again", async () => {
    const store = await open()
    await store.set("alive", "1")
    disk.fail = (call) => (call === "list" ? "EIO" : null)
    await vi.waitFor(async () => {
      clock.advance(1_000)
      await store.delete("absent")
      expect(reports[0]).toMatchObject({ store: "file", kind: "background", cause: { code: "EIO" } })
    })
    disk.fail = () => null
    expect(await store.set("alive", "3")).toMatchObject({ ok: true })
  })
})

describe("pages and counts", () => {
  it("go on behind many records that were not asked for", async () => {
    const store = await open()
    const folder = join(path, "records", "00")
    fs.mkdirSync(folder)
    // Empty files under names of records: damaged ones, which is the fastest way to many.
    for (let at = 0; at < 2_500; at++) fs.closeSync(fs.openSync(join(folder, `00${String(at).padStart(62, "0")}`), "w"))
    await store.set("k", "1")
    let cursor: string | null = null
    const found: string[] = []
    let pages = 0
    do {
      const page = await store.list({ prefix: "k", ...(cursor !== null && { cursor }) })
      found.push(...page.entries.map(({ key }) => key))
      cursor = page.cursor
      pages += 1
    } while (cursor !== null)
    expect(found).toEqual(["k"])
    expect(pages).toBe(2)
    await expect(store.list({ cursor: "bm90IGEgbmFtZQ" })).rejects.toMatchObject({ code: "invalid" })
  })

  it("count names: exactly, then by a guess that is near; of owners too, of prefixes not", async () => {
    const store = await open()
    for (let at = 0; at < 20; at++) await store.set(`k${at}`, "1", { owner: at % 2 === 0 ? "alice" : "bob" })
    expect([await store.count?.(), await store.count?.({ owner: "alice" })]).toEqual([20, 10])
    expect(await store.count?.({ prefix: "k" })).toBeNull()
    for (let shard = 0; shard < 256; shard++) {
      const name = shard.toString(16).padStart(2, "0")
      fs.mkdirSync(join(path, "records", name), { recursive: true })
      for (let at = 0; at < 60; at++) {
        fs.closeSync(fs.openSync(join(path, "records", name, name + String(at).padStart(62, "0")), "w"))
      }
    }
    const count = (await store.count?.()) ?? 0
    expect(Math.abs(count - 15_380)).toBeLessThan(60)
  })
})
