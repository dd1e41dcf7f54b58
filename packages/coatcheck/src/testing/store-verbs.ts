// The cases of one verb at a time: absent, there, expired, twice, with its own write sent again, and with bad arguments.

import assert from "node:assert/strict"
import type { SetOptions, Store } from "../core/store.ts"
import type { Check } from "./store-case.ts"
import { check, entryAt, listAll, put, refusedBy, rejects, sameKeys } from "./store-case.ts"
import { awkwardKeys, badNames, exactValues } from "./store-keys.ts"

/** Cases of `get`, `set`, `touch`, `delete`, expiry, arguments and `close`. */
export const verbChecks: readonly Check[] = [
  check("", "the store says what it is", async ({ store }) => {
    const { name, deadline = 1, ...claims } = store.info
    assert.match(name, /^[a-z][a-z0-9-]*$/)
    assert.deepEqual(Object.keys(claims).toSorted(), ["atomic", "durable", "ordered", "shared"])
    for (const claim of Object.values(claims)) assert.equal(typeof claim, "boolean")
    assert.ok(Number.isSafeInteger(deadline) && deadline > 0, "a deadline is in whole milliseconds")
    assert.equal(claims.atomic, true, "a store of the contract decides conditions itself")
  }),

  check("", "an absent key is null, and a written one comes back whole", async ({ store, clock }) => {
    assert.equal(await store.get("k"), null)
    const end = clock.now() + 1_000
    const version = await put(store, "k", '{"n":1}', { expiresAt: end, owner: "alice" })
    assert.match(version, /^[\w-]{1,64}$/)
    assert.deepEqual(await store.get("k"), { key: "k", value: '{"n":1}', version, expiresAt: end, owner: "alice" })
    assert.equal(await store.get("K"), null)
  }),

  check(
    "",
    "a set without a condition creates and replaces; what it leaves out stays, null clears",
    async ({ store, clock }) => {
      const first = await put(store, "k", "1")
      assert.deepEqual(await store.get("k"), { key: "k", value: "1", version: first, expiresAt: null, owner: null })
      const end = clock.now() + 1_000
      await put(store, "k", "2", { expiresAt: end, owner: "alice" })
      const kept = await put(store, "k", "3")
      assert.deepEqual(await store.get("k"), { key: "k", value: "3", version: kept, expiresAt: end, owner: "alice" })
      await put(store, "k", "4", { expiresAt: null })
      assert.equal((await entryAt(store, "k")).owner, "alice")
      await put(store, "k", "5", { owner: null })
      assert.deepEqual(await listAll(store, { owner: "alice" }), [])
      const last = await put(store, "k", "6", { version: "mine-1" })
      assert.equal(last, "mine-1")
      assert.deepEqual(await store.get("k"), { key: "k", value: "6", version: last, expiresAt: null, owner: null })
      await put(store, "k", "6", { version: "mine-1" })
      assert.equal((await entryAt(store, "k")).value, "6")
    },
  ),

  check("", "a set that tells whether it created tells the truth", async ({ store, clock }) => {
    const tells = async (): Promise<boolean | undefined> => {
      const outcome = await store.set("k", "1", { expiresAt: clock.now() + 1_000 })
      return outcome.ok ? outcome.created : undefined
    }
    const seen = [await tells(), await tells()]
    clock.advance(1_000)
    seen.push(await tells())
    await store.delete("k")
    seen.push(await tells())
    if (seen.some((one) => one !== undefined)) assert.deepEqual(seen, [true, false, true, true])
  }),

  check("SES-15 REL-01", "insert if absent never replaces", async ({ store }) => {
    assert.deepEqual(await store.set("k", "1", { if: "absent", version: "a" }), { ok: true, version: "a" })
    const first = await entryAt(store, "k")
    refusedBy(await store.set("k", "2", { if: "absent", version: "b", owner: "eve", expiresAt: null }), first)
    refusedBy(await store.set("k", "2", { if: "absent" }), first)
    assert.deepEqual(await store.get("k"), first)
    assert.deepEqual(await listAll(store, { owner: "eve" }), [])
  }),

  check(
    "SES-06 REL-01",
    "a set for a version replaces that version only, and never creates",
    async ({ store, clock }) => {
      refusedBy(await store.set("k", "1", { if: { version: "a" } }), null)
      assert.equal(await store.get("k"), null)
      await put(store, "k", "1", { version: "a", owner: "alice", expiresAt: clock.now() + 1_000 })
      const outcome = await store.set("k", "2", { if: { version: "a" } })
      assert.ok(outcome.ok && outcome.version !== "a")
      const second = await entryAt(store, "k")
      assert.equal(second.value, "2")
      assert.equal(second.owner, "alice")
      refusedBy(await store.set("k", "3", { if: { version: "a" }, version: "c" }), second)
      await store.delete("k")
      refusedBy(await store.set("k", "3", { if: { version: second.version } }), null)
      assert.equal(await store.get("k"), null)
    },
  ),

  check("REL-04", "a conditional set may be sent again: what is written already is written once", async ({ store }) => {
    const insert = { if: "absent", version: "a", owner: "alice" } as const
    assert.deepEqual(await store.set("k", "1", insert), { ok: true, version: "a" })
    assert.deepEqual(await store.set("k", "1", insert), { ok: true, version: "a" })
    const update = { if: { version: "a" }, version: "b" } as const
    assert.deepEqual(await store.set("k", "2", update), { ok: true, version: "b" })
    const written = await entryAt(store, "k")
    assert.deepEqual(await store.set("k", "2", update), { ok: true, version: "b" })
    assert.deepEqual(await store.set("k", '"not this"', { ...update, owner: null }), { ok: true, version: "b" })
    assert.deepEqual(await store.get("k"), written)
    await put(store, "k", "3", { if: { version: "b" }, version: "c" })
    refusedBy(await store.set("k", "2", update), await entryAt(store, "k"))
  }),

  check("KVS-01", "a version is new with each write and never comes back", async ({ store }) => {
    const versions = new Set<string>()
    for (let round = 0; round < 20; round++) {
      const version = await put(store, "k", "1")
      versions.add(version)
      versions.add(await put(store, "k", "1", { if: { version } }))
      await store.delete("k")
    }
    assert.equal(versions.size, 40)
    const current = await put(store, "k", "1", { if: "absent" })
    for (const version of versions) {
      assert.equal((await store.set("k", "2", { if: { version } })).ok, false)
    }
    assert.equal((await entryAt(store, "k")).version, current)
  }),

  check("SES-06", "touch moves the end and nothing else, and never creates", async ({ store, clock }) => {
    const end = clock.now() + 1_000
    refusedBy(await store.touch("k", end), null)
    refusedBy(await store.touch("k", end, { version: "a" }), null)
    assert.equal(await store.get("k"), null)
    await put(store, "k", "1", { version: "a", owner: "alice" })
    assert.deepEqual(await store.touch("k", end), { ok: true, version: "a" })
    const touched = { key: "k", value: "1", version: "a", expiresAt: end, owner: "alice" }
    assert.deepEqual(await store.get("k"), touched)
    assert.deepEqual(await store.touch("k", end), { ok: true, version: "a" })
    refusedBy(await store.touch("k", end + 1, { version: "b" }), touched)
    assert.deepEqual(await store.get("k"), touched)
    assert.deepEqual(await store.touch("k", end + 60_000, { version: "a" }), { ok: true, version: "a" })
    clock.advance(30_000)
    assert.equal((await entryAt(store, "k")).expiresAt, end + 60_000)
    await store.touch("k", null)
    clock.advance(120_000)
    assert.deepEqual(await store.get("k"), { ...touched, expiresAt: null })
    await store.touch("k", clock.now())
    assert.equal(await store.get("k"), null)
  }),

  check(
    "K7",
    "delete gives back what it removed, then null, and only the version it was asked for",
    async ({ store }) => {
      assert.deepEqual(await store.delete("k"), { ok: true, removed: null })
      assert.deepEqual(await store.delete("k", { version: "a" }), { ok: true, removed: null })
      await put(store, "k", "1", { version: "a", owner: "alice" })
      const entry = await entryAt(store, "k")
      assert.deepEqual(await store.delete("k", { version: "b" }), { ok: false, current: entry })
      assert.deepEqual(await store.get("k"), entry)
      assert.deepEqual(await store.delete("k", { version: "a" }), { ok: true, removed: entry })
      assert.deepEqual(await store.delete("k"), { ok: true, removed: null })
      assert.equal(await store.get("k"), null)
      assert.deepEqual(await listAll(store, { owner: "alice" }), [])
    },
  ),

  check(
    "SES-08 X3",
    "an entry is there until its end and absent to every verb from then on",
    async ({ store, clock }) => {
      const end = clock.now() + 1_000
      for (const key of ["get", "insert", "update", "touch", "delete"]) {
        await put(store, key, "1", { version: "a", expiresAt: end, owner: "alice" })
      }
      clock.advance(999)
      assert.equal((await entryAt(store, "get")).expiresAt, end)
      assert.equal((await listAll(store)).length, 5)
      assert.equal((await store.set("insert", "2", { if: "absent" })).ok, false)
      clock.advance(1)
      assert.equal(await store.get("get"), null)
      assert.deepEqual(await listAll(store), [])
      assert.deepEqual(await listAll(store, { owner: "alice" }), [])
      refusedBy(await store.set("update", "2", { if: { version: "a" } }), null)
      refusedBy(await store.touch("touch", end + 1_000), null)
      assert.deepEqual(await store.delete("delete", { version: "b" }), { ok: true, removed: null })
      const version = await put(store, "insert", "2", { if: "absent" })
      assert.deepEqual(await store.get("insert"), { key: "insert", value: "2", version, expiresAt: null, owner: null })
      const again = await put(store, "get", "2")
      assert.deepEqual(await store.get("get"), { key: "get", value: "2", version: again, expiresAt: null, owner: null })
    },
  ),

  check("SES-08", "an entry that is written with an end in the past is absent at once", async ({ store, clock }) => {
    assert.equal((await store.set("new", "1", { expiresAt: clock.now() })).ok, true)
    assert.equal(await store.get("new"), null)
    const version = await put(store, "old", "1", { owner: "alice" })
    assert.equal((await store.set("old", "2", { if: { version }, expiresAt: clock.now() - 1 })).ok, true)
    assert.equal(await store.get("old"), null)
    assert.deepEqual(await listAll(store, { owner: "alice" }), [])
  }),

  check("K11", "awkward keys are ordinary keys, each its own", async ({ store }) => {
    for (const [at, key] of awkwardKeys.entries()) await put(store, key, String(at), { if: "absent" })
    for (const [at, key] of awkwardKeys.entries()) {
      const entry = await entryAt(store, key)
      assert.equal(entry.key, key)
      assert.equal(entry.value, String(at))
    }
    sameKeys(store, await listAll(store), awkwardKeys)
    for (const key of awkwardKeys) {
      const deleted = await store.delete(key)
      assert.equal(deleted.ok && deleted.removed?.key, key)
    }
    assert.deepEqual(await listAll(store), [])
    assert.equal(({} as { polluted?: unknown }).polluted, undefined)
  }),

  check("K12", "a value comes back to the character", async ({ store }) => {
    for (const [at, value] of exactValues.entries()) await put(store, `k${at}`, value, { owner: `"${at}" ünï` })
    for (const [at, value] of exactValues.entries()) {
      const entry = await entryAt(store, `k${at}`)
      assert.equal(entry.value, value)
      assert.equal(entry.owner, `"${at}" ünï`)
    }
    const listed = await listAll(store)
    for (const [at, value] of exactValues.entries()) {
      assert.equal(listed.find((entry) => entry.key === `k${at}`)?.value, value)
    }
  }),

  check("K13", "a value may be as long as the limit and no longer", async ({ store, valueBytes }) => {
    const longest = `"${"x".repeat(valueBytes - 2)}"`
    await put(store, "k", longest)
    assert.ok((await entryAt(store, "k")).value === longest, "the longest value comes back whole")
    await rejects(() => store.set("k", `${longest} `), "too-large")
    await rejects(() => store.set("n", `"${"é".repeat(valueBytes / 2)}"`), "too-large")
    assert.equal(await store.get("n"), null)
    assert.equal((await entryAt(store, "k")).value.length, valueBytes)
  }),

  check("PRS-06", "what can be no key is refused by every verb and reaches no entry", async ({ store }) => {
    await put(store, "a", "1")
    for (const bad of ["", ...badNames]) {
      const key = bad as string // what a caller without types may hand over
      await rejects(() => store.get(key), "invalid", "too-large")
      await rejects(() => store.set(key, "2"), "invalid", "too-large")
      await rejects(() => store.touch(key, null), "invalid", "too-large")
      await rejects(() => store.delete(key), "invalid", "too-large")
      if (bad === null) continue // an owner's null means nobody's
      await rejects(() => store.set("n", "2", { owner: key }), "invalid", "too-large")
      await rejects(() => store.list({ owner: key }), "invalid", "too-large")
    }
    for (const bad of badNames) await rejects(() => store.list({ prefix: bad as string }), "invalid", "too-large")
    sameKeys(store, await listAll(store), ["a"])
  }),

  check("PRS-06", "bad values and options are refused and nothing is stored", async ({ store, clock }) => {
    const end = clock.now() + 1_000
    for (const value of ["", '"\ud800"', undefined, null, 7, { a: 1 }]) {
      await rejects(() => store.set("k", value as string), "invalid")
    }
    const options: unknown[] = [
      { if: "present" },
      { if: 7 },
      { if: null },
      { if: {} },
      { if: { version: "" } },
      { version: "a b" },
      { version: "v".repeat(65) },
      { version: 7 },
      { expiresAt: Number.NaN },
      { expiresAt: Number.POSITIVE_INFINITY },
      { expiresAt: end + 0.5 },
      { expiresAt: String(end) },
      { expiresAt: new Date(end) },
    ]
    for (const bad of options) await rejects(() => store.set("k", "1", bad as SetOptions), "invalid")
    await rejects(() => store.touch("k", "soon" as unknown as number), "invalid")
    await rejects(() => store.touch("k", end, { version: "a b" }), "invalid")
    await rejects(() => store.delete("k", { version: "" }), "invalid")
    for (const limit of [0, -1, 1.5, 1_001, Number.NaN, "9" as unknown as number]) {
      await rejects(() => store.list({ limit }), "invalid")
    }
    await rejects(() => store.list({ cursor: "" }), "invalid")
    assert.deepEqual(await listAll(store), [])
  }),

  check("", "a closed store rejects every verb, and closing twice is fine", async ({ store }) => {
    await put(store, "k", "1")
    await store.close()
    await store.close()
    const verbs: ((closed: Store) => Promise<unknown>)[] = [
      (closed) => closed.get("k"),
      (closed) => closed.set("k", "2"),
      (closed) => closed.touch("k", null),
      (closed) => closed.delete("k"),
      (closed) => closed.list(),
    ]
    for (const verb of verbs) await rejects(() => verb(store), "closed")
  }),

  check("", "calls under way when the store is closed end one way or the other", async ({ store }) => {
    const calls = [store.set("a", "1"), store.get("a"), store.touch("a", null), store.list(), store.delete("a")]
    await store.close()
    for (const outcome of await Promise.allSettled(calls)) {
      if (outcome.status === "rejected") assert.equal((outcome.reason as { code?: unknown }).code, "closed")
    }
  }),
]
