// What a reply says when a session could not be kept, when a handler failed, and when the guard refused: problem details
// (RFC 9457) made of fixed sentences. Nothing of the error itself goes out, neither its message nor its stack, since both may say
// how the inside of a service is built; the error goes to the adapter's onError instead.

import { CoatcheckError, type ErrorCode } from "../errors.ts"
import type { Refusal } from "../core/guard.ts"

/** A whole reply of our own. */
export interface ProblemReply {
  readonly status: number
  /** JSON, ASCII. */
  readonly body: string
  /** Without Set-Cookie and Vary, which depend on the request. */
  readonly headers: readonly (readonly [name: string, value: string])[]
}

/** The problem that stands for an error. Of an error that is not ours it tells nothing but that something failed. */
export function problemReply(error: unknown): ProblemReply {
  const code = codeOf(error)
  return code === null ? serverError : replies[code]
}

/** The problem that stands for a refusal of the guard. */
export const refusalReplies: Readonly<Record<Refusal, ProblemReply>> = {
  site: reply(403, "urn:coatcheck:refused:site", "This request came from another site"),
  origin: reply(403, "urn:coatcheck:refused:origin", "This request came from a page of another origin"),
  unlabelled: reply(
    403,
    "urn:coatcheck:refused:unlabelled",
    "This request carries a session but does not say where it comes from",
  ),
}

const RETRY_AFTER_SECONDS = 2

function reply(status: number, type: string, title: string): ProblemReply {
  const body = JSON.stringify({ type, title, status })
  const headers: (readonly [string, string])[] = [
    ["Content-Type", "application/problem+json"],
    ["Content-Length", String(body.length)],
    ["Cache-Control", "no-store"],
  ]
  if (status === 503) headers.push(["Retry-After", String(RETRY_AFTER_SECONDS)])
  return { status, body, headers }
}

const serverError = reply(500, "about:blank", "Internal Server Error")
const notKept = "The session could not be kept, so nothing is shown that depends on it. Try again"

const told = (status: number, title: string) => (code: ErrorCode) => reply(status, `urn:coatcheck:error:${code}`, title)
const unavailable = told(503, notKept)
const conflicting = told(409, "Another request changed or ended this session. Load the page again")
const misused = told(500, "Internal Server Error")

const replies: Readonly<Record<ErrorCode, ProblemReply>> = {
  unavailable: unavailable("unavailable"),
  "unknown-outcome": unavailable("unknown-outcome"),
  conflict: conflicting("conflict"),
  full: unavailable("full"),
  corrupt: unavailable("corrupt"),
  unsupported: misused("unsupported"),
  denied: unavailable("denied"),
  "too-large": told(413, "The session would be too large")("too-large"),
  invalid: misused("invalid"),
  committed: misused("committed"),
  ended: conflicting("ended"),
  closed: unavailable("closed"),
}

// By name too, since a process may hold two copies of the library.
function codeOf(error: unknown): ErrorCode | null {
  if (!(error instanceof Error) || error.name !== "CoatcheckError") return null
  const { code } = error as CoatcheckError // whatever calls itself so is ours, or is checked here
  return Object.hasOwn(replies, code) ? code : null
}
