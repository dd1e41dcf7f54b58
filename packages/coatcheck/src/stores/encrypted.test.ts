import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { browser } from "../../../../test/support/sessions.ts"
import type { SessionEvent } from "../core/events.ts"
import { createSessions } from "../core/sessions.ts"
import type { Entry, Store, StoreReport } from "../core/store.ts"
import { type FakeClock, fakeClock } from "../testing/fake-clock.ts"
import type { StoreSetup } from "../testing/store-case.ts"
import { storeCases } from "../testing/store-suite.ts"
import { sealedBytes } from "./encrypted/envelope.ts"
import { encryptedStore, type EncryptedStoreOptions } from "./encrypted.ts"
import { memoryStore } from "./memory.ts"
import { sqliteStore } from "./sqlite.ts"

const folder = fs.mkdtempSync(join(fs.existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "coatcheck-encrypted-"))
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

const [first, second, third] = [
  "fS8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5",
  "Qw7eR5tY3uI1oP9aS8dF6gH4jK2lZ0xC-vB_nM5qW3",
  "Zx1cV3bN5mA7sD9fG2hJ4kL6qW8eR0tY_uI-oP5aS3",
] as const
const roomy = { maxValueBytes: sealedBytes(1_048_576) }

describe("an encrypted memory store keeps the contract", () => {
  const open = (setup: StoreSetup): Store =>
    encryptedStore(memoryStore({ ...setup, ...roomy }), { secret: first, ...setup })
  for (const { name, run } of storeCases({ open })) it(name, run)
})

describe("an encrypted SQLite store keeps the contract", () => {
  let path = ""
  let files = 0
  const handle = async (setup: StoreSetup): Promise<Store> =>
    encryptedStore(await sqliteStore(path, { ...setup, ...roomy }), { secret: first, ...setup })
  const cases = storeCases({
    open: (setup) => {
      path = join(folder, `${++files}.db`)
      return handle(setup)
    },
    openSecond: handle,
  })
  for (const { name, run } of cases) it(name, run)
})

interface Rig {
  readonly inner: Store
  readonly store: Store
  readonly clock: FakeClock
  readonly reports: StoreReport[]
  /** Another way into the same store. */
  with(options: Partial<EncryptedStoreOptions>): Store
}

function rig(options: Partial<EncryptedStoreOptions> = {}): Rig {
  const clock = fakeClock()
  const reports: StoreReport[] = []
  const inner = memoryStore({ clock })
  const report = (one: StoreReport): number => reports.push(one)
  const another = (more: Partial<EncryptedStoreOptions>): Store =>
    encryptedStore(inner, { secret: first, clock, report, ...options, ...more })
  return { inner, store: another({}), clock, reports, with: another }
}

async function entryOf(store: Store, key: string): Promise<Entry> {
  const entry = await store.get(key)
  if (entry === null) throw new Error("it should be there")
  return entry
}

describe("what is kept", () => {
  it("is JSON that names its key and shows key, owner, end and version, but nothing of the value", async () => {
    const { inner, store, clock } = rig()
    const end = clock.now() + 1_000
    await store.set("k", '{"card":"4111"}', { owner: "alice", expiresAt: end, version: "v1" })
    const kept = await entryOf(inner, "k")
    expect(kept).toMatchObject({ key: "k", owner: "alice", expiresAt: end, version: "v1" })
    expect(JSON.parse(kept.value)).toEqual({
      sealed: 1,
      key: expect.stringMatching(/^[\w-]{8}$/),
      text: expect.stringMatching(/^[\w-]+$/),
    })
    expect(kept.value).toHaveLength(sealedBytes('{"card":"4111"}'.length))
    expect(await store.get("k")).toEqual({ ...kept, value: '{"card":"4111"}' })
    await store.set("other", '{"card":"4111"}')
    await store.set("k", '{"card":"4111"}')
    const texts = [kept, await entryOf(inner, "other"), await entryOf(inner, "k")].map(({ value }) => value)
    expect(new Set(texts).size).toBe(3)
  })

  it("CRY-02: no marker of 500 values is in any byte of the SQLite files, as text or coded", async () => {
    const path = join(folder, "marked.db")
    const store = encryptedStore(await sqliteStore(path), { secret: first })
    const marker = "plaintext-marker-7f3a9"
    for (let at = 0; at < 500; at++) {
      await store.set(`k${at}`, JSON.stringify({ at, note: marker.repeat(1 + (at % 3)) }), { owner: `owner-${at}` })
    }
    const found = (needle: string): boolean =>
      fs
        .readdirSync(folder)
        .filter((name) => name.startsWith("marked.db"))
        .some((name) => fs.readFileSync(join(folder, name)).includes(needle))
    const codings = ["utf8", "base64", "base64url", "hex", "utf16le"] as const
    for (const moment of ["open", "closed"]) {
      if (moment === "closed") await store.close()
      expect(found("owner-499"), moment).toBe(true) // the search finds what is there
      for (const coding of codings)
        expect(found(Buffer.from(marker).toString(coding)), `${moment} ${coding}`).toBe(false)
      for (const start of [1, 2]) {
        const shifted = Buffer.from(`${"x".repeat(start)}${marker}`)
          .toString("base64url")
          .slice(4, -4)
        expect(found(shifted), moment).toBe(false)
      }
    }
  })

  it("CRY-04: of 20,000 seals of one value under one key no nonce repeats", async () => {
    const { inner, store } = rig()
    const nonces = new Set<string>()
    for (let at = 0; at < 20_000; at++) {
      await store.set("k", "1")
      nonces.add((JSON.parse((await entryOf(inner, "k")).value) as { text: string }).text.slice(0, 32))
    }
    expect(nonces.size).toBe(20_000)
  }, 60_000)
})

