// From a path to a connection that may be used, without harm to anything that lies there.
//
// A file is looked at by a connection that may only read before one that may write comes near it: what is no SQLite database, is
// another application's, was cut short, or was made by a newer Coatcheck is refused and stays as it was, to the byte. We never
// open the file ourselves to look into it: closing any descriptor of a file drops every POSIX lock that the process holds on it,
// also those of another connection. A file that is empty or not there is made ours in one transaction, so that of several
// processes that start at once one makes it and the others find it made.
//
// WAL with synchronous=FULL: readers and the writer do not wait for each other, and a COMMIT returns when the log is on disk. The
// log is moved into the file every 256 pages, a quarter of the default, which takes 3 ms where that takes 10. No memory map:
// a file that is cut short under a map ends the process instead of giving an error.

import * as fs from "node:fs"
import { dirname } from "node:path"
import type { Clock } from "../../core/clock.ts"
import { CoatcheckError } from "../../errors.ts"
import { isCorrupt, isLocked, needsRollback, type OpenDatabase, type SqliteDatabase } from "./driver.ts"

/** "COAT": SQLite keeps it in the header for programs that ask whose a file is. */
const APPLICATION_ID = 0x434f4154
const FORMAT = 1
const OPEN_WITHIN_MS = 5_000
const RETRY_MS = 20
const DAMAGED = "it is damaged or no database; restore it, or name another file"

// The indexes are partial: a session without an owner has no place in theirs. They hold the key, so a page by owner is one range.
const schema = `
  CREATE TABLE entries (key TEXT PRIMARY KEY, record TEXT NOT NULL, ends INTEGER, owner TEXT) WITHOUT ROWID;
  CREATE INDEX entries_by_end ON entries (ends) WHERE ends IS NOT NULL;
  CREATE INDEX entries_by_owner ON entries (owner) WHERE owner IS NOT NULL;
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${FORMAT};
`

const settings = `
  PRAGMA synchronous = FULL;
  PRAGMA busy_timeout = 0;
  PRAGMA cache_size = -16384;
  PRAGMA cell_size_check = ON;
  PRAGMA wal_autocheckpoint = 256;
  PRAGMA journal_size_limit = 16777216;
  PRAGMA trusted_schema = OFF;
`

/**
 * Opens a file of ours, or makes an empty or absent one ours (mode 600, absent folders 700).
 *
 * @throws CoatcheckError `corrupt` when it is something else, damaged or newer; `unavailable` when it can't be read and written,
 *   or another process keeps it locked for 5 s.
 */
export async function openFile(open: OpenDatabase, path: string, clock: Clock): Promise<SqliteDatabase> {
  prepare(path)
  for (let left = OPEN_WITHIN_MS; ; left -= RETRY_MS) {
    try {
      return ready(open, path)
    } catch (error) {
      if (error instanceof CoatcheckError) throw error
      if (!isLocked(error)) throw refusal(path, error)
      if (left <= 0) throw trouble(path, "another process keeps it locked; stop it, or try again", error)
    }
    await clock.sleep(Math.ceil(RETRY_MS * (0.5 + Math.random())))
  }
}

/** Whether any user of the machine may read the file. */
export function isOpenToOthers(path: string): boolean {
  return (fs.statSync(path).mode & 0o007) !== 0
}

/**
 * A way to ask whether the file that stands at a path now is still there. On a file that was removed or replaced SQLite goes on writing, and
 * what it wrote is gone with the process.
 */
export function placeOf(path: string): () => boolean {
  const stat = (): fs.BigIntStats | undefined => fs.statSync(path, { bigint: true, throwIfNoEntry: false })
  const then = stat()
  return () => {
    const now = stat()
    return now !== undefined && now.ino === then?.ino && now.dev === then.dev
  }
}

/** Makes folder and file where there are none, and sees that both can be written. */
function prepare(path: string): void {
  const folder = dirname(path)
  try {
    makeFolder(folder)
    if (!fs.existsSync(path)) create(path)
    if (!fs.statSync(path).isFile()) throw trouble(path, "it is no file; name a file in a folder of its own")
    fs.accessSync(path, fs.constants.R_OK | fs.constants.W_OK)
    fs.accessSync(folder, fs.constants.W_OK | fs.constants.X_OK)
  } catch (error) {
    if (error instanceof CoatcheckError) throw error
    throw trouble(path, "file and folder must be readable and writable for this process", error)
  }
}

