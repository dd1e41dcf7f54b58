// Each verb as one statement. Every one of them is atomic by itself, so no call needs a transaction of more than one round trip.
//
// What makes them right when others write at the same time, at Postgres's READ COMMITTED: an UPDATE, a DELETE and a SELECT that locks
// wait for whoever holds the row, and then look at what it has become and check their conditions again. A plain SELECT
// does not; it answers from the moment at which the statement began, also inside the same statement, so after a wait it would give
// back what the others have replaced. Hence `held`: the entry that refuses a condition is read by a SELECT that locks, behind
// the write, and only when the write found nothing to do. A refusal writes nothing.
//
// An insert can't do that: the row that stands in its way may be younger than the statement, and then no SELECT in it sees the
// row. ON CONFLICT does, so a refused insert puts the row back as it is and returns it; inserts are refused rarely.
//
// The caller's clock decides what is over, so "now" is a value in each of them.

import type { Entry, SetOptions } from "../../core/store.ts"
import { asText, type PostgresQuery } from "./driver.ts"
import { shortName, type TableNames } from "./names.ts"

/** A row of a statement: columns as text. */
export type Row = readonly (string | null)[]

/** What makes the queries of one table. A write answers with at most one row, of `doneOf` and `entryOf`; none: nothing is there. */
export interface Statements {
  /** A row for each key that is there, in no order, also for what is over. */
  get(keys: readonly string[]): PostgresQuery
  put(key: string, value: string, version: string, options: SetOptions, now: number): PostgresQuery
  insert(key: string, value: string, version: string, options: SetOptions, now: number): PostgresQuery
  replace(key: string, value: string, version: string, base: string, options: SetOptions, now: number): PostgresQuery
  touch(key: string, expiresAt: number | null, version: string | undefined, now: number): PostgresQuery
  /** The entry that was removed is in the row too, and may be over. */
  remove(key: string, version: string | undefined, now: number): PostgresQuery
  /** Deletes so many entries that are over; a row for each. */
  sweep(now: number, most: number): PostgresQuery
}

/** What `entryOf` reads. */
export const columns = "t.key, t.version, t.expires_at, t.owner, t.value"

/** The entry in a row of `columns`. */
export function entryOf([key, version, expiresAt, owner, value]: Row): Entry {
  return {
    key: key ?? "",
    value: value ?? "",
    version: version ?? "",
    expiresAt: expiresAt === null || expiresAt === undefined ? null : Number(expiresAt),
    owner: owner ?? null,
  }
}

/** Whether a write was done, from its row: the column behind those of the entry. */
export function doneOf(row: Row): boolean {
  return row[5] === "t"
}

/**
 * The statements on a table.
 *
 * @param channel - where each write is told, by NOTIFY; null: nowhere
 * @param prepare - whether connections keep prepared statements
 */
