// The writes of one store, a lane for each record. Those that come while others of the same record are under way wait in its lane and
// are taken together next: one lock, one look, one file for all of them, in order, each seeing those before it. So a session on
// which thirty requests write at once costs a few syncs, and no process looks for a lock against itself. Lanes vanish when empty.
//
// A call that waits longer than the deadline rejects with `unavailable`: nothing was done, because it is taken out of its lane. One
// whose write is under way then rejects with `unknown-outcome`, and the write goes on.

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
  take(name: string, calls: readonly Call<Step>[]): Promise<() => void>
  /** Lets go of the record, before its calls are answered: who is answered may end the process. */
  end(name: string): void
  /** Lets others have the record first, who wait for it; called between two takes of one lane. */
  yieldTo(name: string): Promise<void>
}

/** The lanes of a store. */
export interface Lanes<Step> {
  add(name: string, step: Step): Promise<unknown>
  /** Resolves when no lane has anything under way. */
  idle(): Promise<void>
}

/** Calls that are taken together at most. */
const TOGETHER = 128

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
    return open.size > 0
  })

  function settle(call: Call<Step>, how: () => void): void {
    if (call.over) return
    call.over = true
    open.delete(call)
    how()
  }

  function add(name: string, step: Step): Promise<unknown> {
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
      const calls = lane.splice(0, TOGETHER).filter(({ over }) => !over)
      for (const call of calls) call.underWay = true
      const answer = await work.take(name, calls)
      work.end(name)
      answer()
      if (isWanted()) await work.yieldTo(name)
    }
    waiting.delete(name)
  }

  async function idle(): Promise<void> {
    while (running.size > 0) await Promise.all(running)
  }

  return { add, idle }
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