// A level at a time: Node's own way never comes back where the kernel calls a folder absent that it will not make (/proc).
function makeFolder(folder: string): void {
  if (fs.existsSync(folder)) return
  makeFolder(dirname(folder))
  try {
    fs.mkdirSync(folder, { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error // somebody else has made it
  }
}

function create(path: string): void {
  try {
    fs.closeSync(fs.openSync(path, "wx", 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error // another process was faster, and that is as good
  }
}

function ready(open: OpenDatabase, path: string): SqliteDatabase {
  look(open, path)
  const db = open(path, { readOnly: false })
  try {
    if (identify(db, path) === "new") found(db, path)
    const mode = row(db, "PRAGMA journal_mode = WAL")["journal_mode"]
    if (mode !== "wal") throw trouble(path, "it must lie on a local disk: this file system can't share memory (WAL)")
    db.exec(settings)
    db.exec("BEGIN IMMEDIATE; ROLLBACK") // says now, not at the first write, that the file or its disk is read-only
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

/** Looks at the file through a connection that can't change it. */
function look(open: OpenDatabase, path: string): void {
  const db = open(path, { readOnly: true })
  try {
    identify(db, path)
  } catch (error) {
    // A process died while it made this file or wrote another database; the writing connection rolls it back and looks again.
    if (!needsRollback(error)) throw error
  } finally {
    db.close()
  }
}

/** Says whether the file is empty or ours, and refuses everything else. */
function identify(db: SqliteDatabase, path: string): "new" | "ours" {
  const pages = Number(row(db, "PRAGMA page_count")["page_count"])
  const id = row(db, "PRAGMA application_id")["application_id"]
  const format = Number(row(db, "PRAGMA user_version")["user_version"])
  if (pages === 0 && fs.statSync(path).size === 1) throw notOurs(path, DAMAGED) // SQLite takes a single byte for nothing
  if (pages === 0) return "new"
  if (id !== APPLICATION_ID) throw notOurs(path, "it is another application's database")
  if (format > FORMAT) throw notOurs(path, "a newer version of coatcheck made it; update this one")
  const pageBytes = Number(row(db, "PRAGMA page_size")["page_size"])
  if (isCutShort(path, pages, pageBytes)) throw notOurs(path, "it was cut short; restore it from a backup")
  db.prepare("SELECT key, record, ends, owner FROM entries LIMIT 1").get()
  return "ours"
}

/**
 * Whether pages are missing. SQLite sees that by itself, but not while the shared memory of another connection remembers them. As
 * long as there is a log the file may be behind.
 */
function isCutShort(path: string, pages: number, pageBytes: number): boolean {
  const { size } = fs.statSync(path)
  const log = fs.statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  return size % pageBytes !== 0 || (log === 0 && size < pages * pageBytes)
}

/** Makes an empty file ours, unless somebody else has done it by the time that the lock is ours. */
function found(db: SqliteDatabase, path: string): void {
  db.exec("PRAGMA synchronous = FULL; BEGIN EXCLUSIVE")
  try {
    // The lock itself has given the file its first page, so emptiness shows in the schema now.
    if (row(db, "SELECT count(*) AS n FROM sqlite_schema")["n"] === 0) {
      fs.chmodSync(path, 0o600)
      db.exec(schema)
    } else identify(db, path)
    db.exec("COMMIT")
  } catch (error) {
    db.exec("ROLLBACK")
    throw error
  }
}

function row(db: SqliteDatabase, sql: string): Record<string, unknown> {
  return db.prepare(sql).get() as Record<string, unknown> // each of these pragmas answers with one row
}

function refusal(path: string, error: unknown): CoatcheckError {
  const schemaMissing = (error as { errcode?: unknown }).errcode === 1 // SQLITE_ERROR: no such table or column
  if (isCorrupt(error) || schemaMissing) return notOurs(path, DAMAGED, error)
  return trouble(path, "file, folder and disk must be readable and writable for this process", error)
}

function notOurs(path: string, why: string, cause?: unknown): CoatcheckError {
  return new CoatcheckError("corrupt", `The sqlite store did not touch ${path}: ${why}`, { cause })
}

function trouble(path: string, why: string, cause?: unknown): CoatcheckError {
  return new CoatcheckError("unavailable", `The sqlite store can't use ${path}: ${why}`, { cause })
}