export function statements({ table }: TableNames, channel: string | null, prepare: boolean): Statements {
  const alive = (now: string): string => `(t.expires_at IS NULL OR t.expires_at > ${now}::bigint)`
  const over = (now: string): string => `t.expires_at <= ${now}::bigint`
  // What is told leaves with the commit. Cast, because nothing else can stand beside it in a column.
  const told = channel === null ? "NULL" : `pg_notify('${channel}', $1)::text`

  /** A write that is done or finds the entry which refuses it. */
  const orHeld = (write: string, condition: string): string =>
    `WITH done AS (${write}), held AS (SELECT ${columns} FROM ${table} AS t
       WHERE t.key = $1 AND ${condition} AND NOT EXISTS (SELECT FROM done) FOR NO KEY UPDATE)
     SELECT ${columns}, true, ${told} FROM done AS t UNION ALL SELECT ${columns}, false, NULL FROM held AS t`

  const getOne = statement(`SELECT ${columns} FROM ${table} AS t WHERE t.key = $1`)
  const getMany = statement(`SELECT ${columns} FROM ${table} AS t WHERE t.key = ANY ($1::text[])`)

  const insertRow = `INSERT INTO ${table} AS t (key, value, version, expires_at, owner) VALUES ($1, $2, $3, $4, $5)`
  const put = statement(
    `WITH done AS (${insertRow} ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,
       expires_at = CASE WHEN $6::boolean AND ${alive("$8")} THEN t.expires_at ELSE excluded.expires_at END,
       owner = CASE WHEN $7::boolean AND ${alive("$8")} THEN t.owner ELSE excluded.owner END
     ${returning("NULL::json")}) SELECT ${columns}, true, ${told} FROM done AS t`,
  )
  const unlessAlive = ["value", "version", "expires_at", "owner"]
    .map((column) => `${column} = CASE WHEN ${over("$6")} THEN excluded.${column} ELSE t.${column} END`)
    .join(", ")
  const insert = statement(
    `WITH done AS (${insertRow} ON CONFLICT (key) DO UPDATE SET ${unlessAlive}
     ${returning("CASE WHEN t.version <> $3 THEN t.value END")})
     SELECT ${columns}, t.version = $3, CASE WHEN t.version = $3 THEN ${told} END FROM done AS t`,
  )
  const replace = statement(
    orHeld(
      `UPDATE ${table} AS t SET value = $2, version = $3,
         expires_at = CASE WHEN $6::boolean THEN t.expires_at ELSE $4::bigint END,
         owner = CASE WHEN $7::boolean THEN t.owner ELSE $5 END
       WHERE t.key = $1 AND t.version = $8 AND ${alive("$9")} ${returning("NULL::json")}`,
      alive("$9"),
    ),
  )
  const touchAny = statement(
    `WITH done AS (UPDATE ${table} AS t SET expires_at = $2 WHERE t.key = $1 AND ${alive("$3")} ${returning("NULL::json")})
     SELECT ${columns}, true, ${told} FROM done AS t`,
  )
  const touchOne = statement(
    orHeld(
      `UPDATE ${table} AS t SET expires_at = $2 WHERE t.key = $1 AND t.version = $4 AND ${alive("$3")} ${returning("NULL::json")}`,
      alive("$3"),
    ),
  )
  const removeAny = statement(
    `WITH done AS (DELETE FROM ${table} AS t WHERE t.key = $1 ${returning("t.value")})
     SELECT ${columns}, true, ${told} FROM done AS t`,
  )
  const removeOne = statement(
    orHeld(
      `DELETE FROM ${table} AS t WHERE t.key = $1 AND (t.version = $2 OR ${over("$3")}) ${returning("t.value")}`,
      "true",
    ),
  )
  // Two clocks must agree that an entry is over before it is removed for good, so that a machine whose clock runs ahead empties no store.
  const sweep = statement(
    `DELETE FROM ${table} WHERE key = ANY (ARRAY (SELECT key FROM ${table}
       WHERE expires_at <= least($1::bigint, (extract(epoch FROM now()) * 1000)::bigint)
       ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1`,
  )

  function returning(value: string): string {
    return `RETURNING t.key, t.version, t.expires_at, t.owner, ${value} AS value`
  }

  function statement(text: string): (...values: unknown[]) => PostgresQuery {
    const name = shortName(text)
    return (...values) => ({ text, values, rowMode: "array", types: asText, ...(prepare && { name }) })
  }

  return {
    get: (keys) => (keys.length === 1 ? getOne(keys[0]) : getMany(keys)),
    put: (key, value, version, { expiresAt, owner }, now) =>
      put(key, value, version, expiresAt ?? null, owner ?? null, expiresAt === undefined, owner === undefined, now),
    insert: (key, value, version, { expiresAt, owner }, now) =>
      insert(key, value, version, expiresAt ?? null, owner ?? null, now),
    replace(key, value, version, base, { expiresAt, owner }, now) {
      const keeps = [expiresAt === undefined, owner === undefined]
      return replace(key, value, version, expiresAt ?? null, owner ?? null, ...keeps, base, now)
    },
    touch: (key, expiresAt, version, now) =>
      version === undefined ? touchAny(key, expiresAt, now) : touchOne(key, expiresAt, now, version),
    remove: (key, version, now) => (version === undefined ? removeAny(key) : removeOne(key, version, now)),
    sweep: (now, most) => sweep(now, most),
  }
}
