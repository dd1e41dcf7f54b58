// The five verbs on an open SQLite connection.
//
// Calls of one tick share a transaction (./turns.ts): reads one that sees a single moment, writes one `BEGIN IMMEDIATE`
// that does them in order, each seeing those before it. Conditions are decided inside it, in JavaScript, on the record that
// stands there: one lookup more than a condition in SQL, and in return one rule for every verb and one text to check. A
// transaction in which a statement fails is undone, and its calls are taken one by one, so that a page that is damaged or can't be
// read does not fail the sessions of others; one whose COMMIT fails rejects every call of it.
//
// A damaged record (./record.ts) counts as absent and is reported: it can be replaced and deleted like one that expired.
// Expired entries are swept in small batches by an index, started by writes and by one coarse timer that holds no process.
//
// Rejected: a transaction a call (55 µs instead of 11), a thread (a hop costs more than a read), rowids and an index on the
// key (the key twice on disk), LMDB (a damaged file ends the process).

import { checkedStore } from "../../core/checked-store.ts"
import type { Clock } from "../../core/clock.ts"
import { type CheckedQuery, cursorKey, isOther, isOver, refusal, written } from "../../core/contract.ts"
import type { DeleteOutcome, Entry, Outcome, Page, Report, SetOptions, Store } from "../../core/store.ts"
import { CoatcheckError } from "../../errors.ts"
import { damageTeller } from "../shared/damage.ts"
import { commitFailure, isLocked, type SqliteDatabase, storeFailure } from "./driver.ts"
import { listing } from "./listing.ts"
import { packRecord, sweepSecond, unpackRecord } from "./record.ts"
import { type Call, turns } from "./turns.ts"
import { fileWatch } from "./watch.ts"

/** `info.name` of the store. */
export const SQLITE = "sqlite"
/** Calls a transaction: some milliseconds of work. */
const TOGETHER = 128
/** The entries one sweep clears away: about a millisecond of work. */
const SWEPT = 64
const SWEEP_EVERY_MS = 1_000
const SWEEP_ON_MS = 10
const SWEEP_IDLE_MS = 60_000
const DAMAGED = "A record is damaged and counts as absent; if this goes on, check the disk and restore a backup"

/** What the store needs besides its connection. */
export interface SqliteSettings {
  readonly clock: Clock
  readonly report: Report
  /** Milliseconds that a call waits for another connection's lock. */
  readonly patience: number
  readonly maxValueBytes: number
  /** Whether the file is still where it was; it is asked before each write. */
  isInPlace(): boolean
}

