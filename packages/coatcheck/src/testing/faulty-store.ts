// A store that fails on command, over any other one. What it does is what networks do to a call: refuse it, lose it on the way, lose its
// answer, hold either back, or deliver it after the caller has given up. The rule that everything hangs on is kept: `unavailable`
// means that nothing was done, `unknown-outcome` that something may have been.
//
// Faults are told by position ("the third set from now") or by a plan that is asked for every call, so that a test can walk
// through each position of a run, or let a seed decide. Each fault that struck is counted: a test in which none did shows nothing.
// Held calls wait for `release`, never for time.

import type { DeleteOutcome, Entry, ListQuery, Outcome, Page, SetOptions, Store } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"

/** The verbs that can fail. `close` always goes through. */
export type StoreVerb = "get" | "set" | "touch" | "delete" | "list" | "count"

/** What happens to one call. Reads have no outcome to be unsure of, so a read that is lost rejects with `unavailable`. */
export type Fault =
  /** Nothing is done; rejects with `unavailable`. */
  | "refused"
  /** Nothing is done; rejects with `unknown-outcome`. */
  | "lost-request"
  /** It is done; rejects with `unknown-outcome`. */
  | "lost-reply"
  /** Rejects with `unknown-outcome` at once, and is done at the next `release`. */
  | "late"
  /** Waits for the next `release`, is done then and answers. */
  | "held-request"
  /** Is done, and answers at the next `release`. */
  | "held-reply"

/** One call, as a plan sees it. */
export interface StoreCall {
  readonly verb: StoreVerb
  /** null for `list` and `count`. */
  readonly key: string | null
  /** Which call of this verb it is, from 1. */
  readonly nth: number
}

/** Which calls a fault strikes. */
export interface FaultPosition {
  /** Left out: any verb. */
  readonly verb?: StoreVerb
  /** The first call that is struck, counted from now on; 1 is the next one. Default 1. */
  readonly nth?: number
  /** How many calls in a row. Default 1. */
  readonly times?: number
}

/** A store that fails, and the way to tell it when. */
export interface FaultyStore {
  /** Hand this to what is under test. */
  readonly store: Store
  /** How often each verb was called, failed or not. */
  readonly calls: Readonly<Record<StoreVerb, number>>
  /** How many faults struck so far. */
  readonly struck: number
  /** How many calls wait for `release` now. */
  readonly held: number
  /** Makes calls fail. Where several orders are for the same call, the earliest one counts. */
  inject(fault: Fault, position?: FaultPosition): void
  /** Forgets the orders that did not strike yet. */
  clear(): void
  /** Lets every held call go on, and resolves when they and the late ones are done. */
  release(): Promise<void>
  /** Resolves as soon as so many calls are held. Default 1. */
  whenHeld(count?: number): Promise<void>
}

interface Order {
  readonly fault: Fault
  readonly verb: StoreVerb | undefined
  /** Calls to let through first. */
  pass: number
  left: number
}

interface Held {
  readonly done: Promise<unknown>
  go(): void
}

const reads: readonly StoreVerb[] = ["get", "list", "count"]

/**
 * Wraps a store so that calls fail on command.
 *
 * @param plan asked for each call that no order is for; undefined: the call goes through.
 */
export function faultyStore(inner: Store, plan: (call: StoreCall) => Fault | undefined = () => undefined): FaultyStore {
  const calls: Record<StoreVerb, number> = { get: 0, set: 0, touch: 0, delete: 0, list: 0, count: 0 }
  let orders: Order[] = []
  let held: Held[] = []
  let watchers: { readonly count: number; wake(): void }[] = []
  let struck = 0

  function call<T>(verb: StoreVerb, key: string | null, act: () => Promise<T>): Promise<T> {
    const nth = ++calls[verb]
    const fault = ordered(verb) ?? plan({ verb, key, nth })
    if (fault === undefined) return act()
    struck++
    return suffer(fault, verb, act)
  }

  function ordered(verb: StoreVerb): Fault | undefined {
    let fault: Fault | undefined
    for (const order of orders) {
      if (order.verb !== undefined && order.verb !== verb) continue
      if (order.pass > 0) order.pass--
      else if (fault === undefined) {
        fault = order.fault
        order.left--
      }
    }
    orders = orders.filter(({ left }) => left > 0)
    return fault
  }

  async function suffer<T>(fault: Fault, verb: StoreVerb, act: () => Promise<T>): Promise<T> {
    switch (fault) {
      case "refused":
        throw failure(verb, false)
      case "lost-request":
        throw failure(verb, true)
      case "lost-reply":
        await act()
        throw failure(verb, true)
      case "late":
        void hold(act).catch(() => {}) // nobody is there to be told any more
        throw failure(verb, true)
      case "held-request":
        return hold(act)
      case "held-reply": {
        const answer = act()
        answer.catch(() => {}) // told when it is released
        return hold(() => answer)
      }
    }
  }

  function hold<T>(act: () => Promise<T>): Promise<T> {
    let go = (): void => {}
    const gate = new Promise<void>((resolve) => {
      go = resolve
    })
    const done = gate.then(act)
    held.push({ done, go })
    watchers = watchers.filter(({ count, wake }) => {
      if (held.length < count) return true
      wake()
      return false
    })
    return done
  }

  async function release(): Promise<void> {
    const going = held
    held = []
    for (const { go } of going) go()
    await Promise.allSettled(going.map(({ done }) => done))
  }

  function whenHeld(count = 1): Promise<void> {
    if (held.length >= count) return Promise.resolve()
    return new Promise((wake) => {
      watchers.push({ count, wake })
    })
  }

  const { watch, count } = inner
  const store: Store = {
    info: inner.info,
    get: (key, options): Promise<Entry | null> => call("get", key, () => inner.get(key, options)),
    set: (key, value, options?: SetOptions): Promise<Outcome> => call("set", key, () => inner.set(key, value, options)),
    touch: (key, expiresAt, options): Promise<Outcome> =>
      call("touch", key, () => inner.touch(key, expiresAt, options)),
    delete: (key, options): Promise<DeleteOutcome> => call("delete", key, () => inner.delete(key, options)),
    list: (query?: ListQuery): Promise<Page> => call("list", null, () => inner.list(query)),
    close: () => inner.close(),
    ...(count && { count: (query) => call("count", null, () => count.call(inner, query)) }),
    ...(watch && { watch: (onChange) => watch.call(inner, onChange) }),
  }

  return {
    store,
    calls,
    get struck() {
      return struck
    },
    get held() {
      return held.length
    },
    inject: (fault, { verb, nth = 1, times = 1 } = {}) => {
      orders.push({ fault, verb, pass: nth - 1, left: times })
    },
    clear: () => {
      orders = []
    },
    release,
    whenHeld,
  }
}

function failure(verb: StoreVerb, isUnknown: boolean): CoatcheckError {
  return isUnknown && !reads.includes(verb)
    ? new CoatcheckError("unknown-outcome", `faulty store, ${verb}: no answer came; read before you write again`)
    : new CoatcheckError("unavailable", `faulty store, ${verb}: out of reach; nothing was done, try again`)
}