describe("what does not open", () => {
  it("CRY-03: each of all 1-bit flips of a value is absent, never other data and never an error", async () => {
    const { inner, store, reports } = rig()
    await store.set("k", '{"count":1}', { version: "v" })
    const { value } = await entryOf(inner, "k")
    const bytes = Buffer.from(value)
    let flips = 0
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7)) // within bounds
      const text = flipped.toString()
      if (!Buffer.from(text).equals(flipped)) continue // no engine hands out what is no UTF-8
      flips++
      await inner.set("k", text, { version: "v" })
      expect(await store.get("k"), `bit ${bit}`).toBeNull()
    }
    expect(flips).toBeGreaterThan(bytes.length * 6)
    await inner.set("k", value, { version: "v" })
    expect(await store.get("k")).toMatchObject({ value: '{"count":1}' })
    expect(reports).toMatchObject([{ store: "encrypted-memory", kind: "damaged" }]) // one key, told of once an hour
  })

  it("CRY-03: so is what was swapped, moved, cut, sealed for another purpose, or never sealed", async () => {
    const { inner, store, with: another } = rig()
    await store.set("a", '"of a"')
    await store.set("b", '"of b"')
    await another({ purpose: "another application" }).set("c", '"of c"')
    const [a, b, c] = await Promise.all(["a", "b", "c"].map(async (key) => (await entryOf(inner, key)).value))
    for (const [key, text] of [
      ["a", b],
      ["b", a],
      ["new", a],
      ["A", a],
      ["c", c],
      ["a", a!.slice(0, -2)],
      ["a", `${a!.slice(0, 60)}${a!.slice(64)}`],
      ["a", `${a} `],
      ["a", JSON.stringify(JSON.parse(a!), null, 1)],
      ["a", '{"count":1}'],
      ["a", '{"sealed":1}'],
      ["a", '{"sealed":1,"key":"AAAAAAAA","text":""}'],
      ["a", "null"],
    ] as const) {
      await inner.set(key, text!)
      expect(await store.get(key), `${key} ${text}`).toBeNull()
      await inner.delete(key)
    }
  })

  /** An entry that does not open, as somebody else may have put it there. */
  const damaged = async ({ inner }: Rig, key: string): Promise<void> => {
    await inner.set(key, '{"count":666}', { version: `v-${key}`, owner: "eve", expiresAt: null })
  }

  it("CRY-03: counts as absent to every verb and is told of once an hour, without a word of it", async () => {
    const one = rig()
    const { store, clock, reports } = one
    for (const key of ["a", "b"]) await damaged(one, key)
    await store.set("fine", "1", { owner: "eve" })
    expect(await store.get("a")).toBeNull()
    expect(await store.set("a", "1", { if: { version: "other" } })).toEqual({ ok: false, current: null })
    expect(await store.touch("a", null, { version: "other" })).toEqual({ ok: false, current: null })
    expect((await store.list()).entries.map(({ key }) => key)).toEqual(["fine"])
    expect((await store.list({ owner: "eve" })).entries.map(({ value }) => value)).toEqual(["1"])
    expect((await store.list({ values: false })).entries.map(({ key, value }) => key + value)).toEqual([
      "a",
      "b",
      "fine",
    ])
    expect(reports).toHaveLength(2)
    expect(JSON.stringify(reports)).not.toMatch(/666|eve|v-a|"a"/)
    clock.advance(3_600_000)
    await store.get("a")
    await store.get("a")
    expect(reports).toHaveLength(3)
  })

  it("REL-01: can be replaced by an insert, which takes nothing of it over, and by other sets", async () => {
    const one = rig()
    const { store } = one
    for (const key of ["a", "b", "c"]) await damaged(one, key)
    expect(await store.set("a", "1", { if: "absent", version: "new" })).toEqual({ ok: true, version: "new" })
    expect(await store.get("a")).toEqual({ key: "a", value: "1", version: "new", expiresAt: null, owner: null })
    expect(await store.set("a", "2", { if: "absent" })).toMatchObject({ ok: false, current: { value: "1" } })
    await store.set("b", "1", { owner: "bob" })
    expect(await store.get("b")).toMatchObject({ value: "1", owner: "bob" })
    await store.set("c", "1", { if: "absent", owner: "carol", expiresAt: one.clock.now() + 9 })
    expect(await store.get("c")).toMatchObject({ owner: "carol", expiresAt: one.clock.now() + 9 })
  })

  it("can be deleted, whichever version is asked for, and nothing of it is handed out", async () => {
    const one = rig()
    const { inner, store } = one
    for (const key of ["a", "b", "c"]) await damaged(one, key)
    expect(await store.delete("a")).toEqual({ ok: true, removed: null })
    expect(await store.delete("b", { version: "v-b" })).toEqual({ ok: true, removed: null })
    expect(await store.delete("c", { version: "other" })).toEqual({ ok: true, removed: null })
    expect((await inner.list()).entries).toEqual([])
  })

  it("SES-15: of 64 inserts at once where one stands, exactly one wins", async () => {
    const one = rig()
    await damaged(one, "k")
    const inserts = Array.from({ length: 64 }, (_, at) => one.store.set("k", String(at), { if: "absent" }))
    const outcomes = await Promise.all(inserts)
    expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1)
    const winner = outcomes.findIndex(({ ok }) => ok)
    expect(await one.store.get("k")).toMatchObject({ value: String(winner) })
  })

  it("an insert goes on while others change what is in its way, and gives up at last with conflict", async () => {
    const one = rig()
    const { inner } = one
    let rounds = 0
    const busy = (most: number): Store => {
      const set: Store["set"] = async (key, value, how) => {
        if (rounds++ < most) await (rounds % 2 === 0 ? inner.delete(key) : damaged(one, key))
        return inner.set(key, value, how)
      }
      return encryptedStore({ ...inner, set }, { secret: first, report: () => {} })
    }
    expect(await busy(5).set("k", "1", { if: "absent" })).toMatchObject({ ok: true })
    expect(await one.store.get("k")).toMatchObject({ value: "1" })
    rounds = 0
    const endless = encryptedStore(
      {
        ...inner,
        set: async () => ({
          ok: false,
          current: { key: "k", value: "1", version: `${rounds++}`, expiresAt: null, owner: null },
        }),
      },
      { secret: first, report: () => {} },
    )
    await expect(endless.set("k", "1", { if: "absent" })).rejects.toMatchObject({ code: "conflict", retryable: true })
    expect(rounds).toBeLessThan(20)
  })
})

