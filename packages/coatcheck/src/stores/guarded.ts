// A store that never lets its caller wait for long: each call has a deadline, so many may be under way at once and no more, and a
// store that has stopped answering is left alone until it answers again. What comes out is typed, whatever the store inside throws.
//
// The line between `unavailable` and `unknown-outcome` is kept here too. A read that was given up did not happen; a write that was
// given up may have, or may yet. So does a write that failed with an error that is none of ours. Only what is refused here, before the
// store is asked, and what the store itself calls `unavailable`, surely did not happen.
//
// Arguments go through as they are, since the store inside checks them. Rejected: a signal or a timer a call (1.5 µs each, and few
// drivers listen to a signal), a queue (a bounded one is a second cap with a delay in it), retries (an unconditional write must not be
// sent twice, and for a conditional one the caller knows best).

import { type Clock, type Duration, milliseconds, systemClock } from "../core/clock.ts"
import { closedError, reporter } from "../core/contract.ts"
import { checkOptions } from "../core/options.ts"
import type { Report, Store } from "../core/store.ts"
import { CoatcheckError, type ErrorCode } from "../errors.ts"
import { breaker, type Sign } from "./guarded/breaker.ts"
import { type Flight, flights } from "./guarded/flights.ts"

/** Settings of `guardedStore`, each with a default. */
export interface GuardedStoreOptions {
  /** How long a call may take. Default "1s"; it ends between nine tenths of that and all of it. */
  readonly deadline?: Duration
  /** Calls under way at once; one more rejects with `unavailable` at once. Default 10,000. */
  readonly maxInFlight?: number
  /** So many failures in a row, over at least 100 ms, and calls are refused at once. Default 10. */
  readonly breakAfter?: number
  /** After half to all of this the next call goes through as a probe, and an answer lets all calls pass again. Default "1s". */
  readonly retryAfter?: Duration
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told once when calls begin to be refused, once when they pass again, and of a store that can't be closed. Default: a line on stderr. */
  readonly report?: Report
}

const MAX_IN_FLIGHT = 10_000
const BREAK_AFTER = 10

const writes: ReadonlySet<string> = new Set<keyof Store>(["set", "touch", "delete"])

// What each code says of the store. One that refuses a condition, is full, or holds rubbish is there and answers.
const signs: Readonly<Record<ErrorCode, Sign>> = {
  unavailable: "dead",
  "unknown-outcome": "dead",
  conflict: "alive",
  full: "alive",
  corrupt: "alive",
  denied: "alive",
  unsupported: "none",
  "too-large": "none",
  invalid: "none",
  committed: "none",
  ended: "none",
  closed: "none",
}

/**
 * The same store with a deadline on every call, a bound on the calls under way, and a breaker.
 *
 * `openStore` puts it around stores that are reached over a network; one in this process or on this disk does not need it.
 * A read whose time is over rejects with `unavailable`, a write with `unknown-outcome`. `close` resolves within the deadline
 * whatever the store inside does, and tells `report` of a failure. `info` is that of the store inside.
 *
 * @throws TypeError when a setting makes no sense.
 */
