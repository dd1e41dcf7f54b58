// Whether every record of a store can be read. A store answers "absent" for a damaged one and reports it on the side, so nobody
// who asks by key would learn of it, nor would a check that reads one page: the whole listing is walked, without values, and the
// reports are counted. The walk is bounded, since nobody waits an hour for a doctor; how far it came is said.

import { limits, type Store } from "coatcheck"
import type { Verdict } from "./checks.ts"

/** A million records, at a page's most. */
const PAGES = 1_000
const NOTED_PAGES = 100

/**
 * Walks a store's listing.
 *
 * @param damaged how many records the store has reported as damaged so far.
 * @param note gets a line for the person who waits, now and then.
 */
export async function intact(store: Store, damaged: () => number, note: (line: string) => void): Promise<Verdict> {
  let whole = 0
  let cursor: string | null = null
  for (let page = 1; page <= PAGES; page += 1) {
    const listed = await store.list({ limit: limits.page, values: false, ...(cursor !== null && { cursor }) })
    whole += listed.entries.length
    cursor = listed.cursor
    if (cursor === null) break
    if (page % NOTED_PAGES === 0 && page < PAGES) note(`${count(whole)} records read so far`)
  }
  const rest = cursor === null ? "" : "; the rest was not looked at"
  if (damaged() > 0) {
    const records = damaged() === 1 ? "1 damaged record" : `${count(damaged())} damaged records`
    return [
      "fail",
      `${records}, beside ${count(whole)} that are whole: they count as absent. Check the disk, then restore a backup${rest}`,
    ]
  }
  return [cursor === null ? "ok" : "warn", `${count(whole)} records read, none is damaged${rest}`]
}

function count(records: number): string {
  return records.toLocaleString("en-US")
}
