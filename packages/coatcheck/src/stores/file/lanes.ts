// The writes of one store, a lane for each record. Those that come while others of the same record are under way wait in its lane and
// are taken together next: one lock, one look, one file for all of them, in order, each seeing those before it. So a session on
// which thirty requests write at once costs a few syncs, and no process looks for a lock against itself. Lanes vanish when empty.
//
// Whoever was refused because another process had been faster has been told what stands there, and comes again with that at once. It
// finds the record still held: if the others had their turn in between, it would be late again, and again.
//
// A call that waits longer than the deadline rejects with `unavailable`: nothing was done, because it is taken out of its lane. One
// whose write is under way then rejects with `unknown-outcome`, and the write goes on. What may be open at once is bounded.

import { setImmediate as turn } from "node:timers/promises"
import type { Clock } from "../../core/clock.ts"
import { CoatcheckError } from "../../errors.ts"
import { coarseTimer } from "../shared/timer.ts"
import { failure } from "./errors.ts"

/** A call that waits, or is under way. */
export interface Call<Step> {
  readonly step: Step
  resolve(result: unknown): void
  reject(error: Error): void
  /** The timer's turn in which it began. */
  readonly turn: number
  underWay: boolean
  /** Answered, by its deadline perhaps. */
  over: boolean
}

/** What a lane's owner does with its calls. */
export interface Work<Step> {
  /** Gets hold of the record; false when `isWanted` said that nobody waits any more. */
  begin(name: string, isWanted: () => boolean): Promise<boolean>
  /** Does these calls; resolves with the way to answer them. Never rejects. */
  take(name: string, calls: readonly Call<Step>[]): Promise<Answer>
  /** Lets go of the record, and of what waited for it: others go first now. */
  end(name: string): void
}

/** How calls that were done are to be answered. */
export interface Answer {
  /** Some of them were refused because others had been faster; such a caller asks again at once. */
  readonly refused: boolean
  give(): void
}

/** The lanes of a store. */
export interface Lanes<Step> {
  add(name: string, step: Step): Promise<unknown>
  /** Resolves when no lane has anything under way. */
  idle(): Promise<void>
}

/** Calls that are taken together at most. */
const TOGETHER = 128
/** How often what was refused is waited for before others have their turn. */
const AGAIN = 3
/** Calls, and lanes, that may be open: a disk that does not answer must not fill the memory. */
const MOST_OPEN = 10_000

/** Lanes whose calls end within `deadline` ms. */
export function lanes<Step>(clock: Clock, deadline: number, work: Work<Step>): Lanes<Step> {
  const timer = coarseTimer(clock, deadline)
  const waiting = new Map<string, Call<Step>[]>()
  const open = new Set<Call<Step>>() // in the order in which they began
  const running = new Set<Promise<void>>()

  timer.watch((last) => {
    for (const call of open) {
      if (call.turn > last) break
      call.reject(late(call.underWay))
    }
    for (const lane of waiting.values()) while (lane[0]?.over === true) lane.shift()
    return open.size > 0
  })

  function settle(call: Call<Step>, how: () => void): void {
    if (call.over) return
    call.over = true
    open.delete(call)
    how()
  }

  function add(name: string, step: Step): Promise<unknown> {
    if (open.size >= MOST_OPEN || waiting.size >= MOST_OPEN) return Promise.reject(crowded())
    return new Promise((resolve, reject) => {
      const call: Call<Step> = {
        step,
        turn: timer.turn,
        underWay: false,
        over: false,
        resolve: (result) => settle(call, () => resolve(result)),
        reject: (error: Error) => settle(call, () => reject(error)),
      }
      open.add(call)
      timer.start()
      const lane = waiting.get(name)
      if (lane) {
        lane.push(call)
        return
      }
      waiting.set(name, [call])
      const run = drive(name).finally(() => running.delete(run))
      running.add(run)
    })
  }

  /** Takes a lane until it is empty. */
  async function drive(name: string): Promise<void> {
    const lane = waiting.get(name) ?? []
    const isWanted = (): boolean => lane.some(({ over }) => !over)
    while (isWanted()) {
      let begun: boolean
      try {
        begun = await work.begin(name, isWanted)
      } catch (error) {
        for (const call of lane.splice(0)) call.reject(failure("write", error))
        break
      }
      if (!begun) break
      let answer = await takeFrom(name, lane)
      for (let times = 0; answer.refused && times < AGAIN; times++) {
        answer.give()
        await turn()
        answer = await takeFrom(name, lane)
      }
      work.end(name)
      answer.give()
    }
    waiting.delete(name)
  }

  function takeFrom(name: string, lane: Call<Step>[]): Promise<Answer> {
    const calls = lane.splice(0, TOGETHER).filter(({ over }) => !over)
    for (const call of calls) call.underWay = true
    return work.take(name, calls)
  }

  async function idle(): Promise<void> {
    while (running.size > 0) await Promise.all(running)
  }

  return { add, idle }
}

function crowded(): CoatcheckError {
  const message = `The file store has ${MOST_OPEN} writes under way and takes no more; nothing was changed, try again`
  return new CoatcheckError("unavailable", message)
}

function late(underWay: boolean): CoatcheckError {
  if (!underWay) {
    const message =
      "The file store's deadline was over before a record could be changed; nothing was changed, try again"
    return new CoatcheckError("unavailable", message)
  }
  const message = "The disk did not answer the file store within its deadline; read before you write again"
  return new CoatcheckError("unknown-outcome", message)
}
