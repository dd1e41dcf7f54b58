// Telling of damaged records without telling of one again and again: a record that can't be read is met by each request of its
// session. One key is told of once an hour; the keys are remembered within a bound.

import type { Clock } from "../../core/clock.ts"

const TOLD_KEYS = 1_000
const TELL_AGAIN_MS = 3_600_000

/** A function to call whenever a key's record turns out to be damaged; `tell` is called once an hour a key. */
export function damageTeller(clock: Clock, tell: () => void): (key: string) => void {
  const told = new Map<string, number>() // until when not to tell of a key again

  return (key) => {
    const now = clock.now()
    if ((told.get(key) ?? now) > now) return
    if (told.size >= TOLD_KEYS) told.clear()
    told.set(key, now + TELL_AGAIN_MS)
    tell()
  }
}
