// Removes what has expired, in small batches. Writes start it, and one coarse timer that holds no process; a batch that was full is
// followed by the next one soon. Processes that sweep at the same time share the work: each skips the rows that another one holds.

import type { Clock } from "../../core/clock.ts"

/** The entries that one statement removes: some milliseconds of work for the server. */
const SWEPT = 256
const EVERY_MS = 5_000
const NEXT_MS = 20
const IDLE_MS = 60_000

/** Sweeps of one store. */
export interface Sweeps {
  /** To be called after a write: sweeps if the last time is long enough ago. */
  nudge(): void
  stop(): void
}

/**
 * Sweeps from now on.
 *
 * @param sweep - removes at most so many entries that were over at this moment, and says how many it did
 * @param failed - told why a sweep failed; it will be tried again
 */
export function sweeps(
  clock: Clock,
  sweep: (now: number, most: number) => Promise<number>,
  failed: (cause: unknown) => void,
): Sweeps {
  let next = 0
  let sweeping = false
  let stopped = false
  let timer: NodeJS.Timeout | undefined

  function nudge(): void {
    if (!sweeping && !stopped && clock.now() >= next) void run()
  }

  async function run(): Promise<void> {
    const now = clock.now()
    sweeping = true
    next = now + EVERY_MS
    let more = false
    try {
      more = (await sweep(now, SWEPT)) === SWEPT
    } catch (cause) {
      if (!stopped) failed(cause)
    }
    sweeping = false
    if (more) next = now
    rest(more ? NEXT_MS : IDLE_MS)
  }

  function rest(ms: number): void {
    clearTimeout(timer)
    if (!stopped) timer = setTimeout(() => void run(), ms).unref()
  }

  rest(IDLE_MS)
  return {
    nudge,
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
