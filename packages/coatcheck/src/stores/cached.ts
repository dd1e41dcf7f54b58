// A near-cache: entries that were read or written lately are answered from this process, in less than a microsecond, while the store
// behind it goes on deciding every condition. So a copy that is behind can cost a round trip, and never an update.
//
// How far behind may it be? What this process writes through this very store is seen at once. What others write is seen when the
// store's `watch` tells it; and because a channel may be broken without anybody knowing, no entry is served longer than `maxAge`
// after it was known to stand, whatever the channel says. That age is the whole promise, so there is no mode to be in.
//
// What keeps it honest in between is one rule: a read may fill the cache only if nothing has touched its key since it began, neither
// an invalidation nor the end of an own write nor a later read. A write teaches what it proved (a refused one too: what stands
// there is fresh), unless another write of that key or an invalidation overlapped it; one that failed teaches to forget.
// Absence is never kept: a session that has just begun elsewhere is found, and one that has ended costs a read.
//
// Rejected: write-behind (an acknowledged write would not be one), keeping listings, a timer for clearing up, serving what is too old
// while the store is down (an ended session would go on).

import { type Clock, type Duration, milliseconds, systemClock } from "../core/clock.ts"
import { isOver, reporter } from "../core/contract.ts"
import { checkOptions } from "../core/options.ts"
import type { DeleteOutcome, Entry, GetOptions, Outcome, Report, SetOptions, Store } from "../core/store.ts"
import { type Slot, shelf } from "./cached/shelf.ts"

/** Settings of `cachedStore`, each with a default. */
export interface CachedStoreOptions {
  /** No entry is served longer than this after it was known to stand in the store. Default "5s" where the store tells of changes, "1s" where it does not. */
  readonly maxAge?: Duration
  /** How many entries it holds. Default 10,000. */
  readonly maxEntries?: number
  /** How much text it holds: keys, values and owners at two bytes a character. Default 64 MiB. */
  readonly maxBytes?: number
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told at the start when several processes may use the store and it tells of no changes. Default: a line on stderr. */
  readonly report?: Report
}

const DEFAULT_ENTRIES = 10_000
const DEFAULT_BYTES = 67_108_864
const WATCHED_MS = 5_000
const UNWATCHED_MS = 1_000

/** A read under way. It may fill the cache as long as it stands in the map of reads. */
interface Read {
  readonly answer: Promise<Entry | null>
  /** When it began. */
  readonly at: number
}

/** The own writes of a key that are under way. */
interface Writing {
  count: number
  /** Something else happened to the key meanwhile, so what they prove may be over already. */
  isDoubtful: boolean
}

/**
 * The same store with a near-cache. Its `info.name` is that of the store inside with "cached-" before it.
 *
 * Let every write of this process go through it. `get(key, { fresh: true })` reads past it. Concurrent reads of a key share one.
 *
 * @throws TypeError when a setting makes no sense.
 */
