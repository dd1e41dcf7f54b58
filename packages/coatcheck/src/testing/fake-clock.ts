// Time that stands still until a test moves it, so that "after thirty minutes" takes no time and always means the same.

import type { Clock } from "../core/clock.ts"

/** A clock that a test moves by hand. */
export interface FakeClock extends Clock {
  /** Moves the clock by whole milliseconds, back when negative, and wakes those whose sleep is over, earliest first. */
  advance(ms: number): void
  /** How many are asleep: a test that waits for somebody to go to sleep looks here. */
  readonly sleeping: number
}

/** Where a fake clock starts unless it is told: 20 November 2026, 12:00 UTC. */
const START = 1_795_176_000_000

/**
 * A clock that stands at `start` (epoch ms) and moves by `advance` alone.
 *
 * A sleep of so many milliseconds resolves in the first `advance` that brings the clock that far; a sleep of 0 ms or less at once.
 */
export function fakeClock(start: number = START): FakeClock {
  let now = start
  let sleepers: { readonly until: number; wake(): void }[] = []

  function sleep(ms: number): Promise<void> {
    if (ms <= 0) return Promise.resolve()
    return new Promise((wake) => {
      sleepers.push({ until: now + ms, wake })
    })
  }

  function advance(ms: number): void {
    if (!Number.isSafeInteger(ms)) throw new TypeError("A clock moves by whole milliseconds")
    now += ms
    const due = sleepers.filter((sleeper) => sleeper.until <= now)
    sleepers = sleepers.filter((sleeper) => sleeper.until > now)
    for (const sleeper of due.toSorted((a, b) => a.until - b.until)) sleeper.wake()
  }

  return {
    now: () => now,
    sleep,
    advance,
    get sleeping() {
      return sleepers.length
    },
  }
}