/** The store on a connection of ./file.ts, which is its own from now on: `close` closes it. */
export function storeOn(
  db: SqliteDatabase,
  { clock, report, patience, maxValueBytes, isInPlace }: SqliteSettings,
): Store {
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
  const eraseOver = db.prepare(
    "DELETE FROM entries WHERE key IN (SELECT key FROM entries WHERE ends <= ? ORDER BY ends LIMIT ?)",
  )

  const changes = fileWatch(db)
  const tellDamaged = damageTeller(clock, (): void => report({ store: SQLITE, kind: "damaged", message: DAMAGED }))
  const lists = listing(db, tellDamaged)
  const reads = turns(clock, patience, TOGETHER, takeReads)
  const pages = turns(clock, patience, 1, takeReads) // a page is long enough for a turn of its own
  const writes = turns(clock, patience, TOGETHER, takeWrites)
  let sweepAt = 0
  let sweeping = false
  let timer: NodeJS.Timeout
  let closed = false

  // The verbs

  function get(key: string): Promise<Entry | null> {
    return reads.add((now) => live(key, now))
  }

  function set(key: string, value: string, options: SetOptions): Promise<Outcome> {
    return writes.add((now) => put(key, value, options, now))
  }

  function touch(key: string, expiresAt: number | null, version: string | undefined): Promise<Outcome> {
    return writes.add((now): Outcome => {
      const current = live(key, now)
      if (current === null || isOther(current, version)) return { ok: false, current }
      write({ ...current, expiresAt }, current)
      return { ok: true, version: current.version }
    })
  }

  function remove(key: string, version: string | undefined): Promise<DeleteOutcome> {
    return writes.add((now): DeleteOutcome => {
      const current = live(key, now)
      if (current !== null && isOther(current, version)) return { ok: false, current }
      erase.run(key) // also what is there but counts as absent
      return { ok: true, removed: current }
    })
  }

  function list(query: CheckedQuery): Promise<Page> {
    const after = cursorKey(query.cursor)
    return pages.add((now) => lists.page(query, after, now))
  }

  function count(query: CheckedQuery): Promise<number | null> {
    return pages.add(() => lists.count(query))
  }

  async function close(): Promise<void> {
    closed = true
    clearTimeout(timer)
    changes.close()
    await Promise.all([reads.idle(), pages.idle(), writes.idle()])
    try {
      // The last connection to close would do this, but not while the statements of another one wait for the garbage collector.
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
    } catch (cause) {
      const message = "The log could not be moved into the file; nothing is lost, the next one to open it tries again"
      report({ store: SQLITE, kind: "background", message, cause })
    }
    db.close()
  }

  // Inside a transaction

  /** What stands under a key, unless its end has come or it is damaged. */
  function live(key: string, now: number): Entry | null {
    const row = select.get(key) as { record: unknown } | undefined // the one column of the statement
    if (row === undefined) return null
    const entry = unpackRecord(key, row.record)
    if (entry === null) tellDamaged(key)
    return entry === null || isOver(entry.expiresAt, now) ? null : entry
  }

  function put(key: string, value: string, options: SetOptions, now: number): Outcome {
    const current = live(key, now)
    const refused = refusal(current, options)
    if (refused !== null) return refused
    const entry = written(current, key, value, options)
    write(entry, current)
    const { version } = entry
    return options.if === undefined ? { ok: true, version, created: current === null } : { ok: true, version }
  }

  /** Writes an entry over the live one; the indexes are only touched when what they hold changes. */
  function write(entry: Entry, current: Entry | null): void {
    const record = packRecord(entry)
    const ends = sweepSecond(entry.expiresAt)
    const indexed = current !== null && current.owner === entry.owner && sweepSecond(current.expiresAt) === ends
    if (indexed) replace.run(record, entry.key)
    else upsert.run(entry.key, record, ends, entry.owner)
  }

  // Transactions

  function takeReads(calls: Call[]): Call[] {
    const now = clock.now()
    if (calls.length === 1) return calls.filter((one) => !settleRead(one, now))
    try {
      begin.run()
    } catch (error) {
      undo()
      return refuse(calls, storeFailure(error, "read"))
    }
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
      if (!isInPlace()) return refuse(calls, fileGone())
      beginWrite.run()
    } catch (error) {
      if (isLocked(error)) return calls
      undo()
      return refuse(calls, storeFailure(error, "write"))
    }
    try {
      for (const one of calls) one.result = one.work(now)
    } catch (error) {
      undo()
      if (calls.length > 1) return calls.flatMap((one) => takeWrites([one]))
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
    if (sweeping || closed) return
    sweeping = true
    sweepAt = now + SWEEP_EVERY_MS
    void writes
      .add((at) => Number(eraseOver.run(Math.floor(at / 1_000), SWEPT).changes))
      .then((swept) => swept === SWEPT, failed)
      .then((more) => {
        sweeping = false
        if (more) sweepAt = now
        rest(more ? SWEEP_ON_MS : SWEEP_IDLE_MS)
      })
  }

  function failed(cause: unknown): false {
    const message = "A sweep of expired entries failed; it will be tried again"
    report({ store: SQLITE, kind: "background", message, cause })
    return false
  }

  function rest(ms: number): void {
    clearTimeout(timer)
    if (!closed) timer = setTimeout(() => sweep(clock.now()), ms).unref()
  }

  rest(SWEEP_IDLE_MS)
  const info = { name: SQLITE, ordered: true, shared: true, durable: true, atomic: true }
  const { watch } = changes
  return checkedStore({ info, get, set, touch, delete: remove, list, count, watch, close }, maxValueBytes)
}

function fileGone(): CoatcheckError {
  const message =
    "The SQLite file was removed or replaced while it was open; nothing was changed: bring it back, or open the store again"
  return new CoatcheckError("unavailable", message)
}