export function guardedStore(store: Store, options: GuardedStoreOptions = {}): Store {
  checkOptions<GuardedStoreOptions>("guardedStore", options, {
    deadline: true,
    maxInFlight: true,
    breakAfter: true,
    retryAfter: true,
    clock: true,
    report: true,
  })
  const { clock = systemClock } = options
  const report = reporter(options.report)
  const deadline = milliseconds(options.deadline ?? "1s", "deadline")
  const maxInFlight = positive("maxInFlight", options.maxInFlight ?? MAX_IN_FLIGHT)
  const { info } = store
  const name = info.name
  const underWay = flights(clock, deadline, expire)
  const gate = breaker({
    clock,
    failures: positive("breakAfter", options.breakAfter ?? BREAK_AFTER),
    pause: milliseconds(options.retryAfter ?? "1s", "retryAfter"),
    opened(cause) {
      const message =
        "The store does not answer, so calls are refused until it does: see that it runs and can be reached"
      report({ store: name, kind: "outage", message, cause })
    },
    closed: () => report({ store: name, kind: "outage", message: "The store answers again, and calls pass" }),
  })
  let closing: Promise<void> | null = null

  function guard<T>(verb: keyof Store, call: () => Promise<T>): Promise<T> {
    if (closing !== null) return Promise.reject(closedError(name))
    if (underWay.count >= maxInFlight) return Promise.reject(overloadedError())
    const isProbe = gate.isOpen
    if (isProbe && !gate.probe()) return Promise.reject(refusedError())
    return launch(verb, isProbe, call)
  }

  function launch<T>(verb: keyof Store, isProbe: boolean, call: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const flight = underWay.begin(verb, isProbe, reject)
      const failed = (error: unknown): void => {
        if (underWay.end(flight)) fail(flight, error)
      }
      try {
        call().then((result) => {
          if (!underWay.end(flight)) return
          if (verb !== "close") gate.ended("alive", isProbe)
          resolve(result)
        }, failed)
      } catch (error) {
        failed(error)
      }
    })
  }

  function expire(flight: Flight): void {
    const read = `The ${name} store did not answer (${flight.verb}) within ${deadline} ms: try again, or raise the deadline`
    const write = `The ${name} store did not answer (${flight.verb}) within ${deadline} ms: read before you write again`
    fail(flight, lost(flight, read, write))
  }

  function fail(flight: Flight, reason: unknown): void {
    const error = reason instanceof CoatcheckError ? reason : foreign(flight, reason)
    const sign = flight.verb === "close" ? "none" : signs[error.code]
    if (sign === "dead") gate.failed(error, flight.isProbe)
    else gate.ended(sign, flight.isProbe)
    flight.reject(error)
  }

  function foreign(flight: Flight, cause: unknown): CoatcheckError {
    const read = `The ${name} store failed (${flight.verb}), and the cause says how: try again`
    const write = `The ${name} store failed (${flight.verb}), and may have written: read before you write again`
    return lost(flight, read, write, { cause })
  }

  /** A store that can't be closed does not keep its caller from stopping, who could do nothing about it. */
  function left(cause: unknown): void {
    const message = "The store could not be closed, and the cause says why: what it holds open ends with the process"
    report({ store: name, kind: "outage", message, cause })
  }

  function refusedError(): CoatcheckError {
    const message = `The ${name} store has stopped answering, so nothing is asked of it for a moment: try again in a second`
    return new CoatcheckError("unavailable", message, { cause: gate.cause })
  }

  function overloadedError(): CoatcheckError {
    const message = `Too many calls wait for the ${name} store (maxInFlight ${maxInFlight}): it is too slow for what is asked of it`
    return new CoatcheckError("unavailable", message)
  }

  const { count, watch } = store
  return {
    info,
    get: (key, asked) => guard("get", () => store.get(key, asked)),
    set: (key, value, asked) => guard("set", () => store.set(key, value, asked)),
    touch: (key, expiresAt, asked) => guard("touch", () => store.touch(key, expiresAt, asked)),
    delete: (key, asked) => guard("delete", () => store.delete(key, asked)),
    list: (query) => guard("list", () => store.list(query)),
    ...(count !== undefined && { count: (query) => guard("count", () => count.call(store, query)) }),
    ...(watch !== undefined && { watch: (onChange) => watch.call(store, onChange) }),
    close: () => (closing ??= launch("close", false, () => store.close()).catch(left)),
  }
}

function lost(flight: Flight, read: string, write: string, options?: { cause: unknown }): CoatcheckError {
  if (writes.has(flight.verb)) return new CoatcheckError("unknown-outcome", write, options)
  return new CoatcheckError("unavailable", read, options)
}

function positive(name: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`${name} must be a positive whole number`)
  return value
}
