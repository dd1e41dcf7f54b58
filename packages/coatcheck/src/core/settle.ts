// What to do when no answer came. A conditional call can be judged by one read, since each write has a version that nobody else
// has: mine stands there, so it landed; the one I built on stands there, so the same call may go out again (a conditional set that
// has landed answers ok when it is repeated); for anything else the caller's verdict decides, and what can't be told is told as
// `unknown-outcome`.

import { CoatcheckError } from "../errors.ts"
import type { Entry, Store } from "./store.ts"

/** What a look at the key says of the call: its result, that it did not happen ("again"), or that nobody can tell. */
export type Verdict<T> = { readonly result: T } | "again" | "unknown"

const MOST_CALLS = 3

/**
 * Makes a conditional call, and settles an unknown outcome by a look at its key.
 *
 * @param call gets the error of the attempt before, or null: what was sent without an answer may still arrive late, so a refusal
 *   says less the second time. Where it says too little, the call throws that error.
 * @throws CoatcheckError what the call threw; `unknown-outcome` when the look failed or could not tell.
 */
export async function settled<T>(
  store: Store,
  key: string,
  call: (unknown: CoatcheckError | null) => Promise<T>,
  judge: (stands: Entry | null) => Verdict<T>,
): Promise<T> {
  let unknown: CoatcheckError | null = null
  for (let sent = 1; ; sent++) {
    try {
      return await call(unknown)
    } catch (error) {
      if (!(error instanceof CoatcheckError) || error.code !== "unknown-outcome" || sent === MOST_CALLS) throw error
      const verdict = judge(await look(store, key, error))
      if (verdict === "unknown") throw error
      if (verdict !== "again") return verdict.result
      unknown = error
    }
  }
}

// A failed look says nothing of what happened: the first error is the one to tell.
async function look(store: Store, key: string, unknown: CoatcheckError): Promise<Entry | null> {
  try {
    return await store.get(key)
  } catch {
    throw unknown
  }
}
