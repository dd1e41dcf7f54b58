// The rules of ./store.ts as functions, for whoever writes a store: what all stores decide alike. First, what they ask of their
// arguments before they do anything, so that a bad call ends the same way everywhere: a CoatcheckError `invalid` or
// `too-large`, nothing stored, and not one byte of the key or the value in the message. Then the conditions of the contract, as
// pure functions of the entry that stands there, for stores that can decide in one atomic step with the write: a thread that
// does not wait in between, or a transaction. Last, pages. docs/reference/store-contract.md shows a whole store made of them.
//
// The checks run on every call of every store, so they are made for the usual case: an ASCII key costs one pass, and bytes are only
// counted when the number of characters leaves a doubt (a UTF-16 unit is at most 3 bytes of UTF-8). Values are not parsed: that
// they are JSON is the writer's promise. They must be well-formed Unicode, because an engine that keeps UTF-8 would turn a
// lone surrogate into another character in silence.

import { CoatcheckError } from "../errors.ts"
import { decode, encode, randomText, utf8Length } from "./crypto.ts"
import type { Entry, ListQuery, Outcome, Page, Report, SetOptions } from "./store.ts"
import { limits } from "./store.ts"

// With the u flag a surrogate only matches when it stands alone.
const unfit = /[\p{Cc}\p{Cs}]/u
const versionForm = /^[\w-]{1,64}$/

/** Where a store reports when it was given no `report`: one line on stderr. */
export const warn: Report = ({ store, message }) => console.warn(`coatcheck: ${store} store: ${message}`)

/** Where a store reports, given an option `report` or none. One that throws ends no call: what it was told goes to stderr instead. */
export function reporter(report: Report = warn): Report {
  return (one) => {
    try {
      report(one)
    } catch {
      warn(one)
    }
  }
}

/** Whether a text takes more than so many bytes of UTF-8. Counts only when the length leaves a doubt. */
export function exceeds(text: string, bytes: number): boolean {
  return text.length * 3 > bytes && (text.length > bytes || utf8Length(text) > bytes)
}

/**
 * Refuses what can't be a key: 1 to 512 bytes of well-formed Unicode without control characters.
 *
 * @throws CoatcheckError `invalid` or `too-large`.
 */
export function checkKey(key: string): void {
  checkName(key, "A key", limits.keyBytes)
}

/**
 * Refuses a value that is no well-formed text or takes more than `maxBytes` of UTF-8.
 *
 * @throws CoatcheckError `invalid` or `too-large`.
 */
export function checkValue(value: string, maxBytes: number): void {
  if (typeof value !== "string" || value === "" || !wellFormed(value)) {
    throw new CoatcheckError(
      "invalid",
      "A value must be JSON text: a string that is not empty, without lone surrogates",
    )
  }
  if (exceeds(value, maxBytes)) {
    throw new CoatcheckError("too-large", `A value may take ${maxBytes} bytes; store less, or raise maxValueBytes`)
  }
}

/**
 * Refuses bad arguments of `set`.
 *
 * @param maxBytes the longest value, in bytes of UTF-8. Default 1 MiB.
 * @throws CoatcheckError `invalid` or `too-large`.
 */
export function checkSet(
  key: string,
  value: string,
  options: SetOptions | undefined,
  maxBytes: number = limits.valueBytes,
): void {
  checkKey(key)
  checkValue(value, maxBytes)
  if (options === undefined) return
  const condition = options.if
  if (condition !== undefined && condition !== "absent") {
    if (typeof condition !== "object" || condition === null) {
      throw new CoatcheckError("invalid", 'The option "if" must be "absent" or { version }')
    }
    checkVersion(condition.version)
  }
  if (options.version !== undefined) checkVersion(options.version)
  if (options.expiresAt !== undefined) checkEnd(options.expiresAt)
  if (options.owner !== undefined && options.owner !== null) checkOwner(options.owner)
}

/**
 * Refuses bad arguments of `touch`.
 *
 * @throws CoatcheckError `invalid` or `too-large`.
 */
export function checkTouch(key: string, expiresAt: number | null, options?: { readonly version?: string }): void {
  checkKey(key)
  checkEnd(expiresAt)
  if (options?.version !== undefined) checkVersion(options.version)
}

/**
 * Refuses bad arguments of `delete`.
 *
 * @throws CoatcheckError `invalid` or `too-large`.
 */
export function checkDelete(key: string, options?: { readonly version?: string }): void {
  checkKey(key)
  if (options?.version !== undefined) checkVersion(options.version)
}

/** A query of `list` or `count` with its defaults filled in. null: not asked for. */
export interface CheckedQuery {
  /** "" asks for every key. */
  readonly prefix: string
  readonly owner: string | null
  readonly cursor: string | null
  readonly limit: number
  readonly values: boolean
}

/**
 * Fills in the defaults of a query of `list` or `count`.
 *
 * @throws CoatcheckError `invalid` or `too-large` when a part of it can't be.
 */
export function checkQuery(query: ListQuery = {}): CheckedQuery {
  const { prefix = "", owner = null, cursor = null, limit = limits.defaultPage, values = true } = query
  if (prefix !== "") checkName(prefix, "A prefix", limits.keyBytes)
  if (owner !== null) checkOwner(owner)
  if (cursor !== null && (typeof cursor !== "string" || cursor === "")) throw badCursor()
  if (!Number.isInteger(limit) || limit < 1 || limit > limits.page) {
    throw new CoatcheckError("invalid", `A page's limit must be a whole number from 1 to ${limits.page}`)
  }
  if (typeof values !== "boolean") throw new CoatcheckError("invalid", 'The option "values" must be true or false')
  return { prefix, owner, cursor, limit, values }
}

