// A store under trial: any store, with its calls counted, and made to fail or to wait on demand. It is how a test sees that a page
// calls no store, and what becomes of a reply when the store is down or slow.

import { CoatcheckError, type ErrorCode } from "../errors.ts"
import type { Store } from "../core/store.ts"

/** The verbs that sessions use. */
export type TrialVerb = "get" | "set" | "touch" | "delete" | "list"

/** A store that counts its calls, and fails or waits on demand. */
export interface TrialStore extends Store {
  /** The verbs called so far, in order. */
  readonly calls: readonly TrialVerb[]
  /** Forgets the calls so far. */
  forget(): void
  /** From now on these verbs (all, unless named) fail with this code, before they reach the store; null: they work again. */
  failWith(code: ErrorCode | null, ...verbs: TrialVerb[]): void
  /** Lets the next call of the verb wait until it is let go. */
  stop(verb: TrialVerb): StoppedCall
}

/** A call that waits. */
export interface StoppedCall {
  /** Resolves when the call has come. */
  readonly arrived: Promise<void>
  /** Lets it go on. */
  release(): void
}

/** Puts a store under trial. */
export function trialStore(store: Store): TrialStore {
  let calls: TrialVerb[] = []
  let failure: { readonly code: ErrorCode; readonly verbs: readonly TrialVerb[] } | null = null
  const stops: { readonly verb: TrialVerb; readonly gate: Promise<void>; arrive(): void }[] = []

  async function tried<T>(verb: TrialVerb, call: () => Promise<T>): Promise<T> {
    calls.push(verb)
    const index = stops.findIndex((stop) => stop.verb === verb)
    const [stop] = index === -1 ? [] : stops.splice(index, 1)
    stop?.arrive()
    await stop?.gate
    if (failure && (failure.verbs.length === 0 || failure.verbs.includes(verb))) {
      throw new CoatcheckError(failure.code, `the trial store fails ${verb}`, {
        cause: new Error("ECONNREFUSED db.internal"),
      })
    }
    return call()
  }

  return {
    info: store.info,
    get: (key, options) => tried("get", () => store.get(key, options)),
    set: (key, value, options) => tried("set", () => store.set(key, value, options)),
    touch: (key, expiresAt, options) => tried("touch", () => store.touch(key, expiresAt, options)),
    delete: (key, options) => tried("delete", () => store.delete(key, options)),
    list: (query) => tried("list", () => store.list(query)),
    close: () => store.close(),
    get calls() {
      return calls
    },
    forget() {
      calls = []
    },
    failWith(code, ...verbs) {
      failure = code === null ? null : { code, verbs }
    },
    stop(verb) {
      const arrival = signal()
      const gate = signal()
      stops.push({ verb, gate: gate.given, arrive: arrival.give })
      return { arrived: arrival.given, release: gate.give }
    },
  }
}

function signal(): { readonly given: Promise<void>; give(): void } {
  let give = (): void => {}
  const given = new Promise<void>((resolve) => {
    give = resolve
  })
  return { given, give: () => give() }
}
