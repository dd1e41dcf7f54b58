// The wire of services of years ago (GET, POST, PUT and DELETE of plain keys), for moving away from one. It knows values and
// nothing else: no version, no condition, no end, no owner. So this store says `atomic: false`, and what the wire can't do rejects
// with `unsupported` unless the URL says `lossy=1`. Then conditions are not looked at, ends and owners are dropped, and two
// writers lose each other's updates: good enough to try an old service out, and named so that nobody takes it by accident.
//
// Reading first and writing after, to imitate conditions, was rejected: it looks safe in every test and loses updates in use.
// A version here is a hash of the value. It tells that something changed; it does come back when a value does.

import { checkedStore } from "../../core/checked-store.ts"
import { type CheckedQuery, checkKey, closedError, cursorKey, pageOfAll } from "../../core/contract.ts"
import { randomText, sha256 } from "../../core/crypto.ts"
import type { DeleteOutcome, Entry, Outcome, Page, SetOptions, Store } from "../../core/store.ts"
import { CoatcheckError } from "../../errors.ts"
import { headers } from "../../protocol/headers.ts"
import { elements, jsonText, members, ownText, quote, readString } from "../../protocol/json.ts"
import { keyPath } from "../../protocol/paths.ts"
import type { HttpAddress, HttpSettings } from "./address.ts"
import { httpClient } from "./client.ts"
import { type Verdict, verdictOfReply, verdictOfRubbish } from "./errors.ts"
import type { HttpReply } from "./reply.ts"
import { requests } from "./requests.ts"
import { coarseTimer } from "../shared/timer.ts"

const NAME = "http"
/** A list of every key of a service comes in one reply. */
const MAX_KEYS_REPLY = 67_108_864
const ROOT = "/"

/** A store that speaks the classic wire; see the head of the file for what it can't do. */
export function classicStore(address: HttpAddress, settings: HttpSettings): Store {
  const where = address.origin
  const { clock, inFlight, maxQueued, maxValueBytes } = settings
  const client = httpClient(address)
  const calls = requests(client, where, coarseTimer(clock, settings.deadline), { inFlight, maxQueued })
  const maxReply = maxValueBytes + 8_192
  /** How the service takes writes; some know only PUT. */
  let write: "POST" | "PUT" = "POST"
  /** Whether it tells an absent key from a stored null; null: not known yet. */
  let tellsAbsent: boolean | null = null
  let closed = false

  async function get(key: string): Promise<Entry | null> {
    if (closed) throw closedError(NAME) // a listing may have asked for its keys before, and reads them now
    return entryOf(key, await calls.ask({ method: "GET", path: keyPath(key), maxReply }, false), "read")
  }

  async function set(key: string, value: string, options: SetOptions): Promise<Outcome> {
    if (options.if !== undefined) lose("conditions")
    if (typeof options.owner === "string") lose("owners")
    if (typeof options.expiresAt === "number") lose("ends")
    const text = jsonText(value)
    await put(`{${quote(key)}:${text}}`)
    return { ok: true, version: sha256(text) }
  }

  async function touch(key: string): Promise<Outcome> {
    lose("ends")
    const entry = await get(key)
    return entry === null ? { ok: false, current: null } : { ok: true, version: entry.version }
  }

  async function remove(key: string, version: string | undefined): Promise<DeleteOutcome> {
    if (version !== undefined) lose("conditions")
    const reply = await calls.ask({ method: "DELETE", path: keyPath(key), maxReply }, true)
    return { ok: true, removed: await entryOf(key, reply, "write") }
  }

  async function list(asked: CheckedQuery): Promise<Page> {
    cursorKey(asked.cursor) // a bad one is refused before the service is asked
    if (asked.owner !== null) throw unsupported("list by owner", "")
    const keys = await keysOf(asked.prefix)
    const bare = keys.map((key) => entry(key, "", "unknown"))
    const page = pageOfAll(bare, asked, clock.now())
    if (!asked.values) return page
    const read = await Promise.all(page.entries.map(({ key }) => get(key)))
    return { entries: read.filter((found) => found !== null), cursor: page.cursor }
  }

  async function put(body: string): Promise<void> {
    const reply = await calls.ask({ method: write, path: ROOT, body, maxReply }, true)
    if (reply.status === 405 && write === "POST") {
      write = "PUT" // 405 says that nothing was done, so this is no second write
      return put(body)
    }
    refuse(reply, "write")
  }

  async function keysOf(prefix: string): Promise<string[]> {
    const search = prefix === "" ? "" : `?prefix=${encodeURIComponent(prefix)}`
    const reply = await calls.ask({ method: "GET", path: ROOT + search, maxReply: MAX_KEYS_REPLY }, false)
    refuse(reply, "read")
    const keys = parsed("read", () =>
      elements(members(reply.body).get("keys") ?? "").map((text) => readString({ text, at: 0 })),
    )
    return keys.filter((key) => key.startsWith(prefix) && isKey(key))
  }

  /** The entry that a reply of the form {"<key>": value} tells. */
  async function entryOf(key: string, reply: HttpReply, does: keyof Verdict): Promise<Entry | null> {
    refuse(reply, does)
    const value = parsed(does, () => {
      const found = members(reply.body).get(key)
      if (found === undefined) throw new CoatcheckError("invalid", "The reply does not name the key")
      return ownText(found)
    })
    if (value === "null" && (isAbsent(reply) || !(await canTell(does)))) return null
    return entry(key, value, sha256(value))
  }

  /** Whether a null without the field is a stored one. A service that has not shown it yet is asked once, for a key that can't be there. */
  async function canTell(does: keyof Verdict): Promise<boolean> {
    if (tellsAbsent !== null) return tellsAbsent
    const path = keyPath(`coatcheck-absent-${randomText(16)}`)
    try {
      const reply = await calls.ask({ method: "GET", path, maxReply }, false)
      refuse(reply, "read")
      tellsAbsent = isAbsent(reply)
      return tellsAbsent
    } catch (cause) {
      // What a write asks this for has been done already.
      throw does === "read" ? cause : verdictOfRubbish(where, cause).write
    }
  }

  function isAbsent(reply: HttpReply): boolean {
    const absent = reply.fields.get(headers.absent) === "1"
    if (absent) tellsAbsent = true
    return absent
  }

  function refuse(reply: HttpReply, does: keyof Verdict): void {
    if (reply.status < 200 || reply.status > 299) throw verdictOfReply(where, reply)[does]
  }

  function parsed<T>(does: keyof Verdict, parse: () => T): T {
    try {
      return parse()
    } catch (cause) {
      throw verdictOfRubbish(where, cause)[does]
    }
  }

  function lose(what: string): void {
    if (!address.lossy) throw unsupported(`keep ${what}`, "; lossy=1 in the URL drops them")
  }

  async function close(): Promise<void> {
    closed = true
    await calls.idle()
    client.close()
  }

  const info = { name: NAME, ordered: true, shared: true, durable: true, atomic: false }
  return checkedStore({ info, get, set, touch, delete: remove, list, close }, maxValueBytes)
}

function entry(key: string, value: string, version: string): Entry {
  return { key, value, version, expiresAt: null, owner: null }
}

function unsupported(what: string, way: string): CoatcheckError {
  return new CoatcheckError(
    "unsupported",
    `The classic wire can't ${what}: use the strict wire of a newer service${way}`,
  )
}

function isKey(key: string): boolean {
  try {
    checkKey(key)
    return true
  } catch {
    return false // this store could not be asked for it
  }
}