/** Whether an end has come: at or before now, by the caller's clock. Such an entry is absent, to every verb. */
export function isOver(expiresAt: number | null, now: number): boolean {
  return expiresAt !== null && expiresAt <= now
}

/** What a call on a closed store rejects with. `name`: the store's `info.name`. */
export function closedError(name: string): CoatcheckError {
  return new CoatcheckError("closed", `The ${name} store is closed; open a new one`)
}

/**
 * The outcome of a `set` that is not to be written: its condition fails, or it is written already (the current version is the
 * one that it was to write, and it was conditional). null: go on and write.
 *
 * @param current what stands there; null when that is nothing, expired or damaged.
 */
export function refusal(current: Entry | null, options: SetOptions): Outcome | null {
  const condition = options.if
  if (condition === undefined) return null
  if (current !== null && current.version === options.version) return { ok: true, version: current.version }
  const holds = condition === "absent" ? current === null : current?.version === condition.version
  return holds ? null : { ok: false, current }
}

/**
 * The entry that a `set` writes when nothing speaks against it: its version is the given one or a new one; end and owner that
 * were left out stay as they were, and null clears them.
 *
 * @param current what stands there; null when that is nothing, expired or damaged.
 */
export function written(current: Entry | null, key: string, value: string, options: SetOptions): Entry {
  const { version = randomText(12), expiresAt = current?.expiresAt ?? null, owner = current?.owner ?? null } = options
  return { key, value, version, expiresAt, owner }
}

/** Whether an entry has another version than a `touch` or a `delete` asks for; undefined: it asks for none. */
export function isOther(entry: Entry, version: string | undefined): boolean {
  return version !== undefined && version !== entry.version
}

/** The cursor of a page in byte order: the last key it looked at, made opaque. */
export function cursorAt(key: string): string {
  return encode(key)
}

/**
 * The key that a cursor of `cursorAt` stands for; null for no cursor.
 *
 * @throws CoatcheckError `invalid` when it is none of ours.
 */
export function cursorKey(cursor: string | null): string | null {
  if (cursor === null) return null
  const key = decode(cursor)
  if (key === null || key === "" || encode(key) !== cursor || unfit.test(key) || exceeds(key, limits.keyBytes))
    throw badCursor()
  return key
}

/**
 * The page that answers a query, for a store that has all of its entries at hand: in byte order, without what has ended. Looks at
 * every entry for every page; a store of many keeps an index instead, and uses `cursorAt` and `cursorKey`.
 *
 * @throws CoatcheckError `invalid` when the cursor is none of ours.
 */
export function pageOfAll(entries: Iterable<Entry>, query: CheckedQuery, now: number): Page {
  const { prefix, owner, limit, values } = query
  const after = cursorKey(query.cursor)
  const isAsked = (entry: Entry): boolean =>
    entry.key.startsWith(prefix) &&
    (owner === null || entry.owner === owner) &&
    (after === null || compareBytes(entry.key, after) > 0) &&
    !isOver(entry.expiresAt, now)
  const found = [...entries].filter(isAsked).sort((a, b) => compareBytes(a.key, b.key))
  const page = found.slice(0, limit)
  const last = found.length > limit ? page.at(-1) : undefined
  return {
    entries: values ? page : page.map((entry) => ({ ...entry, value: "" })),
    cursor: last === undefined ? null : cursorAt(last.key),
  }
}

/** Less than 0, 0 or more than 0, as the UTF-8 bytes of the first text come before, with or after those of the second. */
export function compareBytes(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length)
  for (let at = 0; at < shorter; at++) {
    const left = a.charCodeAt(at)
    const right = b.charCodeAt(at)
    if (left !== right) return rank(left) - rank(right)
  }
  return a.length - b.length
}

function checkOwner(owner: string): void {
  checkName(owner, "An owner", limits.ownerBytes)
}

function checkVersion(version: string): void {
  if (typeof version !== "string" || !versionForm.test(version)) {
    throw new CoatcheckError("invalid", "A version must be 1 to 64 characters of A-Z a-z 0-9 - _")
  }
}

function checkEnd(expiresAt: number | null): void {
  if (expiresAt !== null && !Number.isSafeInteger(expiresAt)) {
    throw new CoatcheckError("invalid", "expiresAt must be whole epoch milliseconds, or null for no end")
  }
}

function checkName(name: string, what: string, bytes: number): void {
  if (typeof name !== "string" || name === "" || unfit.test(name)) {
    const form = "a string that is not empty, without control characters and lone surrogates"
    throw new CoatcheckError("invalid", `${what} must be ${form}`)
  }
  if (exceeds(name, bytes)) throw new CoatcheckError("too-large", `${what} may take ${bytes} bytes of UTF-8`)
}

function badCursor(): CoatcheckError {
  return new CoatcheckError("invalid", "A cursor must be one that the last page of the same listing gave")
}

// Every runtime we support has it; the compiler's es2023 library does not name it yet.
function wellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed()
}

/** The place of a UTF-16 unit in the order of UTF-8: surrogates stand for code points above all others. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800
}
