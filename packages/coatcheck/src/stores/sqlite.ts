// Entries in one SQLite file: the embedded default. One host, any number of processes, no server; what was acknowledged survives
// the end of the process, kill -9 and power loss, because a write is answered after the COMMIT that synced it to disk.
//
// Calls of one tick share a transaction (./sqlite-turns.ts): reads one that sees a single moment, writes one `BEGIN IMMEDIATE`
// that does them in order, each seeing those before it. Conditions are decided inside it, in JavaScript, on the record that
// stands there: one lookup more than a condition in SQL, and in return one rule for every verb and one text to check. A
// transaction that fails is undone whole and every call of it rejects; only where a page is damaged are its calls taken one
// by one, so that one broken page does not fail the sessions of others.
//
// A damaged record (./sqlite-record.ts) counts as absent and is reported: it can be replaced and deleted like one that expired.
// Expired entries are swept in small batches by an index, started by writes and by one coarse timer that holds no process.
//
// Rejected: a transaction a call (55 µs instead of 11), a thread (a hop costs more than a read), rowids and an index on the
// key (the key twice on disk), LMDB (a damaged file ends the process).

import { resolve } from "node:path"
import type { Clock, Duration } from "../core/clock.ts"
import { milliseconds, systemClock } from "../core/clock.ts"
import { randomText } from "../core/crypto.ts"
import type { DeleteOutcome, Entry, ListQuery, Outcome, Page, Report, SetOptions, Store } from "../core/store.ts"
import { limits } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"
import {
  checkDelete,
  checkKey,
  checkQuery,
  checkSet,
  checkTouch,
  closedError,
  cursorAt,
  cursorKey,
  isOver,
  warn,
} from "./check.ts"
import { commitFailure, isCorrupt, isLocked, loadSqlite, type SqliteDatabase, storeFailure } from "./sqlite-driver.ts"
import { isOpenToOthers, openFile } from "./sqlite-file.ts"
import { packRecord, sweepSecond, unpackRecord } from "./sqlite-record.ts"
import { type Call, turns } from "./sqlite-turns.ts"

/** Settings of `sqliteStore`, each with a default. */
export interface SqliteStoreOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told of damaged records, of a file that others may read, and of sweeps that failed. Default: a line on stderr. */
  readonly report?: Report
  /** How long a call waits for another process's lock before it rejects with `unavailable`. Default "1s". */
  readonly deadline?: Duration
  /** The longest value, in bytes of UTF-8. Default 1 MiB. */
  readonly maxValueBytes?: number
}

const NAME = "sqlite"
/** The entries one sweep clears away: about a millisecond of work. */
const SWEPT = 64
const SWEEP_EVERY_MS = 1_000
const SWEEP_ON_MS = 10
const SWEEP_IDLE_MS = 60_000
/** A page ends early after so many characters, so that a thousand long values do not fill the memory. */
const PAGE_CHARACTERS = 8_388_608
const COUNTED = 10_000
const TOLD_KEYS = 1_000
const TELL_AGAIN_MS = 3_600_000
/** In SQLite every blob comes after every text: the upper bound of a range that has none. */
const AFTER_ALL = new Uint8Array(0)

/**
 * A store in the SQLite file at `path`; made, with its folder, when there is none. Several processes may open it at once.
 *
 * Every write is on disk when it is acknowledged. `count` is exact up to 10,000 entries (expired ones that were not swept
 * yet included) and null beyond. Needs Node 22.13, Bun or Deno, or the package @photostructure/sqlite.
 *
 * @throws TypeError when the path is empty or a setting makes no sense.
 * @throws CoatcheckError `unsupported` without SQLite; `corrupt` when the file is damaged, newer or another application's, which
 *   leaves it as it is; `unavailable` when file or folder can't be written.
 */
