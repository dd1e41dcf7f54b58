// Pages and counts. A page is one short statement over a range of keys along the primary key, or along the index of owners, which
// has the keys inside; entries that are over are left out here, so a page may be short, and no statement looks at more than a page's
// rows. One row more than the page is asked for: it says whether there is another page.
//
// A page ends early when its values take more than some MiB, so that a thousand long ones fill neither memory; the server adds up
// their lengths and says in each row how many rows it looked at.

import { type CheckedQuery, cursorAt, cursorKey, isOver } from "../../core/contract.ts"
import type { Page } from "../../core/store.ts"
import { keyRange } from "../shared/key-range.ts"
import { asText, type PostgresQuery } from "./driver.ts"
import { type TableNames, shortName } from "./names.ts"
import { columns, entryOf, type Row } from "./statements.ts"

/** A page's values end once they take more bytes. */
const PAGE_BYTES = 8_388_608
/** Counting further would take the server too long. */
const COUNTED = 10_000
/** After every key: no key takes more than 512 bytes, and this one takes 516. */
const AFTER_ALL = "\u{10ffff}".repeat(129)

/** What `list` and `count` ask. */
export interface Listing {
  /** Rows for `pageOf`. */
  page(query: CheckedQuery): PostgresQuery
  /** One row for `countOf`. */
  count(query: CheckedQuery): PostgresQuery
}

/** The listings of a table; `prepare`: whether connections keep prepared statements. */
export function listing({ table }: TableNames, prepare: boolean): Listing {
  const range = `t.key >= $1 AND t.key < $2`
  const owned = `${range} AND t.owner = $4`

  function pageText(where: string, values: boolean): string {
    const rows = `SELECT ${columns} FROM ${table} AS t WHERE ${where} ORDER BY t.key LIMIT $3`
    if (!values)
      return `SELECT t.key, t.version, t.expires_at, t.owner, '', count(*) OVER () FROM (${rows}) AS t ORDER BY t.key`
    return `SELECT ${columns}, t.looked FROM (
        SELECT ${columns}, count(*) OVER () AS looked, sum(t.bytes) OVER (ORDER BY t.key) - t.bytes AS before
        FROM (SELECT t.*, octet_length(t.value::text) AS bytes FROM (${rows}) AS t) AS t
      ) AS t WHERE t.before <= ${PAGE_BYTES} ORDER BY t.key`
  }

  function countText(where: string): string {
    return `SELECT count(*) FROM (SELECT FROM ${table} AS t WHERE ${where} LIMIT $3) AS t`
  }

  function ask(text: string, query: CheckedQuery, after: string | null, most: number): PostgresQuery {
    const { from, to } = keyRange(query.prefix, after)
    const values = [from, to ?? AFTER_ALL, most, ...(query.owner === null ? [] : [query.owner])]
    return { text, values, rowMode: "array", types: asText, ...(prepare && { name: shortName(text) }) }
  }

  const where = ({ owner }: CheckedQuery): string => (owner === null ? range : owned)
  return {
    page: (query) => ask(pageText(where(query), query.values), query, cursorKey(query.cursor), query.limit + 1),
    count: (query) => ask(countText(where(query)), query, null, COUNTED + 1),
  }
}

/** The page in the rows that the server gave. */
export function pageOf(rows: readonly Row[], limit: number, now: number): Page {
  const page = rows.slice(0, limit)
  const looked = Number(rows[0]?.[5] ?? 0)
  const last = page.at(-1)
  return {
    entries: page.map(entryOf).filter(({ expiresAt }) => !isOver(expiresAt, now)),
    cursor: looked > page.length && last ? cursorAt(last[0] ?? "") : null,
  }
}

/** How many rows; null: more than can be counted in a moment. */
export function countOf([row]: readonly Row[]): number | null {
  const n = Number(row?.[0])
  return n > COUNTED ? null : n
}
