// The five verbs over a connection to Redis. A verb is one command or one script over one key, so it costs one round trip and works in a
// cluster; the driver sends what one tick has to say together. Conditions are decided in the server (./scripts.ts).
//
// A record with an owner is also in that owner's set (./owners.ts). The two live under different keys, perhaps on different servers, so the
// order matters: an insert or an unconditional set sends the set's entry first, along with the record, and is acknowledged when
// both are. A conditional set or a touch learns from its script that owner or end have moved, and then the set follows: before the
// acknowledgement when the owner moved, since somebody may be about to end all that is his; after it when only the end did.
// If the record was written and its owner's set can't be reached, the outcome is unknown: whoever reads sees it, who lists may not.
//
// Rejected: transactions over two keys (they must share a slot, which puts all that an owner has on one server and ties his
// records to his name), notifications about expired keys (they come late, or never).

import { checkedStore } from "../../core/checked-store.ts"
import type { Clock } from "../../core/clock.ts"
import { isOver } from "../../core/contract.ts"
import { randomText } from "../../core/crypto.ts"
import type { DeleteOutcome, Entry, Outcome, Report, SetOptions, Store } from "../../core/store.ts"
import { CoatcheckError } from "../../errors.ts"
import { coarseTimer } from "../shared/timer.ts"
import { callsTo, type Ways } from "./calls.ts"
import { unknown } from "./errors.ts"
import { listingOn } from "./listing.ts"
import { ownersOn } from "./owners.ts"
import { HEAD_BYTES, liveEntry, packEnd, packOwner } from "./record.ts"
import { deleteScript, setScript, touchScript } from "./scripts.ts"

/** `info.name` of the store. */
export const REDIS = "redis"
const TOLD_KEYS = 1_000
const TELL_AGAIN_MS = 3_600_000

/** What the store needs besides its connections. */
export interface RedisSettings {
  readonly clock: Clock
  readonly report: Report
  /** Milliseconds that a call may take. */
  readonly deadline: number
  readonly maxValueBytes: number
  /** Calls that may be under way. */
  readonly maxQueued: number
  /** Milliseconds that Redis keeps a record beyond its end. */
  readonly grace: number
  /** What the names of all keys begin with; a colon follows. */
  readonly prefix: string
}

