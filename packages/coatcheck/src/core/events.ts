// What happens to sessions, told to one hook. Metrics, traces and audit logs are made from it, outside the core. A handle names a
// session here, never an id. A hook that throws, rejects or hangs changes nothing of what happens to the session.

/** Why a session ended, or why a change was dropped. */
export type EndReason =
  /** This request ended it. */
  | "destroyed"
  /** A change or a touch found that it had been ended meanwhile; the change was dropped. */
  | "gone"
  /** A request brought a well-formed id that has no record: it ran out, was ended, or was never given out. */
  | "lapsed"
  /** All sessions of its owner were ended after somebody had signed in to it. */
  | "revoked"

/** Why something that a request brought, or wanted, was refused. The request goes on without a session. */
export type RefusalReason =
  /** The cookie's value has not the form of an id, or of a signed session. */
  | "malformed"
  /** The cookie was there more than once, and not exactly one of them could be the true one. */
  | "duplicate"
  /** No listed secret made this signature. */
  | "signature"
  /** The record is damaged, or none of ours. */
  | "damaged"
  /** The cookie is for HTTPS only, and the request came over plain HTTP. */
  | "insecure"

/** One thing that happened. */
export type SessionEvent =
  | { readonly type: "created"; readonly handle: string }
  | { readonly type: "loaded"; readonly handle: string }
  | { readonly type: "committed"; readonly handle: string; readonly wrote: "record" | "end" }
  | { readonly type: "conflict"; readonly handle: string; readonly keys: readonly string[] }
  | { readonly type: "rotated"; readonly handle: string; readonly from: string }
  /** Somebody signed in, under a new id. `from`: the handle of the session before it; null: there was none. */
  | { readonly type: "signed-in"; readonly handle: string; readonly from: string | null }
  | { readonly type: "ended"; readonly handle: string; readonly why: EndReason }
  | { readonly type: "refused"; readonly why: RefusalReason }
  /** A touch failed: the session may end sooner than it should. The reply is as it would have been. */
  | { readonly type: "touch-failed"; readonly handle: string; readonly error: unknown }

/** The hook's type. What it returns is ignored. */
export type OnEvent = (event: SessionEvent) => unknown

/** Tells the hook, and survives it. null: nobody listens, so that no event needs to be made. */
export type Tell = ((event: SessionEvent) => void) | null

/** A function that tells the hook, and survives it; null without a hook. */
export function teller(onEvent: OnEvent | undefined, complain: (message: string) => void): Tell {
  if (!onEvent) return null
  const failed = () => complain("coatcheck: the onEvent hook failed; sessions go on without it")
  return (event) => {
    try {
      const result = onEvent(event)
      if (result instanceof Promise) result.catch(failed)
    } catch {
      failed()
    }
  }
}
