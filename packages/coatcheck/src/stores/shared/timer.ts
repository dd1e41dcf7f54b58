// Deadlines without a timer a call. One coarse timer a store turns while calls are open and stops with the last one; a call keeps the
// turn in which it began, and is over when as many turns have passed as make the deadline: ten of a tenth of it, more where that would
// be over 100 ms. So a call ends between nine tenths of the deadline and all of it, and an idle store holds no timer.
//
// Turns are counted, times are not compared: a machine's clock that is put forward ends no call, and one that is put back keeps
// none open. A process that was asleep or busy gets its turns late, and with them the answers that came meanwhile.

import type { Clock } from "../../core/clock.ts"

/** The timer of one store. */
export interface CoarseTimer {
  /** The current turn; a call that begins now keeps it. */
  readonly turn: number
  /** To be called whenever a call begins. */
  start(): void
  /**
   * Adds somebody who has calls open.
   *
   * @param expire - ends every call of its own that began in turn `last` or before; true: others are open, keep turning
   */
  watch(expire: (last: number) => boolean): void
}

const MIN_TURNS = 10
const MAX_STEP_MS = 100

/** Makes a timer that stands still until it is started. The deadline is in ms. */
export function coarseTimer(clock: Clock, deadline: number): CoarseTimer {
  const step = Math.max(1, Math.min(MAX_STEP_MS, Math.floor(deadline / MIN_TURNS)))
  const turns = Math.floor(deadline / step)
  const watchers: ((last: number) => boolean)[] = []
  let turn = 0
  let turning = false

  async function run(): Promise<void> {
    let open = true
    while (open) {
      await clock.sleep(step)
      turn++
      open = false
      for (const expire of watchers) if (expire(turn - turns)) open = true
    }
    turning = false
  }

  return {
    get turn() {
      return turn
    },
    start() {
      if (turning) return
      turning = true
      void run()
    },
    watch: (expire) => void watchers.push(expire),
  }
}
