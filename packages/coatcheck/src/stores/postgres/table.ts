// The table: made when it is not there, checked when it is, and brought forward when it is older than this program.
//
// Its version stands in its comment, with the oldest version whose programs may use it: `coatcheck table 2, for programs from 1`.
// Each step forward is additive (an index, a storage setting, a column that may be null), so that programs of the version
// before go on writing while and after it runs, and several versions of a program may serve at once while they are
// replaced. A table that is for newer programs only is refused. A comment that got lost, as in a dump without comments, is
// written again by the same steps, which can all be run twice.
//
// Steps run in one transaction behind an advisory lock, so that of many processes that start at once one takes them. A role that may
// not create gets the whole of it as one line of SQL for somebody who may.

import type { Clock } from "../../core/clock.ts"
import { CoatcheckError } from "../../errors.ts"
import { asText, type PostgresClient } from "./driver.ts"
import type { TableNames } from "./names.ts"
import { sqlState } from "./errors.ts"

/** What was found out about server and table. */
export interface TableState {
  /** Sentences for whoever runs the store: what promises less than they may think. */
  readonly warnings: readonly string[]
  /** How many ms the server's clock is ahead of ours. */
  readonly skew: number
  /** Schema and name, as the server found the table: the same for every process, however its settings name it. */
  readonly place: string
}

interface Look {
  readonly exists: boolean
  readonly comment: string
  readonly columns: string
  /** Which of the four privileges the role lacks. */
  readonly lacking: string
  readonly serverNow: number
  readonly synchronousCommit: string
  readonly walWriterDelay: string
  readonly fsync: string
  readonly encoding: string
  readonly isolation: string
  readonly place: string
}

const commentForm = /^coatcheck table (\d+), for programs from (\d+)$/
/** The version that this program makes; it works on every older one. */
const VERSION = 2
/** The oldest version whose programs can work on ours. */
const FROM = 1
const ours = ["key text", "value json", "version text", "expires_at bigint", "owner text"]
/** How long the making of a table may wait for others who make it. */
const PATIENCE = "10s"

/** What leads from each version to the next; the first makes the table. */
function steps({ table, byEnd, byOwner }: TableNames): readonly (readonly string[])[] {
  return [
    [
      `CREATE TABLE IF NOT EXISTS ${table} (key text COLLATE "C" PRIMARY KEY, value json NOT NULL, version text COLLATE "C" NOT NULL, expires_at bigint, owner text COLLATE "C")`,
      `CREATE INDEX IF NOT EXISTS ${byEnd} ON ${table} (expires_at) WHERE expires_at IS NOT NULL`,
      `CREATE INDEX IF NOT EXISTS ${byOwner} ON ${table} (owner, key) WHERE owner IS NOT NULL`,
    ],
    // Room on each page for the next version of a row: a write that moves no end then leaves the indexes alone; more room was measured
    // to buy nothing. And cleaning begins when a twentieth of the rows is dead, not a fifth, because sessions are written
    // again and again.
    [`ALTER TABLE ${table} SET (fillfactor = 95, autovacuum_vacuum_scale_factor = 0.05)`],
  ]
}

/**
 * Makes, checks or brings forward the table.
 *
 * @param name - the table's name for messages, as it was given
 * @throws CoatcheckError `denied` when the role may not create or use it, with the SQL for somebody who may; `corrupt` when it is
 *   another application's or newer; `unsupported` when the database does not keep UTF-8.
 */
export async function openTable(client: PostgresClient, names: TableNames, clock: Clock): Promise<TableState> {
  const askedAt = clock.now()
  const found = await look(client, names)
  const skew = found.serverNow - (askedAt + clock.now()) / 2 // here, because making the table may take its time
  if (found.encoding !== "UTF8") {
    throw new CoatcheckError("unsupported", "The postgres store needs a database whose encoding is UTF8")
  }
  const warnings = [...warningsOf(found)]
  const version = found.exists ? versionOf(found) : 0
  if (version < VERSION) {
    try {
      await advance(client, names)
    } catch (error) {
      if (error instanceof CoatcheckError) throw error
      const sql = sqlFrom(names, version)
      if (version === 0) throw refusal(error, sql)
      warnings.push(
        `The table is of version ${version} and could not be brought to ${VERSION}; have its owner run: ${sql}`,
      )
    }
  }
  const { lacking, place } = version === 0 ? await look(client, names) : found
  if (lacking !== "") {
    const sql = `GRANT SELECT, INSERT, UPDATE, DELETE ON ${names.table} TO …`
    throw new CoatcheckError("denied", `The postgres store's role lacks ${lacking}; have the table's owner run: ${sql}`)
  }
  return { warnings, skew, place }
}

