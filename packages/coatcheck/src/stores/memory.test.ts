import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "vitest"
import type { Store, StoreReport } from "../core/store.ts"
import { fakeClock } from "../testing/fake-clock.ts"
import { storeCases } from "../testing/store-suite.ts"
import { memoryStore } from "./memory.ts"

describe("the memory store keeps the contract", () => {
  for (const { name, run } of storeCases({ open: memoryStore })) it(name, run)
})

describe("the memory store is bounded", () => {
  it("X3: when it is full, expired entries make room, and live ones are never thrown out", async () => {
    const clock = fakeClock()
    const store = memoryStore({ clock, maxEntries: 3, report: () => {} })
    await store.set("short", "1", { expiresAt: clock.now() + 1_000 })
    await store.set("long", "1", { expiresAt: clock.now() + 9_000 })
    await store.set("endless", "1")
    await expect(store.set("more", "1")).rejects.toMatchObject({ code: "full", retryable: true })
    await expect(store.set("more", "1", { if: "absent" })).rejects.toMatchObject({ code: "full" })
    expect(await store.get("more")).toBeNull()
    expect(await keysOf(store)).toEqual(["endless", "long", "short"])
    expect((await store.set("long", "2")).ok).toBe(true)
    clock.advance(1_000)
    expect((await store.set("more", "1")).ok).toBe(true)
    expect(await keysOf(store)).toEqual(["endless", "long", "more"])
    await expect(store.set("most", "1")).rejects.toMatchObject({ code: "full" })
    await store.delete("endless")
    expect((await store.set("most", "1")).ok).toBe(true)
  })

  it("counts text: new entries and longer values are refused, shorter ones are not", async () => {
    const clock = fakeClock()
    const store = memoryStore({ clock, maxBytes: 40, report: () => {} }) // twenty characters
    await store.set("aaaa", "123456", { owner: "bobby" })
    await expect(store.set("bbbb", "12")).rejects.toMatchObject({ code: "full" })
    await store.set("b", "1234")
    await expect(store.set("b", "12345")).rejects.toMatchObject({ code: "full" })
    await expect(store.set("b", "1234", { owner: "x" })).rejects.toMatchObject({ code: "full" })
    expect(await store.get("b")).toMatchObject({ value: "1234", owner: null })
    await store.set("aaaa", "12345", { owner: null })
    await store.set("b", "12345", { owner: "bobby", expiresAt: clock.now() + 1 })
    await expect(store.set("c", "1")).rejects.toMatchObject({ code: "full" })
    clock.advance(1)
    await store.set("cc", "123456789")
    expect(await keysOf(store)).toEqual(["aaaa", "cc"])
  })

  it("reports that writes are refused, once a minute", async () => {
    const clock = fakeClock()
    const reports: StoreReport[] = []
    const store = memoryStore({ clock, maxEntries: 1, report: (report) => reports.push(report) })
    await store.set("secret", '"hunter2"')
    for (let round = 0; round < 3; round++) {
      await expect(store.set("other", "1")).rejects.toMatchObject({ code: "full" })
      await expect(store.set("other", "1")).rejects.toMatchObject({ code: "full" })
      clock.advance(30_000)
    }
    expect(reports.map(({ store, kind }) => `${store} ${kind}`)).toEqual(["memory warning", "memory warning"])
    expect(JSON.stringify(reports)).not.toMatch(/secret|hunter2|other/)
  })

  it("counts by prefix and by owner", async () => {
    const store = memoryStore()
    for (let at = 0; at < 2_000; at++) await store.set(`${at % 2 ? "odd" : "even"}:${at}`, "1", { owner: `o${at % 4}` })
    expect(await store.count?.()).toBe(2_000)
    expect(await store.count?.({ prefix: "odd:" })).toBe(1_000)
    expect(await store.count?.({ owner: "o1" })).toBe(500)
    expect(await store.count?.({ owner: "o1", prefix: "even:" })).toBe(0)
    expect(await store.count?.({ owner: "nobody" })).toBe(0)
  })

  it("X3: the memory of a million short-lived keys is given back, with no timer and no more than a few writes", async () => {
    const clock = fakeClock()
    const store = memoryStore({ clock })
    const before = heapAfterCollection()
    let full = 0
    for (let wave = 0; wave < 10; wave++) {
      for (let at = 0; at < 100_000; at++) {
        const options = { expiresAt: clock.now() + 1_000 + at, owner: at % 10 === 0 ? `user-${at}` : null }
        void store.set(`session:${wave}-${at}`, '{"count":1}', options)
      }
      if (wave === 0) full = heapAfterCollection() - before
      clock.advance(101_000)
    }
    for (let at = 0; at < 12_500; at++) await store.set("last", "1")
    expect(await store.count?.()).toBe(1)
    expect((await store.list()).entries).toHaveLength(1)
    const base = heapAfterCollection() - before
    expect(full).toBeGreaterThan(20_000_000)
    expect(base).toBeLessThan(2_000_000)
  }, 60_000)

  for (const options of [{ maxEntries: 0 }, { maxEntries: 1.5 }, { maxBytes: Number.NaN }, { maxValueBytes: -1 }]) {
    it(`refuses ${JSON.stringify(options)} when it is made`, () => {
      expect(() => memoryStore(options)).toThrow(TypeError)
    })
  }
})

describe("the memory store and its callers", () => {
  it("hands out copies: what a caller does to an entry changes nothing in the store", async () => {
    const store = memoryStore()
    await store.set("k", "1", { version: "a" })
    const current = await store.set("k", "2", { if: "absent" })
    for (const entry of [await store.get("k"), current.ok ? null : current.current, (await store.list()).entries[0]]) {
      Object.assign(entry as object, { value: "stolen", version: "b" })
    }
    expect(await store.get("k")).toMatchObject({ value: "1", version: "a" })
  })
})

async function keysOf(store: Store): Promise<string[]> {
  return (await store.list()).entries.map((entry) => entry.key)
}

function heapAfterCollection(): number {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void // the flag puts it there
  collect()
  return process.memoryUsage().heapUsed
}

it("a report that throws changes nothing of what the store answers", async () => {
  const report = (): never => {
    throw new Error("the log is full as well")
  }
  const store = memoryStore({ maxEntries: 1, report })
  await store.set("a", "1")
  await expect(store.set("b", "2")).rejects.toMatchObject({ code: "full" })
  expect((await store.get("a"))?.value).toBe("1")
})
