import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { afterAll, describe, expect, it } from "vitest"
import type { Entry, Store, StoreReport } from "../core/store.ts"
import { type FakeClock, fakeClock } from "../testing/fake-clock.ts"
import { type FaultyStore, faultyStore } from "../testing/faulty-store.ts"
import type { StoreSetup } from "../testing/store-case.ts"
import { storeCases } from "../testing/store-suite.ts"
import { cachedStore, type CachedStoreOptions } from "./cached.ts"
import { memoryStore } from "./memory.ts"
import { sqliteStore } from "./sqlite.ts"

const folder = mkdtempSync(join(tmpdir(), "coatcheck-cached-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe("a cached memory store keeps the contract", () => {
  for (const { name, run } of storeCases({ open: (setup) => cachedStore(memoryStore(setup), setup) })) it(name, run)
})

describe("a cached SQLite store keeps the contract", () => {
  let path = ""
  let files = 0
  const handle = async (setup: StoreSetup): Promise<Store> => cachedStore(await sqliteStore(path, setup), setup)
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
  readonly clock: FakeClock
  /** What others write to, and where the truth stands. */
  readonly inner: Store
  readonly faulty: FaultyStore
  readonly store: Store
  readonly reports: StoreReport[]
  /** Tells of a change, as the store's channel does. */
  tell(key: string | null): void
}

function rig(options: CachedStoreOptions & { watched?: boolean } = {}): Rig {
  const { watched = true, ...settings } = options
  const clock = fakeClock()
  const reports: StoreReport[] = []
  const inner = memoryStore({ clock })
  const faulty = faultyStore(inner)
  const watchers = new Set<(key: string | null) => void>()
  const watch = (onChange: (key: string | null) => void): (() => void) => {
    watchers.add(onChange)
    return () => watchers.delete(onChange)
  }
  const report = (one: StoreReport): number => reports.push(one)
  const store = cachedStore({ ...faulty.store, ...(watched && { watch }) }, { clock, report, ...settings })
  return {
    clock,
    inner,
    faulty,
    store,
    reports,
    tell: (key) => {
      for (const onChange of watchers) onChange(key)
    },
  }
}

/** How many reads have gone to the store since the last time this was asked. */
function misses({ faulty }: Rig): () => number {
  let before = 0
  return () => {
    const since = faulty.calls.get - before
    before = faulty.calls.get
    return since
  }
}

/** What a channel may tell, and in words. */
const tellings: readonly (readonly [string, string | null])[] = [
  ["of the key", "k"],
  ["that anything may have changed", null],
]

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function valueAt(store: Store, key: string): Promise<string | undefined> {
  return (await store.get(key))?.value
}

describe("what is read", () => {
  it("is answered from nearby for as long as maxAge after it was asked for, and then asked again", async () => {
    for (const [options, maxAge] of [
      [{}, 5_000],
      [{ watched: false }, 1_000],
      [{ maxAge: "30s" }, 30_000],
    ] as const) {
      const one = rig(options)
      const { clock, inner, store } = one
      const missed = misses(one)
      await inner.set("k", "1", { version: "a", owner: "alice" })
      const entry = { key: "k", value: "1", version: "a", expiresAt: null, owner: "alice" }
      expect(await store.get("k")).toEqual(entry)
      await inner.set("k", "2", { version: "b" }) // nobody tells
      clock.advance(maxAge - 1)
      expect(await store.get("k")).toEqual(entry)
      expect(missed()).toBe(1)
      clock.advance(1)
      expect(await store.get("k")).toEqual({ ...entry, value: "2", version: "b" })
      expect(missed()).toBe(1)
    }
  })

  it("has the age of its question, however late the answer came", async () => {
    const { clock, inner, faulty, store } = rig()
    await inner.set("k", "1")
    faulty.inject("held-reply")
    const reading = store.get("k")
    await faulty.whenHeld()
    clock.advance(4_000)
    await faulty.release()
    await reading
    await inner.set("k", "2")
    clock.advance(1_000)
    expect(await valueAt(store, "k")).toBe("2")
  })

  it("SES-08: is never served past its end, and its end may have moved", async () => {
    const one = rig({ maxAge: "1h" })
    const { clock, inner, store } = one
    await inner.set("short", "1", { expiresAt: clock.now() + 1_000 })
    await inner.set("moved", "1", { expiresAt: clock.now() + 1_000 })
    await Promise.all([store.get("short"), store.get("moved")])
    await inner.touch("moved", clock.now() + 9_000)
    clock.advance(999)
    expect(await valueAt(store, "short")).toBe("1")
    clock.advance(1)
    expect(await store.get("short")).toBeNull()
    expect(await store.get("moved")).toMatchObject({ expiresAt: clock.now() + 8_000 })
  })

  it("TMO-04: is asked again when the clock was put back, for nobody knows how old it is", async () => {
    const one = rig()
    await one.inner.set("k", "1")
    await one.store.get("k")
    await one.inner.set("k", "2")
    one.clock.advance(-1)
    expect(await valueAt(one.store, "k")).toBe("2")
  })

  it("absence is not kept", async () => {
    const { inner, store } = rig()
    expect(await store.get("k")).toBeNull()
    await inner.set("k", "1")
    expect(await valueAt(store, "k")).toBe("1")
  })

  it("is asked for once by those who ask at once, and each gets his own copy", async () => {
    const one = rig()
    const missed = misses(one)
    await one.inner.set("k", "1")
    const together = await Promise.all(Array.from({ length: 20 }, () => one.store.get("k")))
    together.push(await one.store.get("k"))
    expect(missed()).toBe(1)
    expect(new Set(together).size).toBe(together.length)
    for (const entry of together) Object.assign(entry as object, { value: "stolen", version: "stolen" })
    expect(await valueAt(one.store, "k")).toBe("1")
    one.faulty.inject("refused")
    one.tell("k")
    const failed = await Promise.allSettled([one.store.get("k"), one.store.get("k")])
    expect(failed.map(({ status }) => status)).toEqual(["rejected", "rejected"])
    expect(await valueAt(one.store, "k")).toBe("1")
  })

  it("a read under way is shared while it is new, and what ended on its way is asked again", async () => {
    for (const [passes, expected] of [
      [4_999, "1"],
      [5_000, "2"],
    ] as const) {
      const one = rig()
      await one.inner.set("k", "1")
      one.faulty.inject("held-reply")
      const reading = one.store.get("k")
      await one.faulty.whenHeld()
      await one.inner.set("k", "2")
      one.clock.advance(passes)
      const late = one.store.get("k")
      await one.faulty.release()
      await reading
      expect((await late)?.value).toBe(expected)
    }
    const one = rig()
    await one.inner.set("k", "1", { expiresAt: one.clock.now() + 1_000 })
    one.faulty.inject("held-reply")
    const both = [one.store.get("k"), one.store.get("k")]
    await one.faulty.whenHeld()
    one.clock.advance(1_000)
    await one.faulty.release()
    expect((await both[0])?.value).toBe("1")
    expect(await both[1]).toBeNull()
  })

  it("fresh is asked of the store every time, and fills the cache", async () => {
    const one = rig()
    const missed = misses(one)
    const asked: unknown[] = []
    const seen: Store = {
      ...one.inner,
      get: (key, how) => {
        asked.push(how)
        return one.inner.get(key, how)
      },
    }
    const store = cachedStore(seen, { clock: one.clock })
    await one.inner.set("k", "1")
    await store.get("k")
    await one.inner.set("k", "2")
    expect((await store.get("k", { fresh: true }))?.value).toBe("2")
    expect(await valueAt(store, "k")).toBe("2")
    expect(asked).toEqual([undefined, { fresh: true }])
    one.faulty.inject("held-reply")
    const reading = one.store.get("k")
    await one.faulty.whenHeld()
    await Promise.all([one.store.get("k", { fresh: true }), one.store.get("k", { fresh: true })])
    expect(missed()).toBe(3) // they share no read that began before them
    await one.faulty.release()
    await reading
  })
})

describe("what others change", () => {
  it("is read again as soon as the channel tells", async () => {
    const one = rig()
    const { inner, store, tell } = one
    const missed = misses(one)
    await Promise.all(["a", "b"].map((key) => inner.set(key, "1")))
    await Promise.all(["a", "b"].map((key) => store.get(key)))
    await Promise.all(["a", "b"].map((key) => inner.set(key, "2")))
    missed()
    tell("a")
    expect([await valueAt(store, "a"), await valueAt(store, "b")]).toEqual(["2", "1"])
    expect(missed()).toBe(1)
    tell(null)
    expect([await valueAt(store, "a"), await valueAt(store, "b")]).toEqual(["2", "2"])
    expect(missed()).toBe(2)
  })

  for (const [what, told] of tellings) {
    it(`a read under way does not fill the cache when the channel tells ${what} meanwhile`, async () => {
      const { inner, faulty, store, tell } = rig()
      await inner.set("k", "1")
      faulty.inject("held-reply")
      const reading = store.get("k")
      await faulty.whenHeld()
      await inner.set("k", "2")
      tell(told)
      const later = store.get("k") // shares no read from before
      await faulty.release()
      expect((await reading)?.value).toBe("1") // it had begun before
      expect((await later)?.value).toBe("2")
      expect(await valueAt(store, "k")).toBe("2")
    })
  }

  it("a read under way of another key does", async () => {
    const one = rig()
    const missed = misses(one)
    await one.inner.set("k", "1")
    one.faulty.inject("held-reply")
    const reading = one.store.get("k")
    await one.faulty.whenHeld()
    one.tell("other")
    await one.faulty.release()
    await reading
    await one.store.get("k")
    expect(missed()).toBe(1)
  })

  it("an older read that answers after a newer one does not fill the cache, nor bring back what is gone", async () => {
    for (const next of ["2", null]) {
      const { inner, faulty, store } = rig()
      await inner.set("k", "1")
      faulty.inject("held-reply")
      const reading = store.get("k")
      await faulty.whenHeld()
      if (next === null) await inner.delete("k")
      else await inner.set("k", next)
      await store.get("k", { fresh: true })
      await faulty.release()
      await reading
      expect((await store.get("k"))?.value ?? null).toBe(next)
    }
  })
})

describe("what this process writes", () => {
  /** Fills the cache and leaves the truth with an owner and an end. */
  async function filled(one: Rig): Promise<Entry> {
    const options = { version: "a", owner: "alice", expiresAt: one.clock.now() + 60_000 }
    await one.inner.set("k", "1", options)
    return (await one.store.get("k"))!
  }

  it("is seen at once and costs no read: inserts, replacements, touches, and what a refusal shows", async () => {
    const one = rig()
    const { clock, store } = one
    const missed = misses(one)
    const entry = await filled(one)
    missed()
    await store.set("k", "2", { if: { version: "a" }, version: "b" })
    expect(await store.get("k")).toEqual({ ...entry, value: "2", version: "b" })
    await store.set("k", "2", { if: { version: "b" }, version: "c", expiresAt: null, owner: null })
    expect(await store.get("k")).toEqual({ ...entry, value: "2", version: "c", expiresAt: null, owner: null })
    await store.touch("k", clock.now() + 9)
    expect(await store.get("k")).toMatchObject({ version: "c", expiresAt: clock.now() + 9 })
    await store.set("new", "1", { if: "absent", version: "n" })
    expect(await store.get("new")).toEqual({ key: "new", value: "1", version: "n", expiresAt: null, owner: null })
    await one.inner.set("k", "3", { version: "d" })
    expect(await store.set("k", "4", { if: { version: "c" } })).toMatchObject({ ok: false, current: { version: "d" } })
    expect(await valueAt(store, "k")).toBe("3")
    await one.inner.set("k", "5", { version: "e" })
    expect(await store.touch("k", null, { version: "d" })).toMatchObject({ ok: false })
    expect(await valueAt(store, "k")).toBe("5")
    await one.inner.set("k", "6", { version: "f" })
    expect(await store.delete("k", { version: "e" })).toMatchObject({ ok: false })
    expect(await valueAt(store, "k")).toBe("6")
    expect(missed()).toBe(0)
  })

  it("what is deleted is gone at once, and so is what a refusal finds gone", async () => {
    const one = rig()
    await filled(one)
    await one.store.delete("k")
    expect(await one.store.get("k")).toBeNull()
    await filled(one)
    await one.inner.delete("k")
    expect(await one.store.set("k", "2", { if: { version: "a" } })).toEqual({ ok: false, current: null })
    expect(await one.store.get("k")).toBeNull()
  })

  it("what a write leaves as it was and nobody knows is read", async () => {
    const one = rig()
    await one.inner.set("k", "1", { owner: "alice" })
    await one.store.set("k", "2")
    expect(await one.store.get("k")).toMatchObject({ value: "2", owner: "alice" })
    await one.inner.set("k", "3", { version: "x", owner: "bob" })
    await one.store.touch("k", one.clock.now() + 9) // of a version that is not nearby
    expect(await one.store.get("k")).toMatchObject({ value: "3", owner: "bob", expiresAt: one.clock.now() + 9 })
  })

  it("REL-04: the same call again, answered before, does not undo what happened since", async () => {
    const one = rig()
    const insert = { if: "absent", version: "a" } as const
    await one.store.set("k", "1", insert)
    await one.store.touch("k", one.clock.now() + 9)
    expect(await one.store.set("k", "1", insert)).toEqual({ ok: true, version: "a" })
    expect(await one.store.get("k")).toMatchObject({ expiresAt: one.clock.now() + 9 })
  })

  it("an end that a write left as it was stays as old as it is, however often that is done", async () => {
    const one = rig()
    const { clock, inner, store } = one
    const { expiresAt } = await filled(one)
    await inner.touch("k", (expiresAt ?? 0) + 60_000) // nobody tells
    for (let round = 0; round < 4; round++) {
      clock.advance(1_000)
      const current = await store.get("k")
      await store.set("k", String(round), { if: { version: current?.version ?? "" } })
    }
    expect(await store.get("k")).toMatchObject({ value: "3", expiresAt })
    clock.advance(1_000)
    expect(await store.get("k")).toMatchObject({ value: "3", expiresAt: (expiresAt ?? 0) + 60_000 })
  })

  const failures = ["lost-request", "lost-reply", "refused", "late"] as const
  for (const fault of failures) {
    for (const verb of ["set", "touch", "delete"] as const) {
      it(`REL-04: after a ${verb} that ends badly (${fault}) the truth is read`, async () => {
        const one = rig()
        const missed = misses(one)
        await filled(one)
        missed()
        one.faulty.inject(fault, { verb })
        const calls = {
          set: () => one.store.set("k", "2", { if: { version: "a" } }),
          touch: () => one.store.touch("k", null),
          delete: () => one.store.delete("k"),
        }
        await expect(calls[verb]()).rejects.toThrow(/faulty/)
        expect(await one.store.get("k")).toEqual(await one.inner.get("k"))
        expect(missed()).toBe(1)
        await one.faulty.release()
      })
    }
  }

  it("a read that began before it does not fill the cache", async () => {
    for (const write of [
      (store: Store) => store.set("k", "2", { if: { version: "a" }, version: "b" }),
      (store: Store) => store.delete("k"),
    ]) {
      const one = rig()
      await one.inner.set("k", "1", { version: "a" })
      one.faulty.inject("held-reply")
      const reading = one.store.get("k")
      await one.faulty.whenHeld()
      await write(one.store)
      await one.faulty.release()
      expect((await reading)?.value).toBe("1")
      expect(await one.store.get("k")).toEqual(await one.inner.get("k"))
    }
  })

  it("what two writes at once prove is not kept: their answers may come in another order than they were done", async () => {
    const one = rig()
    one.faulty.inject("held-reply")
    const early = one.store.set("k", "1", { expiresAt: null, owner: null })
    await one.faulty.whenHeld()
    await one.store.set("k", "2", { expiresAt: null, owner: null })
    expect(await valueAt(one.store, "k")).toBe("2")
    await one.faulty.release()
    await early
    expect(await valueAt(one.store, "k")).toBe("2")
    // Once all of them are over, writes teach again.
    const missed = misses(one)
    missed()
    await one.store.set("k", "3", { expiresAt: null, owner: null })
    expect(await valueAt(one.store, "k")).toBe("3")
    expect(missed()).toBe(0)
  })

  for (const [what, told] of tellings) {
    it(`what a write proves is not kept when the channel tells ${what} before its answer`, async () => {
      const one = rig()
      one.faulty.inject("held-reply")
      const writing = one.store.set("k", "1", { expiresAt: null, owner: null })
      await one.faulty.whenHeld()
      await one.inner.set("k", "2")
      one.tell(told)
      await one.faulty.release()
      await writing
      expect(await valueAt(one.store, "k")).toBe("2")
    })
  }
})

describe("bounds", () => {
  it("the least recently used entry makes room", async () => {
    const one = rig({ maxEntries: 3 })
    const missed = misses(one)
    for (const key of ["a", "b", "c"]) await one.store.set(key, "1", { if: "absent" })
    await one.store.get("a")
    await one.store.set("d", "1", { if: "absent" })
    for (const key of ["a", "c", "d"]) await one.store.get(key)
    expect(missed()).toBe(0)
    await one.store.get("b")
    expect(missed()).toBe(1)
    await one.store.get("a") // it was used before c and d, so b took its place
    expect(missed()).toBe(1)
  })

  it("text is counted, and what is larger than all of it is not kept", async () => {
    const one = rig({ maxBytes: 40 }) // twenty characters
    const missed = misses(one)
    await one.store.set("aaaa", "123456", { if: "absent", owner: "bobby" })
    await one.store.set("b", "1234", { if: "absent" })
    await Promise.all(["aaaa", "b"].map((key) => one.store.get(key)))
    expect(missed()).toBe(0)
    await one.store.set("c", "1", { if: "absent" })
    await Promise.all(["b", "c"].map((key) => one.store.get(key)))
    expect(missed()).toBe(0)
    await one.store.get("aaaa") // it made room for c, and b makes room for it
    expect(missed()).toBe(1)
    await one.store.get("b")
    expect(missed()).toBe(1)
    await one.store.set("large", "123456789012345678901", { if: "absent" })
    await one.store.get("b")
    expect(missed()).toBe(0)
    expect(await valueAt(one.store, "large")).toHaveLength(21)
    expect(missed()).toBe(1)
  })

  it("X3: the memory of hundreds of thousands of short-lived keys comes back to base by itself", async () => {
    const clock = fakeClock()
    const made = new Map<string, Entry>()
    const source: Store = { ...memoryStore(), get: async (key) => made.get(key) ?? null }
    const store = cachedStore(source, { clock, maxEntries: 80_000, maxBytes: 2 ** 30 })
    const before = heapAfterCollection()
    let full = 0
    for (let wave = 0; wave < 10; wave++) {
      for (let at = 0; at < 40_000; at++) {
        const key = `session:${wave}-${at}`
        made.set(key, { key, value: `{"count":${at}}`, version: `v${at}`, expiresAt: clock.now() + 1_000, owner: null })
        await store.get(key)
        made.delete(key)
      }
      if (wave === 0) full = heapAfterCollection() - before
      clock.advance(5_000)
    }
    for (let at = 0; at < 25_000; at++) await store.get("last")
    const base = heapAfterCollection() - before
    expect(await store.get("last")).toBeNull() // it is there to be measured
    expect(full).toBeGreaterThan(5_000_000)
    expect(base).toBeLessThan(1_500_000)
  }, 60_000)
})

describe("the store around it", () => {
  it("says once at the start what an unwatched store that others share means, and names itself", () => {
    const shared = { ...memoryStore(), info: { ...memoryStore().info, name: "other", shared: true } }
    const reports: StoreReport[] = []
    const report = (one: StoreReport): number => reports.push(one)
    const store = cachedStore(shared, { report, maxAge: "2s" })
    expect(store.info).toEqual({ ...shared.info, name: "cached-other" })
    expect(reports).toMatchObject([
      { store: "cached-other", kind: "warning", message: expect.stringContaining("2000 ms") },
    ])
    cachedStore({ ...shared, watch: () => () => {} }, { report })
    cachedStore(memoryStore(), { report })
    expect(reports).toHaveLength(1)
  })

  it("passes on listings, counts and watching, and stops watching when it is closed", async () => {
    const one = rig()
    const told: unknown[] = []
    const stop = one.store.watch?.((key) => told.push(key))
    one.tell("k")
    stop?.()
    one.tell("l")
    expect(told).toEqual(["k"])
    expect(await one.store.count?.()).toBe(0)
    expect(rig({ watched: false }).store).not.toHaveProperty("watch")
    const { count: _count, ...plain } = memoryStore()
    expect(cachedStore(plain)).not.toHaveProperty("count")

    let watching = 0
    const watch = (): (() => void) => {
      watching++
      return () => watching--
    }
    const store = cachedStore({ ...memoryStore(), watch })
    expect(watching).toBe(1)
    await store.set("k", "1")
    await store.get("k")
    await store.close()
    await store.close()
    expect(watching).toBe(0)
    await expect(store.get("k")).rejects.toMatchObject({ code: "closed" })
  })

  it("a read or write under way when it is closed leaves nothing behind", async () => {
    const one = rig()
    one.faulty.inject("held-reply", { times: 2 })
    const calls = [one.store.get("k"), one.store.set("k", "1", { if: "absent" })]
    await one.faulty.whenHeld(2)
    const closing = one.store.close()
    await one.faulty.release()
    await Promise.all([...calls, closing])
    await turn()
    await expect(one.store.get("k")).rejects.toMatchObject({ code: "closed" })
  })

  const wrong = [{ maxAge: 0 }, { maxAge: "soon" }, { maxEntries: 0 }, { maxBytes: 1.5 }, { ttl: 5 }]
  for (const options of wrong) {
    it(`refuses ${JSON.stringify(options)} when it is made`, () => {
      expect(() => cachedStore(memoryStore(), options as CachedStoreOptions)).toThrow(TypeError)
    })
  }
})

function heapAfterCollection(): number {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void // the flag puts it there
  collect()
  return process.memoryUsage().heapUsed
}