describe("sessions", () => {
  it("CRY-08: one whose record does not open looks to its visitor as one that nobody knows", async () => {
    const one = rig()
    const events: unknown[] = []
    const onEvent = ({ type, ...rest }: SessionEvent): number => events.push([type, "why" in rest && rest.why])
    const sessions = createSessions<{ count: number }>({ store: one.store, clock: one.clock, onEvent })
    const visitor = browser(sessions)
    await visitor.visit((session) => void (session.data.count = 1))
    const [{ key } = { key: "" }] = (await one.inner.list()).entries
    await one.inner.set(key, '{"v":1,"created":0,"ends":9e15,"owner":"admin","marks":{},"data":{"count":666}}')
    const seen: unknown[] = []
    for (const cookie of [visitor.cookie, `session=${"A".repeat(43)}`]) {
      events.length = 0
      const next = browser(sessions, { cookie })
      const { session, end } = await next.open()
      seen.push([session.isNew, { ...session.data }, await end(), [...events]])
    }
    expect(seen[0]).toEqual(seen[1])
    expect(seen[0]).toEqual([true, {}, null, [["ended", "lapsed"]]])
  })
})

describe("secrets", () => {
  it("CRY-05 REG-31: the newest seals, every listed one opens, a removed one opens nothing", async () => {
    const { inner, with: another } = rig()
    const [old, both, renewed] = [
      another({ secret: first }),
      another({ secret: [second, first] }),
      another({ secret: second }),
    ]
    await old.set("k", '"old"', { version: "a" })
    expect(await both.get("k")).toMatchObject({ value: '"old"' })
    expect(await renewed.get("k")).toBeNull()
    expect(await another({ secret: [third, second, first] }).get("k")).toMatchObject({ value: '"old"' })
    const before = JSON.parse((await entryOf(inner, "k")).value) as { key: string }
    expect(await both.set("k", '"new"', { if: { version: "a" } })).toMatchObject({ ok: true })
    expect(await renewed.get("k")).toMatchObject({ value: '"new"' })
    expect(await old.get("k")).toBeNull()
    const after = JSON.parse((await entryOf(inner, "k")).value) as { key: string }
    expect(after.key).not.toBe(before.key)
    expect([first, second].some((secret) => secret.includes(after.key))).toBe(false)
  })

  const weak: [string, unknown][] = [
    ["none", undefined],
    ["an empty list", []],
    ["a short one", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7cF0x"],
    ["one of few characters", "abababababababababababababababab"],
    ["one repeated", "fS8Jq2kV0mN5pR7tfS8Jq2kV0mN5pR7t"],
    ["a sample", "change-me-fS8Jq2kV0mN5pR7tX9zB1cD3fG5h"],
    ["a weak second one", [first, "short"]],
    ["the same twice", [first, first]],
    ["no text", new Uint8Array(32)],
  ]
  for (const [what, secret] of weak) {
    it(`CRY-06: ${what} stops the start, and is not repeated`, () => {
      const make = (): Store => encryptedStore(memoryStore(), { secret: secret as string })
      expect(make).toThrow(TypeError)
      expect(make).toThrow(/secret/)
      expect(make).not.toThrow(/fS8J|short"|change-me/)
    })
  }

  it("refuses purposes and settings that make no sense", () => {
    const wrong = [
      { purpose: "" },
      { purpose: "a\nb" },
      { purpose: 7 },
      { plain: "yes" },
      { maxValueBytes: 0 },
      { key: "x" },
    ]
    for (const options of wrong) {
      expect(
        () => encryptedStore(memoryStore(), { secret: first, ...(options as object) }),
        JSON.stringify(options),
      ).toThrow(TypeError)
    }
  })
})

describe("values from before", () => {
  it("are absent, and with plain: accept they are read until a write seals them", async () => {
    const { inner, store, with: another, reports } = rig()
    await inner.set("k", '{"count":1}', { version: "a", owner: "alice" })
    expect(await store.get("k")).toBeNull()
    expect(reports).toHaveLength(1)
    const moving = another({ plain: "accept" })
    expect(await moving.get("k")).toMatchObject({ value: '{"count":1}', owner: "alice" })
    expect((await moving.list()).entries).toHaveLength(1)
    expect(await moving.set("k", "2", { if: "absent" })).toMatchObject({ ok: false, current: { value: '{"count":1}' } })
    expect(await moving.set("k", '{"count":2}', { if: { version: "a" } })).toMatchObject({ ok: true })
    expect(await store.get("k")).toMatchObject({ value: '{"count":2}', owner: "alice" })
    expect((await entryOf(inner, "k")).value).not.toContain("count")
    await inner.set("k", (await entryOf(inner, "k")).value.replace('"text":"', '"text":"A'))
    expect(await moving.get("k")).toBeNull() // what looks sealed must open
  })
})

describe("the longest value", () => {
  it("K13: a store inside that can't take it sealed says how much it must take", async () => {
    const tight = encryptedStore(memoryStore(), { secret: first })
    const longest = `"${"x".repeat(1_048_574)}"`
    const error = await tight.set("k", longest).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: "too-large", message: expect.stringContaining(String(roomy.maxValueBytes)) })
    const wide = encryptedStore(memoryStore(roomy), { secret: first })
    expect(await wide.set("k", longest)).toMatchObject({ ok: true })
    expect((await entryOf(wide, "k")).value === longest).toBe(true)
    expect(roomy.maxValueBytes).toBeLessThan(1_048_576 / 0.75 + 100)
  })
})

describe("what is passed on", () => {
  it("is what the store inside has, as it was asked", async () => {
    const inner = memoryStore()
    const asked: unknown[] = []
    const watched: Store = {
      ...inner,
      get: async (...call) => {
        asked.push(call)
        return null
      },
      watch: (onChange) => {
        onChange("k")
        return () => asked.push("stopped")
      },
    }
    const store = encryptedStore(watched, { secret: first })
    expect(store.info).toEqual({ ...inner.info, name: "encrypted-memory" })
    expect(await store.count?.()).toBe(0)
    await store.get("k", { fresh: true })
    store.watch?.((key) => asked.push(key))()
    expect(asked).toEqual([["k", { fresh: true }], "k", "stopped"])
    const { count: _count, watch: _watch, ...plain } = watched
    expect(encryptedStore(plain, { secret: first })).not.toHaveProperty("count")
    expect(encryptedStore(plain, { secret: first })).not.toHaveProperty("watch")
  })
})
