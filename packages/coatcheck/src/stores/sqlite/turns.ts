// The calls of one tick of the event loop, taken together. A call is work to be done in a transaction; those that were made in one
// tick share one, which is what makes a durable write cheap: one sync for all of them.
//
// SQLite is told never to wait for another process's lock (that would stop the event loop). Instead the calls that met a lock
// go back to the head of the line, and the line is taken again after a short sleep with jitter, until a call's time is over. What
// counts is the time spent asleep, not the clock, so that a clock that is set forward fails nothing.

import type { Clock } from "../../core/clock.ts"
import { CoatcheckError } from "../../errors.ts"

/** A call that waits for its turn. */
export interface Call {
  /** Done in a transaction, perhaps again after that one was undone; throws the driver's errors. */
  work(now: number): unknown
  resolve(result: unknown): void
  reject(error: unknown): void
  /** Milliseconds that it may still spend waiting for a lock. */
  left: number
  /** What the work gave, until the transaction is through. */
  result: unknown
}

/** A line of calls. */
export interface Turns {
  /** Does the work in the next turn; settles when its transaction is through. */
  add<Result>(work: (now: number) => Result): Promise<Result>
  /** Resolves when no call waits. */
  idle(): Promise<void>
}

const LONGEST_SLEEP_MS = 16

/**
 * A line of calls that `take` takes together, once a tick.
 *
 * @param patience milliseconds that a call waits for a lock before it rejects with `unavailable`.
 * @param most so many calls at once, so that the event loop is never held for long.
 * @param take settles calls, and returns those that met another connection's lock, of which nothing was done.
 */
export function turns(clock: Clock, patience: number, most: number, take: (calls: Call[]) => Call[]): Turns {
  let line: Call[] = []
  let underWay = false
  let sleeps = 0
  const onIdle: (() => void)[] = []

  function add<Result>(work: (now: number) => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      line.push({ work, resolve, reject, left: patience, result: undefined })
      schedule()
    })
  }

  function schedule(): void {
    if (underWay) return
    underWay = true
    setImmediate(turn)
  }

  function turn(): void {
    underWay = false
    const calls = line.length <= most ? line : line.slice(0, most)
    line = line.length <= most ? [] : line.slice(most)
    const blocked = take(calls)
    if (blocked.length > 0) {
      line = [...blocked, ...line]
      underWay = true
      void rest()
      return
    }
    sleeps = 0
    if (line.length > 0) schedule()
    else for (const wake of onIdle.splice(0)) wake()
  }

  /** Sleeps a little longer each time, then lets go of the calls whose time is over and takes the others again. */
  async function rest(): Promise<void> {
    const ms = 1 + Math.floor(Math.random() * Math.min(2 ** sleeps, LONGEST_SLEEP_MS))
    sleeps += 1
    await clock.sleep(ms)
    for (const call of line) call.left -= ms
    const over = line.filter((call) => call.left <= 0)
    line = line.filter((call) => call.left > 0)
    for (const call of over) call.reject(locked())
    turn()
  }

  function idle(): Promise<void> {
    return underWay ? new Promise((wake) => onIdle.push(wake)) : Promise.resolve()
  }

  return { add, idle }
}

function locked(): CoatcheckError {
  const message = "Another process kept the SQLite file locked until the deadline; nothing was changed, try again"
  return new CoatcheckError("unavailable", message)
}
