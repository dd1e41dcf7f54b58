// What an error of Postgres or its driver means for the call that met it: did it happen or not.
//
// An error that the server sent has a SQLSTATE, and by then the statement was undone: a call is one statement and a statement is all
// or nothing. The exceptions are the errors that end the connection (classes 08 and 57P): a backend that is told to go may
// have committed a moment before. An error without a SQLSTATE is the driver's: the connection broke, and whether the write
// landed is not known. What never left this process did not happen, whatever the error says.

import { CoatcheckError, type ErrorCode } from "../../errors.ts"

/** `info.name` of the store. */
export const POSTGRES = "postgres"

const advice = {
  unavailable: "nothing was changed; see the cause, and try again",
  "unknown-outcome": "the connection broke before the answer came; read before you write again",
  full: "the server's disk is full; make room, nothing was changed",
  denied: "the server refused the role or its password; check the URL and the grants",
  corrupt: "the server found damaged data; see its log, and restore a backup",
  invalid: "the value is no JSON that Postgres can take, or is nested too deeply; nothing was changed",
} as const satisfies Partial<Record<ErrorCode, string>>

type Failure = keyof typeof advice

/** By SQLSTATE, or by its class of two characters. Whatever is not here did not happen: `unavailable`. */
const failures: Readonly<Record<string, Failure>> = {
  "28": "denied",
  "42501": "denied",
  "53100": "full",
  XX001: "corrupt",
  XX002: "corrupt",
  "22P02": "invalid", // no JSON
  "22021": "invalid", // a byte that is no text there: U+0000
  "22P05": "invalid",
  "54001": "invalid", // nested deeper than its stack
}

/** Behind a pooler that gives each transaction another server, a statement that was prepared on one is missing on the next. */
const unprepared: ReadonlySet<string> = new Set(["26000", "42P05"])

/** The SQLSTATE of an error that the server sent; null: it is the driver's or the system's own. EPIPE has five letters too, and no digit. */
export function sqlState(error: unknown): string | null {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === "string" && /^(?=.*\d)[0-9A-Z]{5}$/.test(code) ? code : null
}

/** Whether the connection can't be used any more after this error. */
export function endsConnection(error: unknown): boolean {
  const state = sqlState(error)
  return state === null || state.startsWith("08") || state.startsWith("57P")
}

/**
 * Our error for a statement that failed.
 *
 * @param wrote - whether it was a write that may have reached the server
 */
export function statementFailure(error: unknown, wrote: boolean): CoatcheckError {
  const state = sqlState(error)
  if (endsConnection(error)) return failure(wrote ? "unknown-outcome" : "unavailable", error)
  if (state !== null && unprepared.has(state)) {
    const message = "The postgres store met a pooler that loses prepared statements: open it with prepare: false"
    return new CoatcheckError("unavailable", message, { cause: error })
  }
  return failure(kindOf(state), error)
}

/** Our error for a connection that could not be made. */
export function connectFailure(error: unknown): CoatcheckError {
  const kind = kindOf(sqlState(error))
  if (kind === "denied") return failure(kind, error)
  const message = "The postgres store can't reach the server: nothing was changed; see the cause, and try again"
  return new CoatcheckError("unavailable", message, { cause: error })
}

/** A call's time is over. */
export function overdue(wrote: boolean): CoatcheckError {
  return wrote
    ? new CoatcheckError("unknown-outcome", "The postgres store did not answer in time: read before you write again")
    : new CoatcheckError("unavailable", "The postgres store did not answer in time: nothing was changed, try again")
}

/** Too many calls wait. */
export function overloaded(): CoatcheckError {
  const message = "Too many calls wait for the postgres store: nothing was changed, try again in a moment"
  return new CoatcheckError("unavailable", message)
}

function kindOf(state: string | null): Failure {
  if (state === null) return "unavailable"
  return failures[state] ?? failures[state.slice(0, 2)] ?? "unavailable"
}

function failure(code: Failure, cause: unknown): CoatcheckError {
  // Where the server quotes a row or a value: an error is logged with its cause.
  if (sqlState(cause) !== null) Object.assign(cause as object, { detail: undefined, where: undefined })
  return new CoatcheckError(code, `The postgres store failed: ${advice[code]}`, { cause })
}
