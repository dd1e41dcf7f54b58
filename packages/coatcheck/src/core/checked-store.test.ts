import { describe, expect, it } from "vitest"
import { checkedStore, type StoreVerbs } from "./checked-store.ts"

/** Verbs that keep nothing, and write down how they were called. */
function verbs(calls: unknown[]): StoreVerbs {
  const told = (...call: unknown[]): void => void calls.push(call)
  return {
    info: { name: "told", ordered: true, shared: false, durable: false, atomic: true },
    get: (key) => (told("get", key), null),
    set: (key, value, options) => (told("set", key, value, options), { ok: true, version: "v" }),
    touch: (key, expiresAt, version) => (told("touch", key, expiresAt, version), { ok: false, current: null }),
    delete: (key, version) => (told("delete", key, version), { ok: true, removed: null }),
    list: (query) => (told("list", query), { entries: [], cursor: null }),
  }
}

describe("a store made of verbs", () => {
  it("hands them arguments with the defaults filled in, and their answers back", async () => {
    const calls: unknown[] = []
    const store = checkedStore(verbs(calls))
    expect(await store.get("k")).toBeNull()
    expect(await store.set("k", "1")).toEqual({ ok: true, version: "v" })
    expect(await store.touch("k", 7, { version: "v" })).toEqual({ ok: false, current: null })
    expect(await store.delete("k")).toEqual({ ok: true, removed: null })
    expect(await store.list({ prefix: "a" })).toEqual({ entries: [], cursor: null })
    expect(calls).toEqual([
      ["get", "k"],
      ["set", "k", "1", {}],
      ["touch", "k", 7, "v"],
      ["delete", "k", undefined],
      ["list", { prefix: "a", owner: null, cursor: null, limit: 100, values: true }],
    ])
  })

  it("PRS-06: calls no verb with what is refused, and takes values as long as it was told", async () => {
    const calls: unknown[] = []
    const store = checkedStore({ ...verbs(calls), count: () => 0 }, 4)
    const refused = [
      () => store.get(""),
      () => store.set("k", "12345"),
      () => store.touch("k", 0.5),
      () => store.delete("k", { version: "" }),
      () => store.list({ limit: 0 }),
      () => store.count?.({ prefix: "\n" }),
    ]
    for (const call of refused) {
      await expect(call()).rejects.toMatchObject({ code: expect.stringMatching(/^(invalid|too-large)$/) })
    }
    expect(calls).toEqual([])
    await store.set("k", "1234")
    expect(calls).toHaveLength(1)
  })

  it("counts and watches where its verbs do", async () => {
    const bare = checkedStore(verbs([]))
    expect([bare.count, bare.watch]).toEqual([undefined, undefined])
    const more = {
      ...verbs([]),
      keys: 3,
      count(): number {
        return this.keys
      },
      watch(onChange: (key: string | null) => void): () => void {
        onChange(String(this.keys))
        return () => {}
      },
    }
    const store = checkedStore(more)
    const changed: (string | null)[] = []
    store.watch?.((key) => changed.push(key))
    expect([await store.count?.(), changed]).toEqual([3, ["3"]])
  })

  it("turns what a verb throws into a rejection", async () => {
    const store = checkedStore({
      ...verbs([]),
      get() {
        throw new Error("no disk")
      },
    })
    await expect(store.get("k")).rejects.toThrow("no disk")
  })

  it("closes its verbs once, and calls none of them from then on", async () => {
    const calls: unknown[] = []
    const store = checkedStore({
      ...verbs(calls),
      count: () => 0,
      watch: () => () => calls.push("watch"),
      close: () => void calls.push("close"),
    })
    await Promise.all([store.close(), store.close()])
    await store.close()
    for (const call of [() => store.get("k"), () => store.list(), () => store.count?.()]) {
      await expect(call()).rejects.toMatchObject({ code: "closed", message: expect.stringContaining("told") })
    }
    store.watch?.(() => {})()
    expect(calls).toEqual(["close"])
  })
})
