// The carrier that keeps records in a store, under the hash of the id in the cookie. Every step is one conditional call on one
// key, and every unknown outcome is settled by one read, so that nothing here can bring an ended session back: create is "insert
// if absent" under an id that is used once, a write or a touch replaces what it has read, an ending removes the version that it has
// seen.

import { CoatcheckError } from "../errors.ts"
import type { Carrier, Fate, Kept, Renewal } from "./carrier.ts"
import type { Clock } from "./clock.ts"
import type { RandomSource } from "./crypto.ts"
import type { Tell } from "./events.ts"
import { isId, keyPrefix, newId, newVersion, type RawId, storedId } from "./id.ts"
import type { Change, Lanes } from "./lanes.ts"
import { recordText, type SessionRecord } from "./record.ts"
import { settle, type Verdict } from "./settle.ts"
import type { DeleteOutcome, Entry, Store } from "./store.ts"

/** What the carrier needs to know. */
export interface StoreCarrierSettings {
  readonly store: Store
  readonly clock: Clock
  readonly random: RandomSource
  /** The store's lanes, so that others who write sessions queue up with these. */
  readonly lanes: Lanes
  /** After so many ms no further attempt is made. */
  readonly deadline: number
  /** Keys are the ids themselves instead of their hashes. For lessons only. */
  readonly bare: boolean
  readonly tell: Tell
}

// 256 random bits don't collide; a random source that was replaced may.
const CREATE_ATTEMPTS = 3

