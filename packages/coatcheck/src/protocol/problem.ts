// Errors on the wire: problem details (RFC 9457) whose `type` names our code, so that the other end throws the same
// CoatcheckError. A problem that is plain HTTP (a path that isn't there, a method that isn't allowed) has the type about:blank.
//
// Whoever reads a problem reads what a stranger may have written: a type it doesn't know counts for its status alone.

import { CoatcheckError, type ErrorCode } from "../errors.ts"
import { members, readString } from "./json.ts"

/** The content type of a problem. */
export const problemType = "application/problem+json"

/** RFC 9457, the four members that we use. */
export interface Problem {
  /** `urn:coatcheck:error:<code>`, or about:blank. */
  readonly type: string
  readonly title: string
  readonly status: number
  /** What to do next; no key, value, token or secret. */
  readonly detail: string
}

/** The status and the title of each code. */
const table: Readonly<Record<ErrorCode, readonly [status: number, title: string]>> = {
  unavailable: [503, "The store is not available"],
  "unknown-outcome": [504, "It is not known whether the write happened"],
  conflict: [409, "Another change stands against this one"],
  full: [507, "The store is full"],
  corrupt: [500, "What the store holds is damaged"],
  unsupported: [501, "The store can't do this"],
  denied: [403, "Not allowed"],
  "too-large": [413, "Too large"],
  invalid: [400, "Malformed"],
  committed: [500, "The reply is on its way"],
  ended: [500, "The session was ended"],
  closed: [503, "The store was closed"],
}

const prefix = "urn:coatcheck:error:"

/** The HTTP status that stands for a code. */
export function statusOf(code: ErrorCode): number {
  return table[code][0]
}

/** The problem that tells an error. Of an error that is not ours it tells nothing but that something failed. */
export function problemOf(error: unknown): Problem {
  if (!(error instanceof CoatcheckError)) {
    return {
      type: "about:blank",
      title: "Internal Server Error",
      status: 500,
      detail: "The server failed: see its log",
    }
  }
  const [status, title] = table[error.code]
  return { type: prefix + error.code, title, status, detail: error.message }
}

/** A problem that is plain HTTP, such as 404, 405 or 421. */
export function plainProblem(status: number, title: string, detail: string): Problem {
  return { type: "about:blank", title, status, detail }
}

/** A problem as a reply's body. */
export function formatProblem(problem: Problem): string {
  return JSON.stringify(problem)
}

/** The problem in a reply's body, or null when it is none. Long texts are cut, and control characters are spaces: texts get into logs. */
export function parseProblem(text: string): Problem | null {
  try {
    const found = members(text)
    const string = (name: string): string => plain(readString({ text: found.get(name) ?? '""', at: 0 }).slice(0, 300))
    const status = Number(found.get("status"))
    if (!Number.isInteger(status) || status < 100 || status > 599) return null
    return { type: string("type"), title: string("title"), status, detail: string("detail") }
  } catch {
    return null // whatever it is, it is no problem document; the caller goes by the status
  }
}

function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ")
}

/** The code that a problem names; null when its type is none of ours. */
export function codeOf(problem: Problem): ErrorCode | null {
  const code = problem.type.startsWith(prefix) ? problem.type.slice(prefix.length) : ""
  return Object.hasOwn(table, code) ? (code as ErrorCode) : null // hasOwn has just shown it to be a key
}
