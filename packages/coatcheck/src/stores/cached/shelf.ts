// Entries nearby, within bounds of number and bytes: a map for finding them, and a list in the order of their last use for choosing who
// makes room. Both are kept up by a few assignments a call. What has not been used for so long that it is too old to be served is
// cleared away by the calls that follow, two each, so that no timer is needed and no memory is held for sessions that are over.
//
// Entries are kept in slots of our own and handed out as copies: a caller may do with his what he likes. A copy of five
// fields takes a hundredth of a microsecond, which is less than freezing one.

import type { Entry } from "../../core/store.ts"

/** An entry as it is kept: never handed out. */
export interface Slot extends Entry {
  /** Epoch ms from which on it is known to have stood in the store. */
  readonly at: number
  before: Slot | null
  after: Slot | null
}

/** The entries nearby. */
export interface Shelf {
  readonly size: number
  /** The slot of a key, which counts as a use of it. */
  use(key: string): Slot | undefined
  /** Puts an entry there in place of what was under its key, and lets go of what does not fit any more. */
  put(entry: Entry, at: number): void
  drop(key: string): void
  clear(): void
  /** Lets go of slots that have not been used since and are too old: `at` or earlier. A few at most. */
  sweep(at: number): void
}

/** Slots that one call may let go of for their age: more than it can add, so that they never pile up. */
const SWEPT = 2

/** An empty shelf for so many entries, and so many bytes of keys, values and owners at two bytes a character. */
export function shelf(maxEntries: number, maxBytes: number): Shelf {
  const slots = new Map<string, Slot>()
  let newest: Slot | null = null
  let oldest: Slot | null = null
  let bytes = 0

  function link(slot: Slot): void {
    slot.after = newest
    if (newest === null) oldest = slot
    else newest.before = slot
    newest = slot
  }

  function unlink(slot: Slot): void {
    const { before, after } = slot
    if (before === null) newest = after
    else before.after = after
    if (after === null) oldest = before
    else after.before = before
    slot.before = null
    slot.after = null
  }

  function remove(slot: Slot): void {
    slots.delete(slot.key)
    bytes -= sizeOf(slot)
    unlink(slot)
  }

  return {
    get size() {
      return slots.size
    },
    use(key) {
      const slot = slots.get(key)
      if (slot !== undefined && slot !== newest) {
        unlink(slot)
        link(slot)
      }
      return slot
    },
    put({ key, value, version, expiresAt, owner }, at) {
      const known = slots.get(key)
      if (known !== undefined) remove(known)
      const slot: Slot = { key, value, version, expiresAt, owner, at, before: null, after: null }
      const size = sizeOf(slot)
      if (size > maxBytes) return
      bytes += size
      slots.set(key, slot)
      link(slot)
      while (oldest !== null && (slots.size > maxEntries || bytes > maxBytes)) remove(oldest)
    },
    drop(key) {
      const slot = slots.get(key)
      if (slot !== undefined) remove(slot)
    },
    clear() {
      slots.clear()
      newest = null
      oldest = null
      bytes = 0
    },
    sweep(at) {
      for (let left = SWEPT; left > 0 && oldest !== null && oldest.at <= at; left--) remove(oldest)
    },
  }
}

function sizeOf({ key, value, owner }: Entry): number {
  return 2 * (key.length + value.length + (owner === null ? 0 : owner.length))
}
