// An entry on the wire: {"key", "value", "version", "ttl", "owner"}, the value as raw JSON. What is left of its life travels, not
// its end: `ttl` is ms, null for no end. Written by the server with its clock and read by the client with its own. White space around
// a value would be lost between its neighbours, so such a value travels as a JSON string under another name, {"text": " [1] "}.
//
// The client adds what is left to the time at which it sent the request. The reply was made after that, so an entry never lives
// longer here than there; it may end earlier by as long as the request took, which the next read puts right.

import type { Entry, Page } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"
import { remaining } from "./headers.ts"
import {
  type Cursor,
  isPadded,
  members,
  ownText,
  quote,
  readArray,
  readEnd,
  readNull,
  readObject,
  readRaw,
  readString,
} from "./json.ts"

/** The member that holds a value: `"value":…`, or `"text":"…"` for one that white space surrounds. */
export function formatValue(value: string): string {
  return isPadded(value) ? `"text":${quote(value)}` : `"value":${value}`
}

/** A key, an owner and a version at their longest, escaped, and the names of the members. */
const ENTRY_BYTES = 8_192

/** How many bytes an entry takes at most whose value takes so many. In a string each quote and line break of it takes two. */
export function maxEntryBytes(valueBytes: number): number {
  return 2 * valueBytes + ENTRY_BYTES
}

/** An entry as JSON text. An empty value (a listing without values) is left out. */
export function formatEntry(entry: Entry, now: number): string {
  const value = entry.value === "" ? "" : `,${formatValue(entry.value)}`
  const owner = entry.owner === null ? "null" : quote(entry.owner)
  return `{"key":${quote(entry.key)}${value},"version":${quote(entry.version)},"ttl":${remaining(entry.expiresAt, now)},"owner":${owner}}`
}

/**
 * The entry at the cursor, or null when `null` stands there.
 *
 * @param sentAt - the reader's clock when it sent the request; `expiresAt` counts from there
 * @throws CoatcheckError `invalid` when it is no entry.
 */
export function readEntry(cursor: Cursor, sentAt: number): Entry | null {
  let key: string | undefined
  let value = ""
  let version: string | undefined
  let ttl: number | null = null
  let owner: string | null = null
  if (readNull(cursor)) return null
  readObject(cursor, (name) => {
    if (name === "key") key = ownText(readString(cursor))
    else if (name === "value") value = ownText(readRaw(cursor))
    else if (name === "text") value = ownText(readString(cursor))
    else if (name === "version") version = ownText(readString(cursor))
    else if (name === "ttl") ttl = readTtl(cursor)
    else if (name === "owner") owner = readNull(cursor) ? null : ownText(readString(cursor))
    else readRaw(cursor) // a later version may tell more
  })
  if (key === undefined || version === undefined)
    throw new CoatcheckError("invalid", "An entry has a key and a version")
  return { key, value, version, expiresAt: ttl === null ? null : sentAt + ttl, owner }
}

/** `ttl`: whole ms of at most fifteen digits, or null. */
export function readTtl(cursor: Cursor): number | null {
  const text = readRaw(cursor)
  if (text === "null") return null
  if (!/^\d{1,15}$/.test(text)) throw new CoatcheckError("invalid", "ttl is null or a whole number of milliseconds")
  return Number(text)
}

/** A page as the reply's body. */
export function formatPage(page: Page, now: number): string {
  const cursor = page.cursor === null ? "null" : quote(page.cursor)
  return `{"entries":[${page.entries.map((entry) => formatEntry(entry, now)).join(",")}],"cursor":${cursor}}`
}

/**
 * The page in a reply's body.
 *
 * @throws CoatcheckError `invalid` when it is none.
 */
export function parsePage(text: string, sentAt: number): Page {
  const found = members(text)
  const list = found.get("entries")
  const end = found.get("cursor")
  if (list === undefined || end === undefined) throw new CoatcheckError("invalid", "A page has entries and a cursor")
  const entries: Entry[] = []
  const at: Cursor = { text: list, at: 0 }
  readArray(at, () => {
    const entry = readEntry(at, sentAt)
    if (entry === null) throw new CoatcheckError("invalid", "A page has no empty places")
    entries.push(entry)
  })
  readEnd(at)
  return { entries, cursor: end === "null" ? null : readString({ text: end, at: 0 }) }
}
