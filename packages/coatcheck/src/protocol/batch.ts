// Many operations in one request, and their results in the same order. Operations are independent: one that fails says so in its
// place, and no order among them is promised. A batch is read as a whole before any of it is done, so that a malformed one changes nothing.
//
//   {"ops":[{"op":"get","key":"a","fresh":true},{"op":"set","key":"b","value":{"n":1},"if":{"version":"x"},"version":"y","ttl":60000,"owner":"alice"},
//           {"op":"touch","key":"b","ttl":null},{"op":"delete","key":"a","version":"z"}]}
//   {"results":[{"status":200,"entry":{…}},{"status":200,"ok":true,"version":"y"},{"status":404,"ok":false,"current":null},
//               {"status":412,"ok":false,"current":{…}}]}
//
// Texts are put together by hand and read in one pass: a batch is what a busy page spends its time on. An unknown member of an
// operation is an error (a mistyped "version" would make a conditional write unconditional); of a result it is passed over.

import type { DeleteOutcome, Entry, Outcome, SetOptions } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"
import { formatEntry, formatValue, readEntry, readTtl } from "./entry.ts"
import { remaining } from "./headers.ts"
import {
  type Cursor,
  jsonText,
  ownText,
  quote,
  readArray,
  readEnd,
  readNull,
  readObject,
  readRaw,
  readString,
} from "./json.ts"
import { formatProblem, parseProblem, type Problem, problemOf } from "./problem.ts"

/** What one batch may hold. A service takes at least this much; a client sends no more, but a single operation always goes. */
export const batchLimits = { ops: 256, bytes: 4_194_304 } as const

/** One operation, in the contract's terms: ends are absolute, by the clock of whoever holds it. */
export type Operation =
  | { readonly op: "get"; readonly key: string; readonly fresh?: boolean }
  | { readonly op: "set"; readonly key: string; readonly value: string; readonly options: SetOptions }
  | {
      readonly op: "touch"
      readonly key: string
      readonly expiresAt: number | null
      readonly version: string | undefined
    }
  | { readonly op: "delete"; readonly key: string; readonly version: string | undefined }

/** One result as it was read, not yet matched with its operation. */
export interface Result {
  readonly status: number
  /** Undefined: the result of a `get`, or an error. */
  readonly ok: boolean | undefined
  readonly version: string | undefined
  /** `entry`, `current` or `removed`, whichever is there; undefined: none of them. */
  readonly entry: Entry | null | undefined
  readonly error: Problem | undefined
}

/** One operation as JSON text. The value must be valid JSON: it goes in as it is. */
export function formatOperation(operation: Operation, now: number): string {
  const start = `{"op":"${operation.op}","key":${quote(operation.key)}`
  if (operation.op === "get") return operation.fresh === true ? `${start},"fresh":true}` : `${start}}`
  if (operation.op === "set") return `${start},${formatValue(operation.value)}${formatOptions(operation.options, now)}}`
  const version = operation.version === undefined ? "" : `,"version":${quote(operation.version)}`
  if (operation.op === "delete") return `${start}${version}}`
  return `${start},"ttl":${remaining(operation.expiresAt, now)}${version}}`
}

function formatOptions(options: SetOptions, now: number): string {
  let text = ""
  if (options.if === "absent") text += ',"if":"absent"'
  else if (options.if !== undefined) text += `,"if":{"version":${quote(options.if.version)}}`
  if (options.version !== undefined) text += `,"version":${quote(options.version)}`
  if (options.expiresAt !== undefined) text += `,"ttl":${remaining(options.expiresAt, now)}`
  if (options.owner !== undefined) text += `,"owner":${options.owner === null ? "null" : quote(options.owner)}`
  return text
}

/** A request's body of operations that were formatted already. */
export function formatBatch(operations: readonly string[]): string {
  return `{"ops":[${operations.join(",")}]}`
}

/**
 * The operations in a request's body. Keys, versions and owners are checked for their JSON type only: limits are the store's business.
 *
 * @param now - the reader's clock; what is left of a life counts from there
 * @throws CoatcheckError `invalid` when the body is no batch, `too-large` when it holds more than `maxOps` operations.
 */
export function parseBatch(text: string, now: number, maxOps: number = batchLimits.ops): Operation[] {
  let operations: Operation[] | undefined
  const cursor: Cursor = { text, at: 0 }
  readObject(cursor, (name) => {
    if (name !== "ops" || operations) throw new CoatcheckError("invalid", 'A batch is {"ops": [...]} and nothing else')
    const found: Operation[] = []
    readArray(cursor, () => {
      if (found.length === maxOps) throw new CoatcheckError("too-large", `A batch holds at most ${maxOps} operations`)
      found.push(readOperation(cursor, found.length, now))
    })
    operations = found
  })
  readEnd(cursor)
  if (!operations) throw new CoatcheckError("invalid", 'A batch is {"ops": [...]} and nothing else')
  return operations
}

/** Which members each operation may have besides `op` and `key`. */
const allowed = {
  get: new Set(["fresh"]),
  set: new Set(["value", "text", "if", "version", "ttl", "owner"]),
  touch: new Set(["ttl", "version"]),
  delete: new Set(["version"]),
} as const

