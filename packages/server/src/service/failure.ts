// What goes wrong, as an answer. A problem says what to do next and nothing about the inside: no message of a driver, no path, no
// stack. Those go to the log, the driver's words reduced to its error code, because they may quote what they were given.
//
// A failing store is always a 503 and never a 500: the service is well, and the same request may succeed in a moment. Whether
// something may have happened is told by the problem's type, which the http store turns back into the error it was.

import { CoatcheckError, type ErrorCode } from "coatcheck"
import { plainProblem, type Problem, problemOf } from "coatcheck/protocol"
import { gone, refuseBody } from "./body.ts"
import { type Call, sendEmpty, sendProblem } from "./call.ts"

// What each failure of the store says to a client. null: the request's own fault, told in the error's own words.
const storeFailures: Readonly<Record<ErrorCode, readonly [status: number, detail: string] | null>> = {
  invalid: null,
  "too-large": null,
  conflict: null,
  unavailable: [503, "The store did not answer and nothing was changed: send the same request again in a moment"],
  "unknown-outcome": [503, "The store did not answer: a write may have happened. Read before you write again"],
  closed: [503, "The store was closed and nothing was changed: ask another instance, or this one when it is back"],
  corrupt: [503, "The store holds or answered something damaged: see the service's log"],
  denied: [503, "The store refused the service's credentials: see the service's log"],
  full: [507, "The store is full and nothing was changed: remove records, or give it more room"],
  unsupported: [501, "The store behind the service can't do this"],
  committed: [503, "The store failed: see the service's log"],
  ended: [503, "The store failed: see the service's log"],
}

const tellEveryMs = 1_000
const withBody = new Set(["POST", "PUT"])

/** What the failing call would have done. */
export type Effect = "read" | "write"

/** Answers an error that came up while a request was served. */
export function sendFailure(call: Call, error: unknown): void {
  if (error === gone) return
  const problem = tellFailure(call, error, call.method === "GET" || call.method === "HEAD" ? "read" : "write")
  if (call.response.headersSent) {
    call.response.destroy() // half an answer must not look like a whole one
    return
  }
  if (problem.status === 413) {
    if (withBody.has(call.method)) return refuseBody(call, problem)
    return sendProblem(call, { ...problem, status: 400 }) // it is a part of the query, not of a body
  }
  sendProblem(call, problem, problem.status === 503 ? ["Retry-After", "1"] : [])
}

/** The problem that tells an error to the client; the log is told what only the operator should know. */
export function tellFailure(call: Call, error: unknown, effect: Effect): Problem {
  const safe = safeError(call, error, effect)
  const [status] = storeFailures[safe.code] ?? []
  const problem = problemOf(safe)
  return status === undefined ? problem : { ...problem, status }
}

/** The error as the client may know it; the log is told what only the operator should know. */
export function safeError(call: Call, error: unknown, effect: Effect): CoatcheckError {
  const failure = error instanceof CoatcheckError ? error : strayError(error, effect)
  const told = storeFailures[failure.code]
  if (told === null) return failure
  tellStoreFailure(call, failure)
  return new CoatcheckError(failure.code, told[1])
}

/** Answers 404: nothing is here. */
export function sendNotFound(call: Call, detail: string): void {
  sendProblem(call, plainProblem(404, "Not Found", detail))
}

/** Every method that some resource of the service takes. */
export const allMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

/** Answers a method that the resource does not take: 204 to OPTIONS, 405 to everything else. */
export function sendAllowed(call: Call, allow: string): void {
  if (call.method === "OPTIONS") return sendEmpty(call, 204, ["Allow", allow])
  const detail = `This resource takes ${allow}`
  sendProblem(call, plainProblem(405, "Method Not Allowed", detail), ["Allow", allow])
}

// A store that throws something of its own has broken its contract: of a write nobody knows then whether it happened.
function strayError(cause: unknown, effect: Effect): CoatcheckError {
  const code = effect === "read" ? "unavailable" : "unknown-outcome"
  return new CoatcheckError(code, "The store threw an error that is no CoatcheckError", { cause })
}

// A store that is down fails every request. The first failure of its kind is told at once, those after it once a second, counted.
function tellStoreFailure({ setting, route }: Call, failure: CoatcheckError): void {
  const { log, store } = setting
  if (log === undefined) return
  const cause = codeOfCause(failure.cause)
  const kind = `${failure.code} ${cause} ${route.kind}`
  const now = performance.now()
  const last = setting.told.get(kind)
  if (last !== undefined && now - last.at < tellEveryMs) {
    last.untold += 1
    return
  }
  if (setting.told.size >= 100) setting.told.clear()
  setting.told.set(kind, { at: now, untold: 0 })
  const fields = { store: store.info.name, code: failure.code, cause, route: route.kind, before: last?.untold }
  log.error(fields, printable(failure.message))
}

// A driver's message may quote a key or a value; its code can't. Codes are remembered, so they are cut.
function codeOfCause(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined
  const { code } = cause as { code?: unknown }
  return printable(typeof code === "string" || typeof code === "number" ? String(code) : cause.name).slice(0, 64)
}

/** A text without control characters and line breaks, which could forge a line of a log or move a terminal's cursor. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  })
}
