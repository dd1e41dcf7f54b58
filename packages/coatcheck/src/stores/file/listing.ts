// Pages and counts of the file store. Names are hashes, so there is no order of keys to go by: a page goes in the order of names, folder by folder,
// and its cursor is the name of the last record that was looked at. A page reads one file an entry; one of an owner reads that owner's
// records alone, while one with a prefix has to read every record, because a hash does not tell what a key begins with.
// It ends early, with a cursor, when it has looked at many records that were not asked for, and lets the event loop turn meanwhile.
//
// Rejected: names that keep the order of keys (whoever can read the folder's names would learn the keys, and a key can be longer
// than a name), and an index in a file of its own (one file that every write of every process has to lock and to sync).

import { setImmediate as turn } from "node:timers/promises"
import { type CheckedQuery, cursorAt, cursorKey, isOver } from "../../core/contract.ts"
import type { Entry, Page } from "../../core/store.ts"
import { CoatcheckError } from "../../errors.ts"
import { type Folder, SHARDS } from "./folder.ts"
import type { Owners } from "./owners.ts"
import { isName } from "./record.ts"

/** A page ends early after so many records. */
const LOOKED = 2_000
/** A page ends early after so many characters, so that a thousand long values do not fill the memory. */
const PAGE_CHARACTERS = 8_388_608
/** Files that are read between two turns of the event loop: less than a millisecond. */
const AT_ONCE = 32
/** Records that are counted one by one; more are guessed from the folders that were counted. */
const COUNTED = 10_000

/** What `list` and `count` do. */
export interface Listing {
  /** A page; those that are over or damaged are left out. */
  page(query: CheckedQuery, now: number): Promise<Page>
  /** How many, expired ones included; a guess beyond 10,000; null: can't be told by names alone. */
  count(query: CheckedQuery): number | null
}

/** Listings of a folder; `read` gives the entry under a name, and tells of damaged ones. */
export function listing(folder: Folder, owners: Owners, read: (name: string) => Entry | null): Listing {
  /** Names after this one, one folder at a time. */
  function* groups(owner: string | null, after: string): Generator<string[]> {
    if (owner !== null) {
      yield owners.recordsOf(owner).filter((name) => name > after)
      return
    }
    const first = after === "" ? 0 : Number.parseInt(after.slice(0, 2), 16)
    for (let shard = first; shard < SHARDS; shard++) {
      yield folder.names("records", shard).filter((name) => name > after && isName(name))
    }
  }

  async function page(query: CheckedQuery, now: number): Promise<Page> {
    const { prefix, owner, limit, values } = query
    const isAsked = (entry: Entry): boolean =>
      entry.key.startsWith(prefix) && (owner === null || entry.owner === owner) && !isOver(entry.expiresAt, now)
    const entries: Entry[] = []
    let last = nameAt(query.cursor)
    let looked = 0
    let characters = 0
    for (const names of groups(owner, last)) {
      for (const name of names) {
        if (entries.length === limit || looked === LOOKED || characters > PAGE_CHARACTERS) {
          return { entries, cursor: cursorAt(last) }
        }
        if (++looked % AT_ONCE === 0) await turn()
        last = name
        const entry = read(name)
        if (entry === null || !isAsked(entry)) continue
        characters += entry.value.length
        entries.push(values ? entry : { ...entry, value: "" })
      }
    }
    folder.stillThere(owner === null ? "records" : "owners")
    return { entries, cursor: null }
  }

  function count({ prefix, owner }: CheckedQuery): number | null {
    if (prefix !== "") return null
    if (owner !== null) {
      const { length } = owners.recordsOf(owner)
      folder.stillThere("owners")
      return length
    }
    let found = 0
    for (let shard = 0; shard < SHARDS; shard++) {
      found += folder.names("records", shard).length
      // The hashes of any keys are spread evenly, so the folders that were counted speak for the others.
      if (found > COUNTED) return Math.round((found * SHARDS) / (shard + 1))
    }
    folder.stillThere("records")
    return found
  }

  return { page, count }
}

function nameAt(cursor: string | null): string {
  const name = cursorKey(cursor) ?? ""
  if (name === "" || isName(name)) return name
  throw new CoatcheckError("invalid", "A cursor must be one that the last page of the same listing gave")
}
