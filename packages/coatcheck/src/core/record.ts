// A session's record as text: readable JSON, what the system keeps apart from what the application keeps.
//
//   {"v":1,"created":1790000000000,"ends":1790043200000,"owner":null,"marks":{},"data":{"count":3}}
//
// A record is parsed whole and written whole by one JSON.stringify, so fields that a newer version added stay as they are, and
// "did anything change?" is one comparison of texts that also sees changes deep inside. Text that is not such a record is null:
// whoever can write to the store may have put anything there, so depth, number of members and names are bounded before the
// application sees it, and the same bounds hold when it is written.

import { CoatcheckError } from "../errors.ts"

/** The application's part of a session. */
export type SessionData = Record<string, unknown>

/** A parsed record. Times in epoch ms. */
export interface SessionRecord {
  readonly v: 1
  readonly created: number
  /** The absolute end. */
  readonly ends: number
  readonly owner: string | null
  readonly marks: Readonly<Record<string, string>>
  data: SessionData
}

const MAX_DEPTH = 512
const MAX_MEMBERS = 10_000
const FORBIDDEN = /"(?:__proto__|constructor|prototype)"\s*:|\\u/

/** A new record without data. */
export function newRecord(created: number, ends: number): SessionRecord {
  return { v: 1, created, ends, owner: null, marks: {}, data: emptyData() }
}

/**
 * A new record of somebody who signs in.
 *
 * @param mark the version of the owner's mark; null: there is none.
 */
export function signedInRecord(now: number, absolute: number, owner: string, mark: string | null): SessionRecord {
  return { ...newRecord(now, now + absolute), owner, marks: mark === null ? {} : { owner: mark } }
}

/** The record with these keys of another one's data, and no others. */
export function keeping(record: SessionRecord, text: string, keys: readonly string[]): SessionRecord {
  const from = parseRecord(text)?.data ?? {}
  const data = emptyData()
  for (const key of keys) if (Object.hasOwn(from, key)) data[key] = from[key]
  return { ...record, data }
}

// Loaded data inherits nothing, so a member of any name is only that. An object that is made by a constructor with an empty
// prototype keeps a fast shape; `Object.create(null)` and changing the prototype afterwards cost a request 5 µs and more.
const BareData = function BareData() {} as unknown as new () => SessionData // a function that is only called with `new`
BareData.prototype = Object.freeze(Object.create(null) as object)

/** Data without members; like all loaded data it inherits nothing. */
export function emptyData(): SessionData {
  return new BareData()
}

/** A record from its text; null when it is none of ours or over its bounds. */
export function parseRecord(text: string): SessionRecord | null {
  if (!withinBounds(text)) return null
  let record: unknown
  try {
    record = mayForbid(text) ? JSON.parse(text, dropForbidden) : JSON.parse(text)
  } catch {
    return null
  }
  if (!isRecord(record)) return null
  record.data = Object.assign(new BareData(), record.data)
  return record
}

/**
 * The text of a record.
 *
 * @throws CoatcheckError `invalid` when the data is not JSON or would not be read back as it was written.
 */
export function recordText(record: SessionRecord): string {
  return textUnlessSame(record, "") ?? ""
}

/**
 * The text of a record, or null when it is the same as `base`, which costs no further check: a base is text that was read or
 * written before.
 *
 * @throws CoatcheckError `invalid` when the data is not JSON or would not be read back as it was written.
 */
export function textUnlessSame(record: SessionRecord, base: string): string | null {
  let text: string
  try {
    text = JSON.stringify(record)
  } catch (cause) {
    throw new CoatcheckError("invalid", "session data must be JSON: no cycles, no BigInt, not too deep", { cause })
  }
  if (text === base) return null
  if (!withinBounds(text) || hasForbiddenName(text)) {
    throw new CoatcheckError(
      "invalid",
      `session data must have at most ${MAX_DEPTH} levels and ${MAX_MEMBERS} members, and none named __proto__, constructor or prototype`,
    )
  }
  return text
}

function isRecord(value: unknown): value is SessionRecord {
  if (!isObject(value)) return false
  const { v, created, ends, owner, marks, data } = value
  return (
    v === 1 &&
    Number.isSafeInteger(created) &&
    Number.isSafeInteger(ends) &&
    (owner === null || typeof owner === "string") &&
    isObject(marks) &&
    isObject(data)
  )
}

/** Whether a value is what JSON calls an object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

// Three searches for plain text are four times as fast as one for a pattern, and nearly every record ends here.
function mayForbid(text: string): boolean {
  return (text.includes("proto") || text.includes("constructor") || text.includes("\\u")) && FORBIDDEN.test(text)
}

function isForbidden(name: string): boolean {
  return name === "__proto__" || name === "constructor" || name === "prototype"
}

function dropForbidden(this: unknown, name: string, value: unknown): unknown {
  return isForbidden(name) ? undefined : value
}

function hasForbiddenName(text: string): boolean {
  if (!mayForbid(text)) return false
  let found = false
  JSON.parse(text, (name, value: unknown) => {
    found ||= isForbidden(name)
    return value
  })
  return found
}

// Each value follows an opening bracket or a comma, so these count values. Every level and every member takes at least two
// characters, so a short text can't be over either bound by enough to hurt.
function withinBounds(text: string): boolean {
  if (text.length <= MAX_DEPTH * 2) return true
  let depth = 0
  let members = 0
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 34 /* " */:
        i = endOfString(text, i)
        break
      case 91 /* [ */:
      case 123 /* { */:
        if (++depth > MAX_DEPTH || ++members > MAX_MEMBERS) return false
        break
      case 93 /* ] */:
      case 125 /* } */:
        depth--
        break
      case 44 /* , */:
        if (++members > MAX_MEMBERS) return false
    }
  }
  return true
}

function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === 92) slashes++
    if (slashes % 2 === 0) return end
  }
  return text.length
}