export function cachedStore(store: Store, options: CachedStoreOptions = {}): Store {
  checkOptions<CachedStoreOptions>("cachedStore", options, {
    maxAge: true,
    maxEntries: true,
    maxBytes: true,
    clock: true,
    report: true,
  })
  const { clock = systemClock } = options
  const report = reporter(options.report)
  const { count, watch } = store
  const maxAge = milliseconds(options.maxAge ?? (watch === undefined ? UNWATCHED_MS : WATCHED_MS), "maxAge")
  const near = shelf(
    positive("maxEntries", options.maxEntries ?? DEFAULT_ENTRIES),
    positive("maxBytes", options.maxBytes ?? DEFAULT_BYTES),
  )
  const info = { ...store.info, name: `cached-${store.info.name}` }
  const reads = new Map<string, Read>()
  const writes = new Map<string, Writing>()
  let closing: Promise<void> | null = null

  const unwatch = watch?.call(store, (key) => (key === null ? forgetAll() : forgetOne(key)))
  if (watch === undefined && store.info.shared) {
    const message = `The ${store.info.name} store does not tell of changes, so what other processes write is seen after ${maxAge} ms at the latest`
    report({ store: info.name, kind: "warning", message })
  }

  // Reading

  function get(key: string, asked?: GetOptions): Promise<Entry | null> {
    if (asked?.fresh !== true) {
      const now = clock.now()
      const slot = near.use(key)
      if (slot !== undefined) {
        if (isNew(slot.at, now) && !isOver(slot.expiresAt, now)) return Promise.resolve(copyOf(slot))
        near.drop(key)
      }
      const read = reads.get(key)
      if (read !== undefined && isNew(read.at, now)) return share(read, key)
    }
    return look(key, asked)
  }

  /** Whether what was seen at that time may be served. Before it the clock was put back, and nobody knows. */
  function isNew(at: number, now: number): boolean {
    return now >= at && now - at < maxAge
  }

  async function share({ answer }: Read, key: string): Promise<Entry | null> {
    const entry = await answer
    if (entry === null) return null
    return isOver(entry.expiresAt, clock.now()) ? look(key, undefined) : copyOf(entry) // its end came while it was on its way
  }

  function look(key: string, asked: GetOptions | undefined): Promise<Entry | null> {
    const at = clock.now()
    near.sweep(at - maxAge)
    const answer = store.get(key, asked)
    const read: Read = { answer, at }
    reads.set(key, read) // a read that began before may not fill any more: this one knows better
    return answer.then(
      (entry) => {
        if (reads.get(key) === read) {
          reads.delete(key)
          learn(key, entry, at)
        }
        return entry
      },
      (error: unknown) => {
        if (reads.get(key) === read) reads.delete(key)
        throw error
      },
    )
  }

  // Writing

  async function write<Result extends Outcome | DeleteOutcome>(
    key: string,
    call: () => Promise<Result>,
    proves: (result: Result & { readonly ok: true }, at: number) => void,
  ): Promise<Result> {
    const at = clock.now()
    near.sweep(at - maxAge)
    const own = writes.get(key) ?? { count: 0, isDoubtful: false }
    writes.set(key, own)
    if (own.count++ > 0) own.isDoubtful = true
    try {
      const result = await call()
      reads.delete(key) // what they saw may be from before
      if (own.isDoubtful) near.drop(key)
      else if (result.ok)
        proves(result as Result & { readonly ok: true }, at) // it is, as was just seen
      else learn(key, result.current, at)
      return result
    } catch (error) {
      reads.delete(key)
      near.drop(key)
      throw error
    } finally {
      if (--own.count === 0) writes.delete(key)
    }
  }

  function set(key: string, value: string, how: SetOptions = {}): Promise<Outcome> {
    return write(
      key,
      () => store.set(key, value, how),
      ({ version }, at) => {
        const known = near.use(key)
        if (known?.version === version) return // the same call was answered before
        const base = isBase(known, how) ? known : undefined
        const kept = how.if === "absent" ? nothing : base
        const expiresAt = how.expiresAt === undefined ? kept?.expiresAt : how.expiresAt
        const owner = how.owner === undefined ? kept?.owner : how.owner
        if (expiresAt === undefined || owner === undefined) return near.drop(key) // what was left out stays, and is not known
        // An end that was taken over is as old as it was.
        const since = how.expiresAt === undefined && base !== undefined ? base.at : at
        learn(key, { key, value, version, expiresAt, owner }, since)
      },
    )
  }

  function touch(key: string, expiresAt: number | null, asked?: { readonly version?: string }): Promise<Outcome> {
    return write(
      key,
      () => store.touch(key, expiresAt, asked),
      ({ version }, at) => {
        const known = near.use(key)
        learn(key, known?.version === version ? { ...copyOf(known), expiresAt } : null, at)
      },
    )
  }

  function remove(key: string, asked?: { readonly version?: string }): Promise<DeleteOutcome> {
    return write(
      key,
      () => store.delete(key, asked),
      () => near.drop(key),
    )
  }

  // What is known

  /** What stands under a key has been seen to, at some time since `at`. */
  function learn(key: string, entry: Entry | null, at: number): void {
    if (entry === null) near.drop(key)
    else near.put(entry, at)
  }

  function forgetOne(key: string): void {
    reads.delete(key)
    near.drop(key)
    const own = writes.get(key)
    if (own !== undefined) own.isDoubtful = true
  }

  function forgetAll(): void {
    reads.clear()
    near.clear()
    for (const own of writes.values()) own.isDoubtful = true
  }

  function close(): Promise<void> {
    unwatch?.()
    forgetAll()
    return store.close()
  }

  return {
    info,
    get,
    set,
    touch,
    delete: remove,
    list: (query) => store.list(query),
    ...(count !== undefined && { count: (query) => count.call(store, query) }),
    ...(watch !== undefined && { watch: (onChange) => watch.call(store, onChange) }),
    close: () => (closing ??= close()),
  }
}

/** What an entry that is new has of what was left out. */
const nothing = { expiresAt: null, owner: null } as const

function isBase(known: Slot | undefined, how: SetOptions): known is Slot {
  return known !== undefined && typeof how.if === "object" && known.version === how.if.version
}

function copyOf({ key, value, version, expiresAt, owner }: Entry): Entry {
  return { key, value, version, expiresAt, owner }
}

function positive(name: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`${name} must be a positive whole number`)
  return value
}
