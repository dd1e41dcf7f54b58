// What to do when no answer came. A conditional call can be judged by one read, since each write has a version that nobody else
// has: mine stands there, so it landed; the one I built on stands there, so the same call may go out again (a conditional set that
// has landed answers ok when it is repeated); for anything else the caller's verdict decides, and what can't be told is told as
// `unknown-outcome`.
//
// All this is over soon after the call's own deadline, since a page waits for it: a connection that was cut leaves nearly all of that
// time, a store that is frozen has used it up. What is still under way then is left alone, and nothing more is sent.

import { CoatcheckError } from "../errors.ts"
import type { Clock } from "./clock.ts"
import type { Entry, Store } from "./store.ts"

/** What a look at the key says of the call: its result, that it did not happen ("again"), or that nobody can tell. */
export type Verdict<T> = { readonly result: T } | "again" | "unknown"

/** A call that failed. */
export interface FailedCall {
  readonly store: Store
  readonly key: string
  readonly clock: Clock
  /** When it was made, by that clock. */
  readonly madeAt: number
  /** What it rejected with. */
  readonly error: unknown
}

const MOST_CALLS = 3
/** This part of the deadline is there for the look, however long the call took. */
const SLACK = 0.25

/**
 * Settles a conditional call that failed: by a look at its key where the outcome is unknown, and by the same call again where it
 * did not happen. Callers make the first call themselves, since it nearly always answers and then this costs nothing. Where the
 * store has a deadline, this ends at that and a quarter, counted from when the call was made.
 *
 * @param again makes the call once more. It gets the error of the attempt before, for what was sent without an answer may still
 *   arrive late, so a refusal says less the second time; where it says too little, the call throws that error.
 * @throws CoatcheckError the call's own error unless its outcome was unknown; `unknown-outcome` when the look failed, came too late
 *   or could not tell.
 */
export async function settle<T>(
  { store, key, clock, madeAt, error }: FailedCall,
  again: (unknown: CoatcheckError) => Promise<T>,
  judge: (stands: Entry | null) => Verdict<T>,
): Promise<T> {
  if (!isUnknown(error)) throw error
  let unknown = error
  let isOver = false

  async function lookAndRepeat(): Promise<T> {
    for (let sent = 1; sent < MOST_CALLS; sent++) {
      const verdict = judge(await look(store, key, unknown))
      if (isOver || verdict === "unknown") break
      if (verdict !== "again") return verdict.result
      try {
        return await again(unknown)
      } catch (next) {
        // That the repetition was refused says nothing of the call before it, which may still arrive.
        if (!isUnknown(next)) break
        unknown = next
      }
    }
    throw unknown
  }

  async function giveUp(ms: number, signal: AbortSignal): Promise<never> {
    await clock.sleep(ms, signal)
    isOver = true
    throw unknown
  }

  const { deadline } = store.info
  if (deadline === undefined) return lookAndRepeat()
  const answered = new AbortController() // a timer that nobody waits for would keep a process from ending
  try {
    const left = timeLeft(deadline, clock.now() - madeAt)
    return await Promise.race([lookAndRepeat(), giveUp(left, answered.signal)])
  } finally {
    answered.abort()
  }
}

/** ms that are left after a call that took so many, by a clock that may have been put forward or back meanwhile. */
function timeLeft(deadline: number, took: number): number {
  const slack = Math.ceil(deadline * SLACK)
  return slack + Math.min(deadline, Math.max(0, deadline - took))
}

function isUnknown(error: unknown): error is CoatcheckError {
  return error instanceof CoatcheckError && error.code === "unknown-outcome"
}

// A failed look says nothing of what happened: the first error is the one to tell.
async function look(store: Store, key: string, unknown: CoatcheckError): Promise<Entry | null> {
  try {
    return await store.get(key, { fresh: true })
  } catch {
    throw unknown
  }
}
