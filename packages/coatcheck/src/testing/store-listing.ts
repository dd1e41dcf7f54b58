// The cases of listings: what is in them, in which order, page by page, and while others write.

import assert from "node:assert/strict"
import type { Check } from "./store-case.ts"
import { check, inByteOrder, listAll, put, sameKeys } from "./store-case.ts"
import { awkwardKeys } from "./store-keys.ts"

const letters = [..."abcdefghijklm"]

/** Cases of `list` and `count`. */
export const listChecks: readonly Check[] = [
  check("", "an empty store lists nothing, and a page holds whole entries", async ({ store, clock }) => {
    assert.deepEqual(await store.list(), { entries: [], cursor: null })
    const end = clock.now() + 1_000
    const a = await put(store, "a", '{"n":1}', { owner: "alice", expiresAt: end })
    const b = await put(store, "b", "2")
    const entries = [
      { key: "a", value: '{"n":1}', version: a, expiresAt: end, owner: "alice" },
      { key: "b", value: "2", version: b, expiresAt: null, owner: null },
    ]
    const listed = (await listAll(store)).toSorted((left, right) => (left.key < right.key ? -1 : 1))
    assert.deepEqual(listed, entries)
    const bare = (await listAll(store, { values: false })).toSorted((left, right) => (left.key < right.key ? -1 : 1))
    assert.deepEqual(
      bare,
      entries.map((entry) => ({ ...entry, value: "" })),
    )
  }),

  check("K8", "a prefix is literal and case-sensitive, and the empty one means all", async ({ store }) => {
    const keys = [
      "foo",
      "fob",
      "zed",
      "f%",
      "f_",
      "f*",
      "f?",
      "f[a]",
      "f\\",
      "F",
      "fö",
      "\u{1f511}a",
      "\u{1f511}b",
      "\ue000",
    ]
    for (const key of keys) await put(store, key, "1")
    sameKeys(store, await listAll(store, { prefix: "" }), keys)
    for (const prefix of ["f", "fo", "foo", "F", "f%", "f_", "f*", "f?", "f[", "f\\", "fö", "\u{1f511}", "\ue000"]) {
      sameKeys(
        store,
        await listAll(store, { prefix }),
        keys.filter((key) => key.startsWith(prefix)),
      )
    }
    for (const prefix of ["no", "%", "_", "*", "foo!", "\u{10ffff}"]) {
      assert.deepEqual(await store.list({ prefix }), { entries: [], cursor: null })
    }
  }),

  check("", "pages of every length add up to the whole, in byte order and once where ordered", async ({ store }) => {
    for (const key of awkwardKeys.toReversed()) await put(store, key, "1")
    for (let limit = 1; limit <= awkwardKeys.length + 1; limit++) {
      sameKeys(store, await listAll(store, { limit }), awkwardKeys)
    }
    sameKeys(
      store,
      await listAll(store, { prefix: "a", limit: 2 }),
      awkwardKeys.filter((key) => key.startsWith("a")),
    )
  }),

  check("D7", "a listing goes on where it was when entries come and go between its pages", async ({ store }) => {
    for (const key of letters) await put(store, key, "1")
    const first = await store.list({ limit: 5 })
    assert.ok(first.cursor !== null)
    const seen = first.entries.map((entry) => entry.key)
    const gone = [seen.at(-1) as string, letters.find((key) => !seen.includes(key)) as string] // five of thirteen were seen
    for (const key of gone) await store.delete(key)
    await put(store, "zzz", "1")
    const rest = await listAll(store, { limit: 2, cursor: first.cursor })
    const all = new Set([...seen, ...rest.map((entry) => entry.key)])
    for (const key of letters) assert.ok(gone.includes(key) || all.has(key), `${key} stayed and must be listed`)
    assert.ok(rest.every((entry) => !gone.includes(entry.key)))
    if (store.info.ordered) {
      const expected = letters.filter((key) => !seen.includes(key) && !gone.includes(key))
      assert.deepEqual(
        rest.map((entry) => entry.key),
        [...expected, "zzz"],
      )
    }
  }),

  check("D7", "expired entries are left out of pages that go on", async ({ store, clock }) => {
    for (const [at, key] of letters.entries()) {
      await put(store, key, "1", { expiresAt: at % 3 === 0 ? null : clock.now() + 1_000 })
    }
    clock.advance(1_000)
    const alive = letters.filter((_, at) => at % 3 === 0)
    for (const limit of [1, 2, 5, 100]) sameKeys(store, await listAll(store, { limit }), alive)
  }),

  check("", "an owner's entries are listed, and nobody else's", async ({ store, clock }) => {
    const owners = ["alice", "alice2", "al", "%", "a/b", "__proto__", "\u{1f511}", "ünï"]
    for (const owner of owners) {
      for (const key of ["2", "1", "3"]) await put(store, `${owner}:${key}`, "1", { owner })
    }
    await put(store, "nobody", "1")
    for (const owner of owners) {
      const keys = ["1", "2", "3"].map((key) => `${owner}:${key}`)
      for (const limit of [1, 2, 3, 4]) sameKeys(store, await listAll(store, { owner, limit }), keys)
      assert.ok((await listAll(store, { owner })).every((entry) => entry.owner === owner))
    }
    assert.deepEqual(await listAll(store, { owner: "bob" }), [])
    sameKeys(store, await listAll(store, { owner: "alice", prefix: "alice:2" }), ["alice:2"])
    assert.deepEqual(await listAll(store, { owner: "alice", prefix: "alice2" }), [])
    await put(store, "alice:1", "2", { owner: "bob" })
    await put(store, "alice:2", "2", { owner: null })
    await store.touch("alice:3", clock.now() + 1_000)
    sameKeys(store, await listAll(store, { owner: "alice" }), ["alice:3"])
    sameKeys(store, await listAll(store, { owner: "bob" }), ["alice:1"])
    clock.advance(1_000)
    assert.deepEqual(await listAll(store, { owner: "alice" }), [])
    await store.delete("alice:1")
    assert.deepEqual(await listAll(store, { owner: "bob" }), [])
  }),

  check("", "a count is a whole number, perhaps a guess, or null", async ({ store }) => {
    for (const key of inByteOrder(letters)) await put(store, key, "1", { owner: "alice" })
    const counts = [
      await store.count?.(),
      await store.count?.({ prefix: "a" }),
      await store.count?.({ owner: "alice" }),
    ]
    for (const count of counts) {
      assert.ok(count === undefined || count === null || (Number.isSafeInteger(count) && count >= 0))
    }
  }),
]
