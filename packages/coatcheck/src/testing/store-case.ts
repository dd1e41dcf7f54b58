// What the cases of the store suite are made of. A case is a name and a function that rejects when the store does not keep the
// contract; it knows no test runner. Every case gets a store of its own, a clock that it moves, and what the store reported.

import assert from "node:assert/strict"
import {
  limits,
  type Entry,
  type GetOptions,
  type Outcome,
  type Report,
  type Store,
  type StoreReport,
} from "../core/store.ts"
import { CoatcheckError, type ErrorCode } from "../errors.ts"
import { type FakeClock, fakeClock } from "./fake-clock.ts"

/** What a store under test is to be made with. */
export interface StoreSetup {
  /** The store's idea of now: it must decide by this clock what is expired. */
  readonly clock: FakeClock
  /** Where the store tells what happens in the background. */
  readonly report: Report
}

/** How the suite gets hold of a store. */
export interface StoreHarness {
  /** Opens an empty store. Called once at the start of each case, and for each run of the model. */
  open(setup: StoreSetup): Store | Promise<Store>
  /**
   * Opens one more handle on the data of the last `open`, as another process would, also after that one was closed. Give it
   * when the store's `info.shared` is true: then the cases about several handles run too.
   */
  openSecond?(setup: StoreSetup): Store | Promise<Store>
  /** The longest value that the store takes, in bytes. Default 1 MiB. */
  readonly valueBytes?: number
}

/** One thing that a store must do. */
export interface StoreCase {
  /** What it shows, as a sentence; made for the name of a test. */
  readonly name: string
  /** Opens a store, checks it and closes it. Rejects with an AssertionError when the store does something else. */
  run(): Promise<void>
}

/** What a check works with. */
export interface Bench {
  readonly store: Store
  readonly clock: FakeClock
  readonly reports: readonly StoreReport[]
  readonly valueBytes: number
  /** One more handle on the same data; closed at the end of the case. */
  second(): Promise<Store>
}

/** A check before it is bound to a store. */
export interface Check {
  readonly name: string
  readonly shared: boolean
  check(bench: Bench): Promise<void>
}

/** A check of one store. `rows` are the ids of the requirements that it shows, in docs/reference/behaviour.md; "" for none. */
export function check(rows: string, sentence: string, run: (bench: Bench) => Promise<void>): Check {
  return { name: rows === "" ? sentence : `${rows}: ${sentence}`, shared: false, check: run }
}

/** A check that needs two handles on the same data. */
export function checkShared(rows: string, sentence: string, run: (bench: Bench) => Promise<void>): Check {
  return { ...check(rows, sentence, run), shared: true }
}

/** Runs a check against a fresh store. */
export async function runCheck(harness: StoreHarness, work: (bench: Bench) => Promise<void>): Promise<void> {
  const reports: StoreReport[] = []
  const clock = fakeClock()
  const setup: StoreSetup = { clock, report: (report) => reports.push(report) }
  const opened: Store[] = [await harness.open(setup)]
  const store = opened[0] as Store // just put there
  async function second(): Promise<Store> {
    assert.ok(harness.openSecond, "this case needs harness.openSecond")
    const more = await harness.openSecond(setup)
    opened.push(more)
    return more
  }
  try {
    await work({ store, clock, reports, valueBytes: harness.valueBytes ?? limits.valueBytes, second })
  } finally {
    for (const one of opened) await one.close()
  }
}

/** Asserts that a call rejects, and does not throw in the caller's face, with one of these codes. */
export async function rejects(call: () => Promise<unknown>, ...codes: ErrorCode[]): Promise<void> {
  const promise = call()
  assert.equal(typeof promise.then, "function", "a verb returns a promise whatever its arguments")
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof CoatcheckError, `expected a CoatcheckError, got ${String(error)}`)
    assert.ok(codes.includes(error.code), `expected ${codes.join(" or ")}, got ${error.code}: ${error.message}`)
    return true
  })
}

/** Writes an entry that must be written, and returns its version. */
export async function put(store: Store, ...call: Parameters<Store["set"]>): Promise<string> {
  const outcome = await store.set(...call)
  assert.ok(outcome.ok, "this set has no reason to be refused")
  return outcome.version
}

/** The entry under a key that must be there. */
export async function entryAt(store: Store, key: string, options?: GetOptions): Promise<Entry> {
  const entry = await store.get(key, options)
  assert.ok(entry !== null, "the entry should be there")
  return entry
}

/** Asserts that a conditional call was refused by this entry, or by nothing at all. */
export function refusedBy(outcome: Outcome, current: Entry | null): void {
  assert.deepEqual(outcome, { ok: false, current })
}

/** Every entry that a listing gives, page by page. */
export async function listAll(store: Store, query: Parameters<Store["list"]>[0] = {}): Promise<Entry[]> {
  const entries: Entry[] = []
  let cursor: string | null = null
  do {
    const page = await store.list(cursor === null ? query : { ...query, cursor })
    assert.ok(page.entries.length <= (query.limit ?? limits.defaultPage), "a page is no longer than its limit")
    entries.push(...page.entries)
    cursor = page.cursor
  } while (cursor !== null)
  return entries
}

/** Asserts that a listing gave exactly these keys: in byte order where the store is ordered, else in any, perhaps repeated. */
export function sameKeys(store: Store, entries: readonly Entry[], keys: readonly string[]): void {
  const expected = inByteOrder(keys)
  const listed = entries.map((entry) => entry.key)
  assert.deepEqual(store.info.ordered ? listed : inByteOrder([...new Set(listed)]), expected)
}

/** Keys in the order of their UTF-8 bytes. */
export function inByteOrder(keys: readonly string[]): string[] {
  return keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}
