// Whether calls may go to the store at all. A store that has stopped answering makes every request wait for its deadline, and keeps
// getting what it can't take; so after enough failures in a row calls are refused at once, until a probe shows that it is back.
//
// In a row, and over some time: one answer among the failures keeps the breaker closed. A cluster of which one shard is down
// answers two calls of three, and a ratio would refuse those as well. The time is there because at ten thousand calls a second
// such a shard has ten failures in a row now and then, though never a tenth of a second of them.
//
// The probe is the next call that comes after a pause, with jitter so that many processes don't probe in step: nothing is asked of
// the store that nobody wants. The pause does not grow, so a store that is back is found within it, however long it was away.
// An answer to any call closes the breaker, also one to a call from before it opened.

import type { Clock } from "../../core/clock.ts"
import type { CoatcheckError } from "../../errors.ts"

/** What the end of a call says of the store: it answers, it does not, or nothing (the call never got there). */
export type Sign = "alive" | "dead" | "none"

/** When to open, and for how long. */
export interface BreakerSettings {
  readonly clock: Clock
  /** Failures in a row. */
  readonly failures: number
  /** The longest pause before a probe, in ms; the shortest is half of it. */
  readonly pause: number
  /** Called once when it opens, with the last failure. */
  opened(cause: CoatcheckError): void
  /** Called once when it closes again. */
  closed(): void
}

/** The breaker of one store. */
export interface Breaker {
  /** false while calls pass freely: the usual case, and all there is to ask then. */
  readonly isOpen: boolean
  /** The failure that opened it; null while it is closed. */
  readonly cause: CoatcheckError | null
  /** Only when it is open: whether this call may go through as the probe. */
  probe(): boolean
  /** A call has ended. `isProbe`: it went through as the probe. */
  ended(sign: "alive" | "none", isProbe: boolean): void
  /** A call has failed in a way that says that the store does not answer. */
  failed(error: CoatcheckError, isProbe: boolean): void
}

/** Failures within so many ms are one event, however many they are. */
const SPAN_MS = 100

/** Makes a breaker, closed. */
export function breaker({ clock, failures, pause, opened, closed }: BreakerSettings): Breaker {
  let inARow = 0
  let firstAt = 0
  let cause: CoatcheckError | null = null
  let pausedAt = 0
  let pauseMs = 0
  let isProbing = false

  function rest(now: number): void {
    isProbing = false
    pausedAt = now
    pauseMs = pause * (0.5 + Math.random() / 2)
  }

  return {
    get isOpen() {
      return cause !== null
    },
    get cause() {
      return cause
    },
    probe() {
      const since = clock.now() - pausedAt
      if (isProbing || (since >= 0 && since < pauseMs)) return false // a clock that was put back ends the pause
      isProbing = true
      return true
    },
    ended(sign, isProbe) {
      if (sign === "none") {
        if (isProbe) isProbing = false // the next call is the probe
        return
      }
      inARow = 0
      if (cause === null) return
      cause = null
      isProbing = false
      closed()
    },
    failed(error, isProbe) {
      const now = clock.now()
      if (cause !== null) {
        if (isProbe) rest(now)
        return
      }
      if (inARow++ === 0) firstAt = now
      if (inARow < failures || Math.abs(now - firstAt) < SPAN_MS) return
      cause = error
      rest(now)
      opened(error)
    },
  }
}