function readOperation(cursor: Cursor, index: number, now: number): Operation {
  let op = ""
  let key: string | undefined
  let value: string | undefined
  let version: string | undefined
  let ttl: number | null | undefined
  let fresh = false
  const options: { -readonly [name in keyof SetOptions]: SetOptions[name] } = {}
  const names: string[] = []
  readObject(cursor, (name) => {
    if (name === "op") op = readString(cursor)
    else if (name === "key") key = ownText(readString(cursor))
    else {
      names.push(name)
      if (name === "value") value = ownText(readRaw(cursor))
      else if (name === "text") value = jsonValue(ownText(readString(cursor)))
      else if (name === "version") version = options.version = ownText(readString(cursor))
      else if (name === "ttl") ttl = readTtl(cursor)
      else if (name === "fresh") fresh = readBoolean(cursor, "fresh")
      else if (name === "if") options.if = readCondition(cursor)
      else if (name === "owner") options.owner = readNull(cursor) ? null : ownText(readString(cursor))
      else throw malformed(index, "has an unknown member")
    }
  })
  if (op !== "get" && op !== "set" && op !== "touch" && op !== "delete")
    throw malformed(index, "is none of get, set, touch, delete")
  if (key === undefined) throw malformed(index, "has no key")
  for (const name of names) if (!allowed[op].has(name)) throw malformed(index, `has a member that ${op} does not take`)
  const expiresAt = typeof ttl === "number" ? now + ttl : ttl
  if (op === "get") return fresh ? { op, key, fresh } : { op, key }
  if (op === "delete") return { op, key, version }
  if (op === "touch") {
    if (expiresAt === undefined) throw malformed(index, "has no ttl: give one, or null for no end")
    return { op, key, expiresAt, version }
  }
  if (value === undefined) throw malformed(index, "has no value")
  if (expiresAt !== undefined) options.expiresAt = expiresAt
  return { op, key, value, options }
}

function jsonValue(text: string): string {
  jsonText(text)
  return text
}

function readCondition(cursor: Cursor): "absent" | { version: string } {
  const text = readRaw(cursor)
  if (text === '"absent"') return "absent"
  const inner: Cursor = { text, at: 0 }
  let version: string | undefined
  readObject(inner, (name) => {
    if (name !== "version") throw new CoatcheckError("invalid", '"if" is "absent" or {"version": "…"}')
    version = readString(inner)
  })
  if (version === undefined) throw new CoatcheckError("invalid", '"if" is "absent" or {"version": "…"}')
  return { version }
}

function malformed(index: number, what: string): CoatcheckError {
  return new CoatcheckError("invalid", `Operation ${index} of the batch ${what}`)
}

/** The result of a `get`. */
export function formatGet(entry: Entry | null, now: number): string {
  return entry === null ? '{"status":404,"entry":null}' : `{"status":200,"entry":${formatEntry(entry, now)}}`
}

/** The result of a `set` (412 when refused) or of a `touch` (404 when the key is absent, 412 when its version is another). */
export function formatOutcome(op: "set" | "touch", outcome: Outcome, now: number): string {
  if (outcome.ok) return `{"status":200,"ok":true,"version":${quote(outcome.version)}}`
  if (outcome.current !== null) return `{"status":412,"ok":false,"current":${formatEntry(outcome.current, now)}}`
  return `{"status":${op === "touch" ? 404 : 412},"ok":false,"current":null}`
}

/** The result of a `delete`. */
export function formatDeleteOutcome(outcome: DeleteOutcome, now: number): string {
  if (!outcome.ok) return `{"status":412,"ok":false,"current":${formatEntry(outcome.current, now)}}`
  if (outcome.removed === null) return '{"status":404,"ok":true,"removed":null}'
  return `{"status":200,"ok":true,"removed":${formatEntry(outcome.removed, now)}}`
}

/** The result of an operation that failed. */
export function formatFailure(error: unknown): string {
  const problem = problemOf(error)
  return `{"status":${problem.status},"error":${formatProblem(problem)}}`
}

/** A reply's body of results that were formatted already, in the order of the operations. */
export function formatResults(results: readonly string[]): string {
  return `{"results":[${results.join(",")}]}`
}

/**
 * The results in a reply's body, of which there must be `count`.
 *
 * @param sentAt - the reader's clock when it sent the request; what is left of a life counts from there
 * @throws CoatcheckError `invalid` when the body is no such reply.
 */
export function parseResults(text: string, count: number, sentAt: number): Result[] {
  const results: Result[] = []
  const cursor: Cursor = { text, at: 0 }
  readObject(cursor, (name) => {
    if (name === "results") readArray(cursor, () => results.push(readResult(cursor, sentAt)))
    else readRaw(cursor)
  })
  readEnd(cursor)
  if (results.length !== count) {
    throw new CoatcheckError("invalid", `A batch of ${count} operations was answered by ${results.length} results`)
  }
  return results
}

function readResult(cursor: Cursor, sentAt: number): Result {
  let status = 0
  let ok: boolean | undefined
  let version: string | undefined
  let entry: Entry | null | undefined
  let error: Problem | undefined
  readObject(cursor, (name) => {
    if (name === "status") status = Number(readRaw(cursor))
    else if (name === "ok") ok = readBoolean(cursor, "ok")
    else if (name === "version") version = readString(cursor)
    else if (name === "entry" || name === "current" || name === "removed") entry = readEntry(cursor, sentAt)
    else if (name === "error") error = parseProblem(readRaw(cursor)) ?? undefined
    else readRaw(cursor)
  })
  return { status, ok, version, entry, error }
}

function readBoolean(cursor: Cursor, name: string): boolean {
  const text = readRaw(cursor)
  if (text !== "true" && text !== "false") throw new CoatcheckError("invalid", `${name} is true or false`)
  return text === "true"
}