export async function sqliteStore(path: string, options: SqliteStoreOptions = {}): Promise<Store> {
  const { clock = systemClock, report = warn, maxValueBytes = limits.valueBytes } = options
  if (typeof path !== "string" || path === "") throw new TypeError("sqliteStore needs the path of a file")
  if (path.startsWith(":memory:")) throw new TypeError("sqliteStore keeps a file; for memory use memoryStore")
  if (!Number.isSafeInteger(maxValueBytes) || maxValueBytes < 1) {
    throw new TypeError("maxValueBytes must be a positive whole number")
  }
  const patience = milliseconds(options.deadline ?? "1s", "deadline")
  const file = resolve(path)
  const db = await openFile(await loadSqlite(), file, clock)
  if (isOpenToOthers(file)) {
    report({ store: NAME, kind: "warning", message: "Any user of this machine may read the file: chmod 600 it" })
  }
  return storeOn(db, { clock, report, patience, maxValueBytes })
}

interface Settings {
  readonly clock: Clock
  readonly report: Report
  readonly patience: number
  readonly maxValueBytes: number
}

function storeOn(db: SqliteDatabase, { clock, report, patience, maxValueBytes }: Settings): Store {
  const begin = db.prepare("BEGIN")
  const beginWrite = db.prepare("BEGIN IMMEDIATE")
  const commit = db.prepare("COMMIT")
  const select = db.prepare("SELECT record FROM entries WHERE key = ?")
  const replace = db.prepare("UPDATE entries SET record = ? WHERE key = ?")
  const upsert = db.prepare(
    `INSERT INTO entries (key, record, ends, owner) VALUES (?, ?, ?, ?)
     ON CONFLICT (key) DO UPDATE SET record = excluded.record, ends = excluded.ends, owner = excluded.owner`,
  )
  const erase = db.prepare("DELETE FROM entries WHERE key = ?")
  const selectPage = db.prepare("SELECT key, record FROM entries WHERE key >= ? AND key < ? ORDER BY key LIMIT ?")
  const selectOwned = db.prepare(
    "SELECT key, record FROM entries WHERE owner = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
  )
  const countPage = db.prepare("SELECT count(*) AS n FROM (SELECT 1 FROM entries WHERE key >= ? AND key < ? LIMIT ?)")
  const countOwned = db.prepare(
    "SELECT count(*) AS n FROM (SELECT 1 FROM entries WHERE owner = ? AND key >= ? AND key < ? LIMIT ?)",
  )
  const eraseOver = db.prepare(
    "DELETE FROM entries WHERE key IN (SELECT key FROM entries WHERE ends <= ? ORDER BY ends LIMIT ?)",
  )

  const told = new Map<string, number>() // damaged keys, and until when not to tell of them again
  const reads = turns(clock, patience, takeReads)
  const writes = turns(clock, patience, takeWrites)
  let sweepAt = 0
  let sweeping = false
  let timer: NodeJS.Timeout
  let closing: Promise<void> | null = null

  // The verbs

  function get(key: string): Promise<Entry | null> {
    return call(() => {
      checkKey(key)
      return reads.add((now) => live(key, now))
    })
  }

  function set(key: string, value: string, options: SetOptions = {}): Promise<Outcome> {
    return call(() => {
      checkSet(key, value, options, maxValueBytes)
      const version = options.version ?? randomText(12)
      return writes.add((now) => put(key, value, version, options, now))
    })
  }

  function touch(key: string, expiresAt: number | null, options?: { readonly version?: string }): Promise<Outcome> {
    return call(() => {
      checkTouch(key, expiresAt, options)
      return writes.add((now): Outcome => {
        const current = live(key, now)
        if (current === null || isOther(current, options?.version)) return { ok: false, current }
        write({ ...current, expiresAt }, current)
        return { ok: true, version: current.version }
      })
    })
  }

  function remove(key: string, options?: { readonly version?: string }): Promise<DeleteOutcome> {
    return call(() => {
      checkDelete(key, options)
      return writes.add((now): DeleteOutcome => {
        const current = live(key, now)
        if (current !== null && isOther(current, options?.version)) return { ok: false, current }
        erase.run(key) // also what is there but counts as absent
        return { ok: true, removed: current }
      })
    })
  }

  function list(query?: ListQuery): Promise<Page> {
    return call(() => {
      const { prefix, owner, cursor, limit, values } = checkQuery(query)
      const after = cursorKey(cursor)
      const range = rangeOf(prefix, after)
      return reads.add((now) => {
        const rows =
          owner === null ? selectPage.iterate(...range, limit + 1) : selectOwned.iterate(owner, ...range, limit + 1)
        return page(rows as Iterable<Row>, limit, values, now) // the two columns that were asked for
      })
    })
  }

  function count(query?: { readonly prefix?: string; readonly owner?: string }): Promise<number | null> {
    return call(() => {
      const { prefix, owner } = checkQuery(query)
      const range = rangeOf(prefix, null)
      return reads.add(() => {
        const row = owner === null ? countPage.get(...range, COUNTED + 1) : countOwned.get(owner, ...range, COUNTED + 1)
        const { n } = row as { n: number } // an aggregate always has one row
        return n > COUNTED ? null : n
      })
    })
  }

  function close(): Promise<void> {
    closing ??= shut()
    return closing
  }

  async function shut(): Promise<void> {
    clearTimeout(timer)
    await Promise.all([reads.idle(), writes.idle()])
    db.close() // the last one to close moves the log into the file
  }

  /** Makes sure that whatever is wrong with a call rejects its promise. */
  function call<Result>(begin: () => Promise<Result>): Promise<Result> {
    try {
      return closing === null ? begin() : Promise.reject(closedError(NAME))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  // Inside a transaction

  /** What stands under a key, unless its end has come or it is damaged. */
  function live(key: string, now: number): Entry | null {
    const row = select.get(key) as Row | undefined
    if (row === undefined) return null
    const entry = unpackRecord(key, row.record)
    if (entry === null) tellDamaged(key, now)
    return entry === null || isOver(entry.expiresAt, now) ? null : entry
  }

  function put(key: string, value: string, version: string, options: SetOptions, now: number): Outcome {
    const current = live(key, now)
    const condition = options.if
    if (condition !== undefined) {
      if (current !== null && current.version === options.version) return { ok: true, version }
      const holds = condition === "absent" ? current === null : current?.version === condition.version
      if (!holds) return { ok: false, current }
    }
    const { expiresAt = current?.expiresAt ?? null, owner = current?.owner ?? null } = options
    write({ key, value, version, expiresAt, owner }, current)
    return { ok: true, version }
  }

  /** Writes an entry over the live one; the indexes are only touched when what they hold changes. */
  function write(entry: Entry, current: Entry | null): void {
    const record = packRecord(entry)
    const ends = sweepSecond(entry.expiresAt)
    const indexed = current !== null && current.owner === entry.owner && sweepSecond(current.expiresAt) === ends
    if (indexed) replace.run(record, entry.key)
    else upsert.run(entry.key, record, ends, entry.owner)
  }

  function page(rows: Iterable<Row>, limit: number, values: boolean, now: number): Page {
    const entries: Entry[] = []
    let looked = 0
    let characters = 0
    let last = ""
    for (const { key, record } of rows) {
      if (looked === limit || characters > PAGE_CHARACTERS) return { entries, cursor: cursorAt(last) }
      looked += 1
      characters += record.length
      last = key
      const entry = unpackRecord(key, record)
      if (entry === null) tellDamaged(key, now)
      else if (!isOver(entry.expiresAt, now)) entries.push(values ? entry : { ...entry, value: "" })
    }
    return { entries, cursor: null }
  }

  function tellDamaged(key: string, now: number): void {
    if ((told.get(key) ?? now) > now) return
    if (told.size >= TOLD_KEYS) told.clear()
    told.set(key, now + TELL_AGAIN_MS)
    const message = "A record is damaged and counts as absent; if this goes on, check the disk and restore a backup"
    report({ store: NAME, kind: "damaged", message })
  }

  // Transactions

  function takeReads(calls: Call[]): Call[] {
    const now = clock.now()
    if (calls.length === 1) return calls.filter((one) => !settleRead(one, now))
    begin.run()
    const blocked = calls.filter((one) => !settleRead(one, now))
    end()
    return blocked
  }

  /** Settles one read; false when a lock stood in its way. */
  function settleRead(read: Call, now: number): boolean {
    try {
      read.resolve(read.work(now))
    } catch (error) {
      if (isLocked(error)) return false
      read.reject(storeFailure(error, "read"))
    }
    return true
  }

  function takeWrites(calls: Call[]): Call[] {
    const now = clock.now()
    try {
      beginWrite.run()
    } catch (error) {
      return isLocked(error) ? calls : refuse(calls, storeFailure(error, "write"))
    }
    try {
      for (const one of calls) one.result = one.work(now)
    } catch (error) {
      undo()
      if (calls.length > 1 && isCorrupt(error)) return calls.flatMap((one) => takeWrites([one]))
      return refuse(calls, storeFailure(error, "write"))
    }
    try {
      commit.run()
    } catch (error) {
      undo()
      return refuse(calls, commitFailure(error))
    }
    for (const one of calls) one.resolve(one.result)
    if (now >= sweepAt) sweep(now)
    return []
  }

  function refuse(calls: readonly Call[], error: CoatcheckError): Call[] {
    for (const one of calls) one.reject(error)
    return []
  }

  function end(): void {
    try {
      commit.run()
    } catch {
      undo() // nothing was written, so there is nothing to tell
    }
  }

  function undo(): void {
    try {
      db.exec("ROLLBACK")
    } catch {
      // SQLite has rolled it back itself, as it does after some failures; the failure is told by our caller.
    }
  }

  // What has expired

  /** Clears away a batch of what has expired; if it was a whole one, goes on soon. */
  function sweep(now: number): void {
    if (sweeping || closing !== null) return
    sweeping = true
    sweepAt = now + SWEEP_EVERY_MS
    writes
      .add((at) => Number(eraseOver.run(Math.floor(at / 1_000), SWEPT).changes))
      .then(
        (swept) => {
          if (swept === SWEPT) sweepAt = now
          return swept === SWEPT ? SWEEP_ON_MS : SWEEP_IDLE_MS
        },
        (cause: unknown) => {
          report({
            store: NAME,
            kind: "background",
            message: "A sweep of expired entries failed; it will be tried again",
            cause,
          })
          return SWEEP_IDLE_MS
        },
      )
      .then((ms) => {
        sweeping = false
        rest(ms)
      })
  }

  function rest(ms: number): void {
    clearTimeout(timer)
    if (closing === null) timer = setTimeout(() => sweep(clock.now()), ms).unref()
  }

  rest(SWEEP_IDLE_MS)
  return {
    info: { name: NAME, ordered: true, shared: true, durable: true, atomic: true },
    get,
    set,
    touch,
    delete: remove,
    list,
    count,
    close,
  }
}

interface Row {
  readonly key: string
  readonly record: string
}

function isOther(entry: Entry, version: string | undefined): boolean {
  return version !== undefined && version !== entry.version
}

/** From which text on (included) and up to which (excluded) the keys of a page lie. */
function rangeOf(prefix: string, after: string | null): [string, string | Uint8Array] {
  // No key has a control character, so nothing lies between a key and that key with U+0001 behind it.
  const from = after === null ? prefix : `${after}\u0001`
  return [Buffer.compare(Buffer.from(from), Buffer.from(prefix)) < 0 ? prefix : from, prefixEnd(prefix)]
}

/** The first text in byte order that comes after every text with this prefix. */
function prefixEnd(prefix: string): string | Uint8Array {
  const points = Array.from(prefix)
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    const point = last.codePointAt(0) as number // each has one
    if (point === 0x10ffff) continue
    return points.join("") + String.fromCodePoint(point === 0xd7ff ? 0xe000 : point + 1)
  }
  return AFTER_ALL
}
