// The cases of many calls at once, on one handle and on two: whatever the order in which a store takes them, exactly one of those
// that exclude each other wins, nothing acknowledged is lost, and what was deleted stays deleted.

import assert from "node:assert/strict"
import type { Store } from "../core/store.ts"
import type { Check } from "./store-case.ts"
import { check, checkShared, entryAt, listAll, put, sameKeys } from "./store-case.ts"

const PARALLEL = 64
const fresh = { fresh: true } as const

/** Cases of parallel calls. */
export const raceChecks: readonly Check[] = [
  check("SES-15 KVS-03", "64 inserts of one key at once: exactly one wins, and it stays", async ({ store }) => {
    await insertOnce([store])
  }),

  check("KVS-02", "64 writers that read, add one and set on the version they read: none is lost", async ({ store }) => {
    await countExactly([store])
  }),

  check("K16", "64 writes of different keys at once are all there", async ({ store }) => {
    const keys = Array.from({ length: PARALLEL }, (_, at) => `k${at}`)
    const outcomes = await Promise.all(keys.map((key) => store.set(key, `"${key}"`)))
    for (const [at, key] of keys.entries()) {
      const outcome = outcomes[at]
      assert.ok(outcome?.ok)
      assert.deepEqual(await store.get(key), {
        key,
        value: `"${key}"`,
        version: outcome.version,
        expiresAt: null,
        owner: null,
      })
    }
  }),

  check("", "of many writes of one key at once, one stands whole", async ({ store }) => {
    const outcomes = await Promise.all(
      Array.from({ length: PARALLEL }, (_, at) => store.set("k", String(at), { version: `v${at}`, owner: `o${at}` })),
    )
    assert.ok(outcomes.every((outcome) => outcome.ok))
    const { value, version, owner } = await entryAt(store, "k")
    assert.deepEqual({ version, owner }, { version: `v${value}`, owner: `o${value}` })
    sameKeys(store, await listAll(store, { owner: `o${value}` }), ["k"])
    const others = Array.from({ length: PARALLEL }, (_, at) => `o${at}`).filter((other) => other !== owner)
    for (const other of others) assert.deepEqual((await store.list({ owner: other })).entries, [])
  }),

  check("", "of many deletes at once, one is given what was removed", async ({ store }) => {
    await put(store, "k", "1")
    const entry = await entryAt(store, "k")
    const outcomes = await Promise.all(Array.from({ length: PARALLEL }, () => store.delete("k")))
    const removed = outcomes.map((outcome) => outcome.ok && outcome.removed).filter((one) => one !== null)
    assert.deepEqual(removed, [entry])
  }),

  check("SES-06 REL-11", "updates and touches at once with a delete never bring the entry back", async ({ store }) => {
    for (let round = 0; round < 20; round++) {
      const version = await put(store, "k", "1", { owner: "alice" })
      await Promise.all([
        store.touch("k", null),
        store.set("k", "2", { if: { version }, version: `v${round}` }),
        store.delete("k"),
        store.set("k", "2", { if: { version }, version: `v${round}` }),
        store.touch("k", null),
      ])
      assert.equal(await store.get("k"), null)
      assert.deepEqual((await store.list({ owner: "alice" })).entries, [])
    }
  }),

  checkShared(
    "",
    "two handles see each other's writes as soon as they are acknowledged, by a fresh read",
    async ({ store, clock, second }) => {
      const other = await second()
      const end = clock.now() + 1_000
      const version = await put(store, "k", "1", { expiresAt: end, owner: "alice" })
      assert.deepEqual(await other.get("k", fresh), { key: "k", value: "1", version, expiresAt: end, owner: "alice" })
      sameKeys(other, await listAll(other, { owner: "alice" }), ["k"])
      await put(other, "k", "2", { if: { version }, version: "b" })
      assert.equal((await entryAt(store, "k", fresh)).version, "b")
      assert.equal((await store.set("k", "3", { if: { version } })).ok, false)
      await other.touch("k", end + 1_000)
      assert.equal((await entryAt(store, "k", fresh)).expiresAt, end + 1_000)
      await store.delete("k")
      assert.equal(await other.get("k", fresh), null)
      await store.close()
      await put(other, "k", "4")
      assert.equal((await entryAt(other, "k", fresh)).value, "4")
    },
  ),

  checkShared(
    "SES-15",
    "inserts of one key through two handles at once: exactly one wins",
    async ({ store, second }) => {
      await insertOnce([store, await second()])
    },
  ),

  checkShared("KVS-02", "writers on two handles lose no update of each other", async ({ store, second }) => {
    await countExactly([store, await second()])
  }),

  checkShared(
    "REL-02 K14",
    "what was acknowledged is there when the store is opened again",
    async ({ store, clock, second }) => {
      if (!store.info.durable) return
      const version = await put(store, "k", '{"n":1}', { owner: "alice", expiresAt: clock.now() + 1_000 })
      await put(store, "gone", "1")
      await store.delete("gone")
      const before = await entryAt(store, "k")
      await store.close()
      const again = await second()
      assert.deepEqual(await again.get("k"), before)
      assert.equal(await again.get("gone"), null)
      assert.equal((await again.set("k", "2", { if: { version } })).ok, true)
    },
  ),
]

async function insertOnce(stores: readonly Store[]): Promise<void> {
  const outcomes = await Promise.all(
    Array.from({ length: PARALLEL }, (_, at) => handle(stores, at).set("k", String(at), { if: "absent" })),
  )
  const winners = outcomes.flatMap((outcome, at) => (outcome.ok ? [{ at, version: outcome.version }] : []))
  assert.equal(winners.length, 1)
  const entry = await entryAt(handle(stores, 0), "k", fresh)
  assert.deepEqual([{ at: Number(entry.value), version: entry.version }], winners)
  for (const outcome of outcomes) if (!outcome.ok) assert.deepEqual(outcome.current, entry)
}

async function countExactly(stores: readonly Store[]): Promise<void> {
  await put(handle(stores, 0), "n", "0")
  await Promise.all(Array.from({ length: PARALLEL }, (_, at) => addOne(handle(stores, at))))
  assert.equal((await entryAt(handle(stores, 0), "n", fresh)).value, String(PARALLEL))
}

async function addOne(store: Store): Promise<void> {
  let current = await entryAt(store, "n")
  for (;;) {
    const outcome = await store.set("n", String(Number(current.value) + 1), { if: { version: current.version } })
    if (outcome.ok) return
    assert.ok(outcome.current !== null && outcome.current.version !== current.version)
    current = outcome.current
  }
}

function handle(stores: readonly Store[], at: number): Store {
  return stores[at % stores.length] as Store // within bounds
}