async function look(client: PostgresClient, { table }: TableNames): Promise<Look> {
  const privileges = ["SELECT", "INSERT", "UPDATE", "DELETE"]
    .map((name) => `CASE WHEN NOT has_table_privilege(c.oid, '${name}') THEN '${name}' END`)
    .join(", ")
  const [row = []] = await rowsOf(
    client,
    `SELECT c.oid IS NOT NULL, obj_description(c.oid, 'pg_class'),
       (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ') FROM pg_attribute
         WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
       concat_ws(', ', ${privileges}), floor(extract(epoch FROM clock_timestamp()) * 1000),
       current_setting('synchronous_commit'), current_setting('wal_writer_delay'), current_setting('fsync'), current_setting('server_encoding'),
       current_setting('transaction_isolation'),
       (SELECT concat(relnamespace::regnamespace, '.', relname) FROM pg_class WHERE oid = c.oid)
     FROM (SELECT to_regclass('${table}')::oid AS oid) AS c`,
  )
  const column = (at: number): string => row[at] ?? ""
  return {
    exists: column(0) === "t",
    comment: column(1),
    columns: column(2),
    lacking: column(3),
    serverNow: Number(column(4)),
    synchronousCommit: column(5),
    walWriterDelay: column(6),
    fsync: column(7),
    encoding: column(8),
    isolation: column(9),
    place: column(10),
  }
}

/** The version of a table that is there. */
function versionOf({ comment, columns }: Look): number {
  const there = columns.split(", ")
  const [, version, from] = commentForm.exec(comment) ?? []
  if (Number(from ?? 0) > VERSION) {
    throw new CoatcheckError(
      "corrupt",
      "The postgres store's table was made by a newer version of coatcheck; update this one",
    )
  }
  if (!ours.every((column) => there.includes(column))) {
    const message = "The postgres store did not touch the table: it is another application's; name another one by table"
    throw new CoatcheckError("corrupt", message)
  }
  return Number(version ?? 1)
}

/** Takes the steps that are missing, unless somebody else has by the time that the lock is ours. */
async function advance(client: PostgresClient, names: TableNames): Promise<void> {
  await rowsOf(client, "BEGIN")
  try {
    await rowsOf(client, `SET LOCAL statement_timeout = '${PATIENCE}'`)
    await rowsOf(client, "SELECT pg_advisory_xact_lock(hashtext('coatcheck'), hashtext('table'))")
    const found = await look(client, names)
    const version = found.exists ? versionOf(found) : 0
    if (version < VERSION) for (const sql of await textsFrom(client, names, version)) await rowsOf(client, sql)
    await rowsOf(client, "COMMIT")
  } catch (error) {
    await rowsOf(client, "ROLLBACK").catch(() => {}) // the connection is gone, and with it the transaction; the failure is told
    throw error
  }
}

async function textsFrom(client: PostgresClient, names: TableNames, version: number): Promise<string[]> {
  const { schema } = names
  if (version > 0 || schema === null) return texts(names, version)
  const [row] = await rowsOf(client, `SELECT to_regnamespace('${schema}') IS NULL`)
  return row?.[0] === "t" ? [`CREATE SCHEMA ${schema}`, ...texts(names, version)] : texts(names, version)
}

function texts(names: TableNames, version: number): string[] {
  const comment = `COMMENT ON TABLE ${names.table} IS 'coatcheck table ${VERSION}, for programs from ${FROM}'`
  return [...steps(names).slice(version).flat(), comment]
}

/** The same for people. */
function sqlFrom(names: TableNames, version: number): string {
  const schema = names.schema === null || version > 0 ? [] : [`CREATE SCHEMA IF NOT EXISTS ${names.schema}`]
  return [...schema, ...texts(names, version)].map((sql) => `${sql};`).join(" ")
}

function refusal(error: unknown, sql: string): unknown {
  const state = sqlState(error)
  // No privilege, or no schema to create in, which is what a role finds that may not use any.
  if (state !== "42501" && state !== "3F000") return error
  const message = `The postgres store's role may not create its table; have somebody who may run: ${sql}`
  return new CoatcheckError("denied", message, { cause: error })
}

function* warningsOf({ synchronousCommit, walWriterDelay, fsync, isolation }: Look): Generator<string> {
  if (fsync === "off") yield "fsync is off on the server: a power cut may destroy the whole database"
  if (synchronousCommit === "off") {
    yield `synchronous_commit is off: a crash of the server may lose the writes of the last moments, up to three times wal_writer_delay, which is ${walWriterDelay}`
  }
  if (isolation !== "read committed") {
    yield `Transactions are ${isolation} by default: calls of one session at once may fail; set default_transaction_isolation to 'read committed'`
  }
}

async function rowsOf(client: PostgresClient, text: string): Promise<(string | null)[][]> {
  const { rows } = await client.query({ text, values: [], rowMode: "array", types: asText })
  return rows as (string | null)[][] // every column comes as text
}
