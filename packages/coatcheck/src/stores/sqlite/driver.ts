// Which SQLite, and what its errors mean. `node:sqlite` is in Node 22.13 and later, Bun and Deno; on Node 20 the package
// @photostructure/sqlite has the same classes, and only then it has to be installed. Both are the same library, compiled into the
// process: no server, no thread, and every call is synchronous.
//
// An error of node:sqlite carries SQLite's extended code as `errcode`, one of the package as `sqliteExtendedCode`, if it carries one at
// all; the low byte is the primary code. What the code promises about the data decides ours: a write that could not begin or was undone is `unavailable` or `full`, damage is `corrupt`. Only a
// COMMIT whose sync failed leaves a doubt: the frames are in the log, and a crash before the next write may bring them to life.

import { CoatcheckError, type ErrorCode } from "../../errors.ts"

/** What a column or a parameter holds. */
export type SqliteValue = string | number | Uint8Array | null

/** A prepared statement, as far as we use it. */
export interface SqliteStatement {
  run(...values: SqliteValue[]): { readonly changes: number | bigint }
  get(...values: SqliteValue[]): unknown
  all(...values: SqliteValue[]): unknown[]
}

/** A connection, as far as we use it. */
export interface SqliteDatabase {
  exec(sql: string): void
  prepare(sql: string): SqliteStatement
  close(): void
}

/** Opens a file that exists. */
export type OpenDatabase = (path: string, options: { readonly readOnly: boolean }) => SqliteDatabase

interface SqliteModule {
  readonly DatabaseSync: new (path: string, options: { readonly readOnly: boolean }) => SqliteDatabase
}

const BUSY = 5
const LOCKED = 6
const CORRUPT = 11
const FULL = 13
/** WAL's own lock was lost to others many times in a row. */
const PROTOCOL = 15
const NOT_A_DATABASE = 26
const IO_ERROR_WRITE = 778
/** @photostructure/sqlite gives errors of `all` no code; SQLite's own sentences tell those that matter. */
const codeByMessage: ReadonlyMap<unknown, number> = new Map([
  ["database is locked", BUSY],
  ["database disk image is malformed", CORRUPT],
  ["database or disk is full", FULL],
  ["file is not a database", NOT_A_DATABASE],
])
/** Somebody's crash left a rollback journal, and a connection that may only read can't roll it back. */
const READONLY_ROLLBACK = 776

/**
 * The SQLite of this runtime.
 *
 * @throws CoatcheckError `unsupported` when there is none, saying what to install.
 */
export async function loadSqlite(): Promise<OpenDatabase> {
  const { DatabaseSync } = await loadModule()
  return (path, options) => new DatabaseSync(path, options)
}

async function loadModule(): Promise<SqliteModule> {
  const builtIn: string = "node:sqlite" // older types and bundlers do not know it
  try {
    return (await import(builtIn)) as SqliteModule
  } catch {
    // This runtime has none, so the package is the next to ask; its error is the one that matters.
  }
  try {
    return await import("@photostructure/sqlite")
  } catch (cause) {
    const message = "SQLite needs Node 22.13 or later, or the package: npm install @photostructure/sqlite"
    throw new CoatcheckError("unsupported", message, { cause })
  }
}

/** Whether a call failed because another connection holds the lock: the same call may work in a moment, and nothing happened. */
export function isLocked(error: unknown): boolean {
  const code = primary(error)
  return code === BUSY || code === LOCKED || code === PROTOCOL
}

/** Whether the file itself is damaged where the call looked. */
export function isCorrupt(error: unknown): boolean {
  const code = primary(error)
  return code === CORRUPT || code === NOT_A_DATABASE
}

/** Whether a journal stands in the way of a connection that may only read. */
export function needsRollback(error: unknown): boolean {
  return extended(error) === READONLY_ROLLBACK
}

/** Our error for a driver's, of a call that changed nothing, or whose changes were undone. */
export function storeFailure(error: unknown, verb: string): CoatcheckError {
  return wrap(codeOf(error), verb, error)
}

/** Our error for a COMMIT that failed: only a full disk and a failed write are sure not to have left a whole transaction. */
export function commitFailure(error: unknown): CoatcheckError {
  const undone = primary(error) === FULL || extended(error) === IO_ERROR_WRITE
  return wrap(undone ? codeOf(error) : "unknown-outcome", "write", error)
}

const advice = {
  full: "the disk is full; make room, nothing was changed",
  corrupt: "the file is damaged; restore it from a backup",
  unavailable: "nothing was changed; see the cause, and try again",
  "unknown-outcome": "the disk failed while it was syncing; read before you write again, and check the disk",
} as const satisfies Partial<Record<ErrorCode, string>>

function wrap(code: keyof typeof advice, verb: string, cause: unknown): CoatcheckError {
  return new CoatcheckError(code, `The sqlite store could not ${verb}: ${advice[code]}`, { cause })
}

function codeOf(error: unknown): "full" | "corrupt" | "unavailable" {
  if (isCorrupt(error)) return "corrupt"
  return primary(error) === FULL ? "full" : "unavailable"
}

function primary(error: unknown): number {
  return extended(error) & 0xff
}

function extended(error: unknown): number {
  const said = (error ?? {}) as { errcode?: unknown; sqliteExtendedCode?: unknown; message?: unknown }
  for (const code of [said.sqliteExtendedCode, said.errcode]) if (typeof code === "number") return code
  return codeByMessage.get(said.message) ?? 0
}
