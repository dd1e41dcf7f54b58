// The five verbs over a pool whose table is in order. Which statement says what is in ./statements.ts, how calls get there in
// ./lane.ts; here a row becomes an outcome.

import { checkedStore, type StoreVerbs } from "../../core/checked-store.ts"
import type { Clock } from "../../core/clock.ts"
import { type CheckedQuery, isOver } from "../../core/contract.ts"
import { randomText } from "../../core/crypto.ts"
import type { DeleteOutcome, Entry, Outcome, Page, Report, SetOptions, Store } from "../../core/store.ts"
import { coarseTimer } from "../shared/timer.ts"
import type { PostgresPool, PostgresQuery } from "./driver.ts"
import { POSTGRES } from "./errors.ts"
import { lane } from "./lane.ts"
import { countOf, listing, pageOf } from "./listing.ts"
import type { TableNames } from "./names.ts"
import { doneOf, entryOf, type Row, statements } from "./statements.ts"
import { sweeps } from "./sweeps.ts"
import { watches } from "./watch.ts"

/** What the store needs besides its pool. */
export interface PostgresSettings {
  readonly clock: Clock
  readonly report: Report
  /** Milliseconds of a call. */
  readonly deadline: number
  readonly maxValueBytes: number
  readonly connections: number
  readonly maxQueued: number
  /** Whether writes are told to those who watch. */
  readonly notify: boolean
  /** Whether connections keep prepared statements. */
  readonly prepare: boolean
}

/** The store on a pool, its changes told on `channel`; `end` lets go of the pool when the store is closed. */
export function storeOn(
  pool: PostgresPool,
  names: TableNames,
  channel: string,
  settings: PostgresSettings,
  end: () => Promise<void>,
): Store {
  const { clock, report, deadline, notify, prepare } = settings
  const sql = statements(names, notify ? channel : null, prepare)
  const lists = listing(names, prepare)
  const calls = lane(pool, coarseTimer(clock, deadline), settings, sql.get)
  const sweeping = sweeps(
    clock,
    async (now, most) => (await calls.ask(sql.sweep(now, most), true)).length,
    (cause) => background("A sweep of expired entries failed; it will be tried again", cause),
  )
  const watching = watches(pool, channel, deadline, (cause) =>
    background("The connection that hears of changes was lost; a new one will be made", cause),
  )

  async function get(key: string): Promise<Entry | null> {
    const row = await calls.read(key)
    return row === null ? null : alive(entryOf(row))
  }

  async function set(key: string, value: string, options: SetOptions): Promise<Outcome> {
    const { version = randomText(12), if: condition } = options
    const now = clock.now()
    if (condition === undefined) return outcome(await write(sql.put(key, value, version, options, now)), version)
    if (condition === "absent") return outcome(await write(sql.insert(key, value, version, options, now)), version)
    const base = condition.version
    return outcome(await decide(sql.replace(key, value, version, base, options, now), base), version)
  }

  async function touch(key: string, expiresAt: number | null, version: string | undefined): Promise<Outcome> {
    return outcome(await decide(sql.touch(key, expiresAt, version, clock.now()), version), null)
  }

  async function remove(key: string, version: string | undefined): Promise<DeleteOutcome> {
    const row = await decide(sql.remove(key, version, clock.now()), version)
    const entry = row === null ? null : alive(entryOf(row))
    if (row === null || entry === null || doneOf(row)) return { ok: true, removed: entry }
    return { ok: false, current: entry }
  }

  async function list(query: CheckedQuery): Promise<Page> {
    return pageOf(await calls.ask(lists.page(query), false), query.limit, clock.now())
  }

  async function count(query: CheckedQuery): Promise<number | null> {
    return countOf(await calls.ask(lists.count(query), false))
  }

  async function write(query: PostgresQuery): Promise<Row | null> {
    const [row] = await calls.ask(query, true)
    sweeping.nudge()
    return row ?? null
  }

  /**
   * A write for one version. It may find another one, wait for whoever holds the row, and be refused by the very version that it is
   * for, which came meanwhile. Nothing was written then, and it is asked once more: the only call that can take two statements.
   */
  async function decide(query: PostgresQuery, version: string | undefined): Promise<Row | null> {
    const row = await write(query)
    const isFor = row !== null && !doneOf(row) && entryOf(row).version === version
    return isFor ? write(query) : row
  }

  /** `own`: the version that was to be written; one that stands there already was written before. */
  function outcome(row: Row | null, own: string | null): Outcome {
    if (row === null) return { ok: false, current: null }
    const entry = entryOf(row)
    if (doneOf(row) || entry.version === own) return { ok: true, version: entry.version }
    return { ok: false, current: entry }
  }

  function alive(entry: Entry): Entry | null {
    return isOver(entry.expiresAt, clock.now()) ? null : entry
  }

  function background(message: string, cause: unknown): void {
    report({ store: POSTGRES, kind: "background", message, cause })
  }

  async function close(): Promise<void> {
    sweeping.stop()
    watching.close()
    await calls.idle()
    await end()
  }

  const verbs: StoreVerbs = {
    info: { name: POSTGRES, ordered: true, shared: true, durable: true, atomic: true, deadline },
    get,
    set,
    touch,
    delete: remove,
    list,
    count,
    ...(notify && { watch: watching.watch }),
    close,
  }
  return checkedStore(verbs, settings.maxValueBytes)
}