/** The store over connections, which are its own from now on: `close` closes them. */
export function storeOn(ways: Ways, settings: RedisSettings): Store {
  const { clock, report, deadline, maxValueBytes, maxQueued, prefix } = settings
  const calls = callsTo(ways, coarseTimer(clock, deadline), maxQueued)
  const space = `${prefix}:entry:`
  const owners = ownersOn(calls, (owner) => `${prefix}:owner:${owner}`)
  const listing = listingOn({ calls, owners, space, readAll, background })
  const grace = String(settings.grace)
  const told = new Map<string, number>() // what was told, and until when not to tell it again

  // The verbs

  async function get(key: string): Promise<Entry | null> {
    const now = clock.now()
    const name = space + key
    try {
      return liveEntry(key, await calls.read(name, ["GET", name]), now, tellDamaged)
    } catch (error) {
      if (!isOfAnotherKind(error)) throw error
      tellDamaged(key)
      return null
    }
  }

  async function set(key: string, value: string, options: SetOptions): Promise<Outcome> {
    const now = clock.now()
    const since = calls.moment()
    const { version = randomText(12), expiresAt, owner } = options
    const creates = options.if === undefined || options.if === "absent"
    // An end that is left out is none for a new record, and not known for one that may stand there.
    const foreseen = options.if === "absent" ? (expiresAt ?? null) : expiresAt
    const early = creates && typeof owner === "string" ? index(owner, key, foreseen, now, since) : null
    early?.catch(() => {}) // looked at when the record is written
    const args = [String(now), grace, conditionOf(options), version, packEnd(expiresAt), packOwner(owner), value]
    const reply = await calls.script(setScript, space + key, args, since)
    if (!Array.isArray(reply)) return { ok: false, current: liveEntry(key, reply, now, tellDamaged) }
    const [created, moved, ownerNow, end] = reply as [number, number?, string?, string?] // what the script says it gives
    if (early !== null && foreseen !== undefined) await listed(early)
    else if (ownerNow !== undefined) {
      const late = index(ownerNow, key, end === "-" ? null : Number(end), now, since)
      if (moved === 1 || early !== null) await listed(late)
      else background(late)
    }
    return options.if === undefined ? { ok: true, version, created: created === 1 } : { ok: true, version }
  }

  async function touch(key: string, expiresAt: number | null, version = ""): Promise<Outcome> {
    const now = clock.now()
    const reply = await calls.script(touchScript, space + key, [String(now), grace, version, packEnd(expiresAt)])
    if (!Array.isArray(reply)) return { ok: false, current: liveEntry(key, reply, now, tellDamaged) }
    const [current, owner] = reply as [string, string?] // what the script says it gives
    if (owner !== undefined) background(index(owner, key, expiresAt, now))
    return { ok: true, version: current }
  }

  async function remove(key: string, version = ""): Promise<DeleteOutcome> {
    const now = clock.now()
    const reply = await calls.script(deleteScript, space + key, [String(now), version])
    const gone = Array.isArray(reply)
    const entry = liveEntry(key, gone ? (reply as unknown[])[0] : reply, now, tellDamaged)
    if (!gone && entry !== null) return { ok: false, current: entry }
    if (entry !== null && entry.owner !== null) background(owners.doubt(entry.owner, [{ key, score: "" }], now))
    return { ok: true, removed: entry }
  }

  // Their parts

  async function readAll(
    keys: readonly string[],
    values: boolean,
    now: number,
    since: number,
  ): Promise<(Entry | null)[]> {
    const command = (name: string): string[] =>
      values ? ["GET", name] : ["GETRANGE", name, "0", String(HEAD_BYTES - 1)]
    const names = keys.map((key) => space + key)
    const replies = await calls.readAll(
      names.map((name) => [name, command(name)]),
      since,
    )
    return keys.map((key, at) => {
      const reply = replies[at]
      if (isOfAnotherKind(reply)) tellDamaged(key)
      // A part of nothing is an empty text.
      const entry = reply === "" && !values ? null : liveEntry(key, reply, now, tellDamaged)
      return entry === null || values ? entry : { ...entry, value: "" }
    })
  }

  /** Puts a key that has not ended into its owner's set, and looks at those who have been there too long. undefined: its end is not known yet. */
  async function index(
    owner: string,
    key: string,
    expiresAt: number | null | undefined,
    now: number,
    since?: number,
  ): Promise<void> {
    if (isOver(expiresAt ?? null, now)) return
    const suspects = await owners.add(owner, key, expiresAt, now, since)
    if (suspects.length > 0) background(listing.examine(owner, suspects, now))
  }

  /** Waits for the owner's set; the record is written already. */
  async function listed(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      throw unknown("the record is written, its owner's list was not reached", error)
    }
  }

  /** Work on an owner's set that nobody waits for: whoever lists him next does it again. */
  function background(work: Promise<unknown>): void {
    work.catch((cause: unknown) => {
      if (!isNews("background", clock.now())) return
      const message = "An owner's list could not be brought up to date; the next touch or listing does it"
      report({ store: REDIS, kind: "background", message, cause })
    })
  }

  function tellDamaged(key: string): void {
    if (!isNews(`damaged ${key}`, clock.now())) return
    const message =
      "A record is damaged or not ours, and counts as absent: see who else writes under the store's prefix"
    report({ store: REDIS, kind: "damaged", message })
  }

  /** Whether it was not told lately. */
  function isNews(what: string, now: number): boolean {
    if ((told.get(what) ?? now) > now) return false
    if (told.size >= TOLD_KEYS) told.clear()
    told.set(what, now + TELL_AGAIN_MS)
    return true
  }

  async function close(): Promise<void> {
    await calls.end()
    await ways.reads.close()
    if (ways.writes !== ways.reads) await ways.writes.close()
  }

  const { reads } = ways
  return checkedStore(
    {
      info: { name: REDIS, ordered: false, shared: true, durable: true, atomic: true, deadline },
      get,
      set,
      touch,
      delete: remove,
      list: (query) => listing.page(query, clock.now()),
      count: (query) => listing.count(query, clock.now()),
      ...(reads.watch !== undefined && {
        watch: (onChange: (key: string | null) => void) =>
          reads.watch?.(space, (name) => onChange(name === null ? null : name.slice(space.length))) ?? (() => {}),
      }),
      close,
    },
    maxValueBytes,
  )
}

/** Whether it is the error that says that no text stands under a key. */
function isOfAnotherKind(error: unknown): boolean {
  return error instanceof CoatcheckError && error.code === "corrupt"
}

function conditionOf({ if: condition }: SetOptions): string {
  if (condition === undefined) return ""
  return condition === "absent" ? "*" : condition.version
}