/** A carrier over a store. */
export function storeCarrier(settings: StoreCarrierSettings): Carrier {
  const { store, clock, random, lanes, deadline, bare, tell } = settings
  const keyOf = (id: RawId): string => (bare ? id : keyPrefix + storedId(id))

  function find(values: readonly string[], prefixed: boolean): Promise<Kept | null> {
    const [value] = values
    if (value === undefined || values.length > 1) return findAmong(values, prefixed)
    if (!isId(value)) return Promise.resolve(refuse("malformed"))
    return store.get(keyOf(value)).then((entry) => {
      if (entry) return { cookie: value, entry }
      tell?.({ type: "ended", handle: storedId(value), why: "lapsed" })
      return null
    })
  }

  // A prefixed name can't be there twice in a good browser. Without a prefix, a sibling domain or another path may have set one:
  // the only one that leads to a session counts, and where two do, neither does.
  async function findAmong(values: readonly string[], prefixed: boolean): Promise<Kept | null> {
    if (values.length === 0) return null
    if (prefixed) return refuse("duplicate")
    const ids = values.filter(isId)
    const entries = await Promise.all(ids.map((id) => store.get(keyOf(id))))
    const alive = ids.flatMap((id, i) => (entries[i] ? [{ cookie: id, entry: entries[i] }] : []))
    return alive.length === 1 && alive[0] ? alive[0] : refuse("duplicate")
  }

  function refuse(why: "malformed" | "duplicate"): null {
    tell?.({ type: "refused", why })
    return null
  }

  async function again({ cookie, entry: { key } }: Kept): Promise<Kept | null> {
    const entry = await store.get(key, { fresh: true })
    return entry && { cookie, entry }
  }

  function create(record: SessionRecord, expiresAt: number): Promise<Kept> {
    return insert(recordText(record), expiresAt, record.owner)
  }

  // An insert that went unanswered and is not there may still arrive, even after the session was ended: nobody must hold its id
  // then. So each attempt has an id of its own, and what arrives late is a record that nobody can open.
  async function insert(value: string, expiresAt: number | null, owner: string | null): Promise<Kept> {
    for (let attempt = 1; attempt <= CREATE_ATTEMPTS; attempt++) {
      const id = newId(random)
      const entry: Entry = { key: keyOf(id), value, version: newVersion(random), expiresAt, owner }
      const { key, version } = entry
      const options = { if: "absent", version, expiresAt, ...(owner === null ? undefined : { owner }) } as const
      const judge = (stands: Entry | null): Verdict<boolean> =>
        stands || attempt < CREATE_ATTEMPTS ? { result: stands?.version === version } : "unknown"
      const send = async () => (await store.set(key, value, options)).ok
      const madeAt = clock.now()
      const inserted = await send().catch((error: unknown) => settle({ store, key, clock, madeAt, error }, send, judge))
      if (inserted) return { cookie: id, entry }
    }
    throw new CoatcheckError(
      "conflict",
      "new ids were taken three times in a row: the source of randomness repeats itself",
    )
  }

  function write({ cookie, entry }: Kept, change: Change): Promise<Kept> {
    return lanes.submit(entry.key, entry, change).then((written) => ({ cookie, entry: written }))
  }

  async function touch(kept: Kept, expiresAt: number): Promise<Fate<Kept>> {
    const { cookie, entry } = kept
    const outcome = await store.touch(entry.key, expiresAt, { version: entry.version })
    if (outcome.ok) return { cookie, entry: { ...entry, expiresAt } }
    const { current } = outcome
    if (!current) return "gone"
    // A request that wrote the newer version moved its end as well. Who spared the session (registry.ts) did not.
    const middle = ((entry.expiresAt ?? expiresAt) + expiresAt) / 2
    if (current.expiresAt === null || current.expiresAt >= middle) return kept
    const next = await store.touch(entry.key, expiresAt, { version: current.version })
    return next.ok || next.current ? kept : "gone"
  }

  // (1) insert the record under a new id, (2) delete the old one on its version. Whoever writes between the two makes (2) fail,
  // and the newer state is carried over before the next try; who ends the session between them ends the new one too. So where
  // it can't be told who removed the old one, the new one goes as well: what was ended stays ended. A sign-in stands by itself,
  // whatever became of the session before it; where that one was (or may have been) ended by somebody else, nothing of it is kept.
  async function rotate(
    kept: Kept,
    change: Change,
    renewal: Renewal | null,
    admit: () => Promise<void>,
  ): Promise<Fate<Kept>> {
    const until = clock.now() + deadline
    let old = kept.entry
    const end = renewal ? renewal.expiresAt : (change.end(old) ?? old.expiresAt)
    const inserted = await insert(change.apply(old.value), end, renewal ? renewal.owner : old.owner)
    const { cookie } = inserted
    let fresh = inserted.entry
    const rewrite = async (text: string): Promise<Entry> =>
      lanes.submit(fresh.key, fresh, { apply: () => text, end: () => undefined, creates: false })
    try {
      await admit()
      for (;;) {
        const outcome = await removeVersion(old, () => (renewal ? { result: { ok: true, removed: null } } : "unknown"))
        if (outcome.ok) {
          if (outcome.removed) return { cookie, entry: fresh }
          if (renewal) return { cookie, entry: await rewrite(renewal.alone) }
          await drop(fresh)
          return "gone"
        }
        if (clock.now() >= until)
          throw new CoatcheckError("conflict", "too many others changed this session at once; try again")
        old = outcome.current
        fresh = await rewrite(change.apply(old.value))
      }
    } catch (error) {
      await drop(fresh)
      throw error
    }
  }

  /** Deletes one version. Where no answer came and nothing stands there any more, `whenAbsent` says what that means. */
  function removeVersion(entry: Entry, whenAbsent: () => Verdict<DeleteOutcome>): Promise<DeleteOutcome> {
    const send = () => store.delete(entry.key, { version: entry.version })
    const sendAgain = async (unknown: CoatcheckError) => {
      const outcome = await send()
      if (outcome.ok && !outcome.removed) throw unknown // the call before may have arrived late
      return outcome
    }
    const judge = (stands: Entry | null): Verdict<DeleteOutcome> => {
      if (!stands) return whenAbsent()
      return stands.version === entry.version ? "again" : { result: { ok: false, current: stands } }
    }
    const madeAt = clock.now()
    return send().catch((error: unknown) => {
      return settle({ store, key: entry.key, clock, madeAt, error }, sendAgain, judge)
    })
  }

  /** Removes a record that nobody has the id of. If that fails it runs out by itself. */
  async function drop(entry: Entry): Promise<void> {
    await store.delete(entry.key).catch(() => undefined)
  }

  async function remove(kept: Kept): Promise<"removed" | "gone"> {
    const until = clock.now() + deadline
    let entry = kept.entry
    // It has ended, as was wanted; but where somebody else may have done it, by a new id perhaps, the cookie is not ours to clear.
    const hasEnded = () => ({ result: { ok: true, removed: null } }) as const
    for (;;) {
      const outcome = await removeVersion(entry, hasEnded)
      if (outcome.ok) return outcome.removed ? "removed" : "gone"
      if (clock.now() >= until)
        throw new CoatcheckError("conflict", "too many others changed this session at once; try again")
      entry = outcome.current
    }
  }

  function handle({ cookie, entry }: Kept): string {
    return bare ? storedId(cookie as RawId) : entry.key.slice(keyPrefix.length) // only ids get into a Kept of this carrier
  }

  return {
    afterReply: true,
    find,
    again,
    create,
    write,
    touch,
    rotate,
    remove,
    handle,
    secretOf: ({ cookie }) => cookie,
  }
}
