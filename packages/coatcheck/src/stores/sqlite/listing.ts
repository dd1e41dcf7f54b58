// Pages and counts of the SQLite store. A page is one short statement over a range of keys: from the prefix, or from just behind the
// last page's end, up to the first text that no longer has the prefix. A range is literal, so no character of a prefix is a
// pattern, and it is read in the order of the table, which is the order of bytes; an owner's index has the same order inside.
// Rows are taken a few at a time and not by an iterator, which would hold its read transaction open if it were left early.

import type { CheckedQuery } from "../../core/contract.ts"
import { cursorAt, isOver } from "../../core/contract.ts"
import type { Entry, Page } from "../../core/store.ts"
import { behind, keyRange } from "../shared/key-range.ts"
import type { SqliteDatabase } from "./driver.ts"
import { unpackRecord } from "./record.ts"

/** A page ends early after so many characters, so that a thousand long values do not fill the memory. */
const PAGE_CHARACTERS = 8_388_608
/** Rows a statement: few enough that long values stop it in time, and more where the ones before were short. */
const ROWS = 32
const SHORT_ROWS = 128
const SHORT = 1_024
/** Counting further would hold the event loop. */
const COUNTED = 10_000
/** In SQLite every blob comes after every text: the upper bound of a range that has none. */
const AFTER_ALL = new Uint8Array(0)

/** What `list` and `count` do inside a transaction. */
export interface Listing {
  /** The entries after the key `after` (null: from the first); those that are over or damaged are left out. */
  page(query: CheckedQuery, after: string | null, now: number): Page
  /** How many rows; null: more than can be counted in a moment. */
  count(query: CheckedQuery): number | null
}

interface Row {
  readonly key: string
  readonly record: string
}

/** Listings on a connection; `onDamaged` is told of keys whose record can't be read. */
export function listing(db: SqliteDatabase, onDamaged: (key: string) => void): Listing {
  const all = db.prepare("SELECT key, record FROM entries WHERE key >= ? AND key < ? ORDER BY key LIMIT ?")
  const owned = db.prepare(
    "SELECT key, record FROM entries WHERE owner = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
  )
  const countAll = db.prepare("SELECT count(*) AS n FROM (SELECT 1 FROM entries WHERE key >= ? AND key < ? LIMIT ?)")
  const countOwned = db.prepare(
    "SELECT count(*) AS n FROM (SELECT 1 FROM entries WHERE owner = ? AND key >= ? AND key < ? LIMIT ?)",
  )

  function page({ prefix, owner, limit, values }: CheckedQuery, after: string | null, now: number): Page {
    const entries: Entry[] = []
    const [start, end] = rangeOf(prefix, after)
    let from = start
    let looked = 0
    let characters = 0
    for (;;) {
      const rowsAtOnce = looked > 0 && characters / looked < SHORT ? SHORT_ROWS : ROWS
      const most = Math.min(limit + 1 - looked, rowsAtOnce)
      const rows = owner === null ? all.all(from, end, most) : owned.all(owner, from, end, most)
      for (const { key, record } of rows as Row[]) {
        if (looked === limit || characters > PAGE_CHARACTERS) return { entries, cursor: cursorAt(from.slice(0, -1)) }
        looked += 1
        characters += record.length
        from = behind(key)
        const entry = unpackRecord(key, record)
        if (entry === null) onDamaged(key)
        else if (!isOver(entry.expiresAt, now)) entries.push(values ? entry : { ...entry, value: "" })
      }
      if (rows.length < most) return { entries, cursor: null }
    }
  }

  function count({ prefix, owner }: CheckedQuery): number | null {
    const range = rangeOf(prefix, null)
    const row = owner === null ? countAll.get(...range, COUNTED + 1) : countOwned.get(owner, ...range, COUNTED + 1)
    const { n } = row as { n: number } // an aggregate always has one row
    return n > COUNTED ? null : n
  }

  return { page, count }
}

function rangeOf(prefix: string, after: string | null): [string, string | Uint8Array] {
  const { from, to } = keyRange(prefix, after)
  return [from, to ?? AFTER_ALL]
}
