// One error class and one table of codes. A store wraps its driver's failure once, names itself and the verb, and keeps the
// driver's error as `cause`; everything above passes it on. Misuse that can be seen when things are configured is a TypeError.
//
// The line that matters most: `unavailable` promises that nothing happened, `unknown-outcome` says that it may have.

/** What each code means, and whether the same call may help later. The keys are the whole set of codes. */
const table = {
  /** The store could not be reached or refused; nothing was changed. */
  unavailable: true,
  /** A write was sent and no answer came: it may or may not have happened. Read before you write again. */
  "unknown-outcome": false,
  /** Somebody else's change stands against this one, and the rule for that key is "error", or retries ran out of time. */
  conflict: true,
  /** The store has no room for the write; nothing was changed. */
  full: true,
  /** What the store holds, or answered, is damaged or is no store of ours. */
  corrupt: false,
  /** The store, or the old service behind it, can't do this. */
  unsupported: false,
  /** The store refused the credentials. */
  denied: false,
  /** A key, value or cookie is over its limit. Nothing was changed. */
  "too-large": false,
  /** A key, value, option or reply is malformed. Nothing was changed. */
  invalid: false,
  /** The reply's headers are on their way: id, cookie and `data` can't change any more. `update` still can. */
  committed: false,
  /** The session was ended while this request was under way. */
  ended: false,
  /** The store was closed. */
  closed: false,
} as const

/** A stable name of what went wrong, made for `switch (error.code)`. */
export type ErrorCode = keyof typeof table

/** Every code, in the order of the table. */
export const errorCodes: readonly ErrorCode[] = Object.keys(table) as ErrorCode[] // the keys of a literal object are its type's keys

/**
 * The one error that this library throws at run time.
 *
 * `code` says what happened, `retryable` whether the same call may succeed later, `cause` what the driver said. The message
 * says what to do next, and never holds an id, a cookie, a secret or data.
 */
export class CoatcheckError extends Error {
  override readonly name = "CoatcheckError"
  readonly code: ErrorCode
  readonly retryable: boolean

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
    this.retryable = table[code]
  }
}
