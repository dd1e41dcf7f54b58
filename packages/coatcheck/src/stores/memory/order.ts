// Keys in UTF-8 byte order, for the memory store's listings: a list of short sorted runs, so that adding or removing one of a
// hundred thousand keys moves a few hundred pointers, and a page is read off by one binary search.
//
// UTF-8 byte order is code point order, and a JavaScript string compares by UTF-16 units: the two part where a surrogate pair
// (U+10000 and up) meets U+E000 to U+FFFF. As long as no key has a surrogate the engine's own comparison is right, and several
// times as fast; the first one that has makes the set compare by code points from then on. A sort on demand was rejected
// because the first listing would then block for as long as the whole store takes to sort; a balanced tree because it keeps
// four objects where this keeps one pointer.

import { compareBytes } from "../../core/contract.ts"

const RUN = 512
const surrogate = /[\ud800-\udfff]/

type Compare = (a: string, b: string) => number

/** A sorted set of keys: plain data with functions beside it, because a store has one for each owner. */
export interface OrderedKeys {
  /** None is empty; the last key of each comes before the first of the next. */
  readonly runs: string[][]
  size: number
  compare: Compare
}

/** An empty set. */
export function orderedKeys(): OrderedKeys {
  return { runs: [], size: 0, compare: compareUnits }
}

/** Adds a key that is not there. */
export function addKey(keys: OrderedKeys, key: string): void {
  meet(keys, key)
  const { runs, compare } = keys
  keys.size += 1
  const at = runOf(keys, key)
  const run = runs[at]
  if (run === undefined) {
    runs.push([key])
    return
  }
  run.splice(firstFrom(run, key, compare), 0, key)
  if (run.length > RUN) runs.splice(at + 1, 0, run.splice(RUN / 2))
}

/** Removes a key that is there. */
export function removeKey(keys: OrderedKeys, key: string): void {
  const { runs, compare } = keys
  const at = runOf(keys, key)
  const run = runs[at] as string[] // the key is there, so its run is
  run.splice(firstFrom(run, key, compare), 1)
  keys.size -= 1
  const next = runs[at + 1]
  if (next !== undefined && run.length + next.length <= RUN / 2) run.push(...(runs.splice(at + 1, 1)[0] as string[]))
  if (run.length === 0) runs.splice(at, 1)
}

/** At most `limit` keys that begin with `prefix` and come after `after` (null: from the first). */
export function pageOf(keys: OrderedKeys, prefix: string, after: string | null, limit: number): string[] {
  const page: string[] = []
  meet(keys, prefix)
  if (after !== null) meet(keys, after)
  const { runs, compare } = keys
  const from = after !== null && compare(after, prefix) >= 0 ? after : prefix
  let at = runOf(keys, from)
  let place = firstFrom(runs[at] ?? [], from, compare)
  while (page.length < limit) {
    const run = runs[at]
    if (run === undefined) return page
    const key = run[place]
    if (key === undefined) {
      at += 1
      place = 0
      continue
    }
    if (!key.startsWith(prefix)) return page
    if (key !== after) page.push(key)
    place += 1
  }
  return page
}

/** How many keys begin with `prefix`. */
export function countOf(keys: OrderedKeys, prefix: string): number {
  if (prefix === "") return keys.size
  meet(keys, prefix)
  const { runs, compare } = keys
  let total = 0
  for (let at = runOf(keys, prefix); at < runs.length; at++) {
    const run = runs[at] as string[] // within bounds
    const from = firstFrom(run, prefix, compare)
    const end = (run.at(-1) as string).startsWith(prefix) ? run.length : firstWithout(run, prefix, from)
    total += end - from
    if (end < run.length) return total
  }
  return total
}

/** Changes to the comparison that is right for this text too. Without surrogates both give the same order. */
function meet(keys: OrderedKeys, text: string): void {
  if (keys.compare === compareUnits && surrogate.test(text)) keys.compare = compareBytes
}

/** The run that holds the key or would: the last one whose first key is not after it. */
function runOf({ runs, compare }: OrderedKeys, key: string): number {
  let low = 0
  let high = runs.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (compare((runs[middle] as string[])[0] as string, key) <= 0) low = middle
    else high = middle - 1
  }
  return low
}

function compareUnits(a: string, b: string): number {
  if (a < b) return -1
  return a === b ? 0 : 1
}

/** The place of the first key of a run that is not before this one. */
function firstFrom(run: readonly string[], key: string, compare: Compare): number {
  let low = 0
  let high = run.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (compare(run[middle] as string, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}

/** The place of the first key from `low` on that does not begin with the prefix; those that do stand together. */
function firstWithout(run: readonly string[], prefix: string, low: number): number {
  let high = run.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((run[middle] as string).startsWith(prefix)) low = middle + 1
    else high = middle
  }
  return low
}
