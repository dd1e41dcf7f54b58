// Entries in this process: for tests, for development, for a site of one process that may forget everything when it ends.
//
// It is bounded, and what it does at the bound is a choice: expired entries make room first, then a write that needs room is
// refused with `full`. Throwing out the least recently used entry instead would end somebody's session in silence, which is
// what this library exists not to do; a site that outgrows the bound raises it, or moves to a store that has room.
//
// Nothing is copied, parsed or scanned: a get or a set of a known key is one look into a Map. Expired entries are absent at once;
// their memory is given back by the next writes, a few each, earliest first, so there is no timer to hold the process or to
// forget. The order of keys and the entries of an owner are kept up as keys come and go, which a set of a known key does not do.

import { checkedStore } from "../core/checked-store.ts"
import type { Clock } from "../core/clock.ts"
import { systemClock } from "../core/clock.ts"
import { type CheckedQuery, cursorAt, cursorKey, isOther, isOver, refusal, reporter } from "../core/contract.ts"
import { randomText } from "../core/crypto.ts"
import { checkOptions } from "../core/options.ts"
import type { DeleteOutcome, Entry, Outcome, Page, Report, SetOptions, Store } from "../core/store.ts"
import { limits } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"
import type { Ending } from "./memory/ends.ts"
import { ends } from "./memory/ends.ts"
import type { OrderedKeys } from "./memory/order.ts"
import { addKey, countOf, orderedKeys, pageOf, removeKey } from "./memory/order.ts"

/** Settings of `memoryStore`, each with a default. */
export interface MemoryStoreOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told, at most once a minute, when writes are refused for want of room. Default: a line on stderr. */
  readonly report?: Report
  /** How many entries it holds. Default 100,000. */
  readonly maxEntries?: number
  /** How much text it holds: keys, values and owners at two bytes a character, the most they can take. Default 256 MiB. */
  readonly maxBytes?: number
  /** The longest value, in bytes of UTF-8. Default 1 MiB. */
  readonly maxValueBytes?: number
}

/** An entry as it is kept: changed in place, never handed out. */
interface Slot extends Ending {
  readonly key: string
  value: string
  version: string
  expiresAt: number | null
  owner: string | null
}

const NAME = "memory"
const DEFAULT_ENTRIES = 100_000
const DEFAULT_BYTES = 268_435_456
/** How many expired entries one write clears away: more than it can add, so that they never pile up, and few enough to cost nothing. */
const SWEPT_A_WRITE = 8
const REPORT_EVERY_MS = 60_000

/**
 * A store in this process's memory: bounded, expiring, gone when the process ends.
 *
 * A write that needs more room than there is, expired entries apart, rejects with `full` and changes nothing. `count` may
 * count expired entries that no write has cleared away yet.
 *
 * @throws TypeError when a limit is not a positive whole number.
 */
