// The calls under way, each with a deadline: a list in the order in which they began, which is the order in which their time runs out,
// so that the timer looks at those that are over and at one more. A call joins and leaves it by a few assignments.
//
// A call that is over has its answer; what the store says later is dropped, be it a result or an error.

import type { Clock } from "../../core/clock.ts"
import { coarseTimer } from "../shared/timer.ts"

/** A call under way. */
export interface Flight {
  readonly verb: string
  /** Whether it goes through an open breaker. */
  readonly isProbe: boolean
  /** The timer's turn in which it began. */
  readonly turn: number
  /** Its caller has an answer. */
  isOver: boolean
  reject(error: unknown): void
  before: Flight | null
  after: Flight | null
}

/** The calls under way of one store. */
export interface Flights {
  /** How many there are. */
  readonly count: number
  /** A call begins. */
  begin(verb: string, isProbe: boolean, reject: (error: unknown) => void): Flight
  /** The store has answered a call: true when nobody else has yet. */
  end(flight: Flight): boolean
}

/**
 * Makes an empty list.
 *
 * @param deadline in ms; a call ends between nine tenths of it and all of it.
 * @param expire - ends a call whose time is over.
 */
export function flights(clock: Clock, deadline: number, expire: (flight: Flight) => void): Flights {
  const timer = coarseTimer(clock, deadline)
  let first: Flight | null = null
  let last: Flight | null = null
  let count = 0

  function end(flight: Flight): boolean {
    if (flight.isOver) return false
    flight.isOver = true
    count--
    const { before, after } = flight
    if (before === null) first = after
    else before.after = after
    if (after === null) last = before
    else after.before = before
    return true
  }

  timer.watch((turn) => {
    for (let flight = first; flight !== null && flight.turn <= turn; flight = first) {
      end(flight)
      expire(flight)
    }
    return first !== null
  })

  return {
    get count() {
      return count
    },
    begin(verb, isProbe, reject) {
      const flight: Flight = { verb, isProbe, turn: timer.turn, isOver: false, reject, before: last, after: null }
      if (last === null) first = flight
      else last.after = flight
      last = flight
      count++
      timer.start()
      return flight
    },
    end,
  }
}