export function memoryStore(options: MemoryStoreOptions = {}): Store {
  checkOptions<MemoryStoreOptions>("memoryStore", options, {
    clock: true,
    report: true,
    maxEntries: true,
    maxBytes: true,
    maxValueBytes: true,
  })
  const { clock = systemClock } = options
  const report = reporter(options.report)
  const maxEntries = limit("maxEntries", options.maxEntries ?? DEFAULT_ENTRIES)
  const maxBytes = limit("maxBytes", options.maxBytes ?? DEFAULT_BYTES)
  const maxValueBytes = limit("maxValueBytes", options.maxValueBytes ?? limits.valueBytes)

  const slots = new Map<string, Slot>()
  const owners = new Map<string, OrderedKeys>()
  let order = orderedKeys()
  let ending = ends<Slot>()
  let bytes = 0
  let reportAt = Number.NEGATIVE_INFINITY

  function get(key: string): Entry | null {
    const slot = live(key, clock.now())
    return slot === undefined ? null : entryOf(slot)
  }

  function set(key: string, value: string, options: SetOptions): Outcome {
    const now = clock.now()
    const slot = live(key, now)
    const refused = refusal(slot ?? null, options)
    if (refused !== null)
      return refused.ok ? refused : { ok: false, current: slot === undefined ? null : entryOf(slot) }
    const version = options.version ?? randomText(12)
    put(slot, key, value, version, options, now)
    return options.if === undefined ? { ok: true, version, created: slot === undefined } : { ok: true, version }
  }

  function touch(key: string, expiresAt: number | null, asked: string | undefined): Outcome {
    const now = clock.now()
    const slot = live(key, now)
    if (slot === undefined) return { ok: false, current: null }
    if (isOther(slot, asked)) return { ok: false, current: entryOf(slot) }
    const version = slot.version
    moveEnd(slot, expiresAt)
    sweep(now)
    return { ok: true, version }
  }

  function remove(key: string, asked: string | undefined): DeleteOutcome {
    const now = clock.now()
    const slot = live(key, now)
    if (slot === undefined) return { ok: true, removed: null }
    if (isOther(slot, asked)) return { ok: false, current: entryOf(slot) }
    drop(slot)
    sweep(now)
    return { ok: true, removed: entryOf(slot) }
  }

  function list({ prefix, owner, cursor, limit, values }: CheckedQuery): Page {
    const after = cursorKey(cursor)
    const now = clock.now()
    const all = owner === null ? order : owners.get(owner)
    const keys = all === undefined ? [] : pageOf(all, prefix, after, limit + 1)
    const entries: Entry[] = []
    for (const key of keys.slice(0, limit)) {
      const slot = slots.get(key) as Slot // the order holds exactly the keys of the map
      if (!isOver(slot.expiresAt, now)) entries.push(values ? entryOf(slot) : { ...entryOf(slot), value: "" })
    }
    return { entries, cursor: keys.length > limit ? cursorAt(keys[limit - 1] as string) : null }
  }

  function count({ prefix, owner }: CheckedQuery): number {
    const all = owner === null ? order : owners.get(owner)
    return all === undefined ? 0 : countOf(all, prefix)
  }

  function close(): void {
    slots.clear()
    owners.clear()
    order = orderedKeys()
    ending = ends()
  }

  /** The slot of a key, unless its end has come. Each verb asks the clock once, so that its slot can't end while it is at work. */
  function live(key: string, now: number): Slot | undefined {
    const slot = slots.get(key)
    return slot === undefined || isOver(slot.expiresAt, now) ? undefined : slot
  }

  /** Writes a value that may be written, over the live slot or as a new entry. */
  function put(
    slot: Slot | undefined,
    key: string,
    value: string,
    version: string,
    { expiresAt, owner }: SetOptions,
    now: number,
  ): void {
    sweep(now)
    if (slot === undefined) {
      create(key, value, version, expiresAt ?? null, owner ?? null, now)
      return
    }
    const newOwner = owner === undefined ? slot.owner : owner
    const more = 2 * (value.length - slot.value.length + lengthOf(newOwner) - lengthOf(slot.owner))
    if (more > 0) makeRoom(0, more, now)
    bytes += more
    slot.value = value
    slot.version = version
    if (newOwner !== slot.owner) {
      disown(slot)
      slot.owner = newOwner
      own(slot)
    }
    if (expiresAt !== undefined) moveEnd(slot, expiresAt)
  }

  function create(
    key: string,
    value: string,
    version: string,
    expiresAt: number | null,
    owner: string | null,
    now: number,
  ): void {
    const dead = slots.get(key)
    if (dead !== undefined) drop(dead)
    const slot: Slot = { key, value, version, expiresAt, owner, place: -1 }
    const size = sizeOf(slot)
    makeRoom(1, size, now)
    bytes += size
    slots.set(key, slot)
    addKey(order, key)
    own(slot)
    if (expiresAt !== null) ending.update(slot)
  }

  function moveEnd(slot: Slot, expiresAt: number | null): void {
    if (expiresAt === slot.expiresAt) return
    slot.expiresAt = expiresAt
    ending.update(slot)
  }

  /** Takes a slot out of the map and every index. */
  function drop(slot: Slot): void {
    slots.delete(slot.key)
    removeKey(order, slot.key)
    disown(slot)
    ending.remove(slot)
    bytes -= sizeOf(slot)
  }

  function own(slot: Slot): void {
    if (slot.owner === null) return
    let keys = owners.get(slot.owner)
    if (keys === undefined) {
      keys = orderedKeys()
      owners.set(slot.owner, keys)
    }
    addKey(keys, slot.key)
  }

  function disown(slot: Slot): void {
    if (slot.owner === null) return
    const keys = owners.get(slot.owner) as OrderedKeys // each owned slot is in its owner's set
    removeKey(keys, slot.key)
    if (keys.size === 0) owners.delete(slot.owner)
  }

  function sweep(now: number): void {
    for (let left = SWEPT_A_WRITE; left > 0; left--) {
      const slot = ending.due(now)
      if (slot === null) return
      drop(slot)
    }
  }

  /** Makes sure that so much more fits, at the cost of expired entries only. */
  function makeRoom(entries: number, more: number, now: number): void {
    while (slots.size + entries > maxEntries || bytes + more > maxBytes) {
      const slot = ending.due(now)
      if (slot === null) throw full(now)
      drop(slot)
    }
  }

  function full(now: number): CoatcheckError {
    const message = `the memory store is full (maxEntries ${maxEntries}, maxBytes ${maxBytes}); raise the limit, shorten sessions, or use a store on disk`
    if (now >= reportAt) {
      reportAt = now + REPORT_EVERY_MS
      report({ store: NAME, kind: "warning", message: `Writes are refused: ${message}` })
    }
    return new CoatcheckError("full", `Nothing was written: ${message}`)
  }

  const info = { name: NAME, ordered: true, shared: false, durable: false, atomic: true }
  return checkedStore({ info, get, set, touch, delete: remove, list, count, close }, maxValueBytes)
}

function entryOf(slot: Slot): Entry {
  return {
    key: slot.key,
    value: slot.value,
    version: slot.version,
    expiresAt: slot.expiresAt,
    owner: slot.owner,
  }
}

function sizeOf(slot: Slot): number {
  return 2 * (slot.key.length + slot.value.length + lengthOf(slot.owner))
}

function lengthOf(owner: string | null): number {
  return owner === null ? 0 : owner.length
}

function limit(name: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`${name} must be a positive whole number`)
  return value
}
