// The five verbs on a folder of ours.
//
// A read opens one file, without any lock: files are put in place whole, by rename. A write takes the record's lock (./locks.ts), looks at what
// stands there, decides by the rules of the contract, writes a new file, syncs it, renames it into its place, syncs the folder, and
// is acknowledged. So the compare and the write are one step for all processes, and what was acknowledged survives kill and power loss.
//
// A damaged record counts as absent and is reported: it can be replaced and deleted like one that expired.
//
// After a sync that failed the kernel may have thrown away what it could not write, and the next sync of the same file would report
// nothing. So nothing is synced twice. A new file whose sync failed is thrown away, and nothing has happened. A record that was in its
// place when the folder could not be synced is in doubt: its writer is told so, and nobody is told that it stands, by a read or
// by a write that finds itself done already, before this store has written it anew.

import { checkedStore } from "../../core/checked-store.ts"
import type { Clock } from "../../core/clock.ts"
import { type CheckedQuery, isOther, isOver, refusal, written } from "../../core/contract.ts"
import { randomText } from "../../core/crypto.ts"
import type { DeleteOutcome, Entry, Outcome, Page, Report, SetOptions, Store } from "../../core/store.ts"
import { CoatcheckError } from "../../errors.ts"
import { discard, erase, readWhole, replace, writeNew } from "./disk.ts"
import { FILE, failure, isMissing } from "./errors.ts"
import type { Folder } from "./folder.ts"
import { type Answer, type Call, lanes } from "./lanes.ts"
import { listing } from "./listing.ts"
import { locksIn } from "./locks.ts"
import { ownersIn } from "./owners.ts"
import { nameOf, packRecord, unpackRecord } from "./record.ts"
import { sweeper } from "./sweep.ts"

/** What the store needs besides its folder. */
export interface FileSettings {
  readonly clock: Clock
  readonly report: Report
  /** Milliseconds that a call takes at most. */
  readonly deadline: number
  readonly maxValueBytes: number
}

/** What lies under a name: an entry, perhaps expired; or a damaged file, which is there and is no entry. */
interface Standing {
  readonly entry: Entry | null
  readonly isThere: boolean
}

/** One call on a record whose lock is held: what it answers, given the live entry, and what is to stand there then. */
interface Step {
  readonly key: string
  decide(current: Entry | null): Decision<unknown>
}

/** What a call comes to. */
interface Decision<Result> {
  readonly result: Result
  /** Left out: what stands there stays. null: nothing is to stand there. */
  readonly next?: Entry | null
  /** Another one was faster. */
  readonly refused?: true
}

/** Longer files are read as damaged, unless values may be longer still. */
const LONGEST_FILE = 67_108_864
const HEADER_BYTES = 8_192
const TOLD_NAMES = 1_000
const TELL_AGAIN_MS = 3_600_000

/** The store in a folder of ./folder.ts. */
export async function storeIn(folder: Folder, settings: FileSettings): Promise<Store> {
  const { clock, report, deadline, maxValueBytes } = settings
  const locks = locksIn(folder.locks, folder.work)
  const owners = ownersIn(folder)
  const line = lanes<Step>(clock, deadline, {
    begin: locks.take,
    take,
    end: locks.giveBack,
  })
  const lists = listing(folder, owners, (name) => look(name).entry)
  const sweeps = sweeper({ folder, locks, owners, clock, report, read: (name) => look(name).entry })
  const longest = Math.max(LONGEST_FILE, maxValueBytes + HEADER_BYTES)
  const told = new Map<string, number>() // damaged names, and until when not to tell of them again
  const doubtful = new Set<string>() // names of which nobody knows whether what stands there stays
  const pages = new Set<Promise<unknown>>()

  // The verbs

  function get(key: string): Entry | null | Promise<Entry | null> {
    const name = nameOf(key)
    if (doubtful.has(name)) return readAnew(key, name)
    try {
      return live(look(name))
    } catch (error) {
      throw failure("read", error)
    }
  }

  function set(key: string, value: string, options: SetOptions): Promise<Outcome> {
    return write<Outcome>(key, (current) => {
      const refused = refusal(current, options)
      if (refused !== null) return { result: refused, refused: true }
      const next = written(current, key, value, options)
      const { version } = next
      if (options.if !== undefined) return { result: { ok: true, version }, next }
      return { result: { ok: true, version, created: current === null }, next }
    })
  }

  function touch(key: string, expiresAt: number | null, version: string | undefined): Promise<Outcome> {
    return write<Outcome>(key, (current) => {
      if (current === null || isOther(current, version)) return { result: { ok: false, current }, refused: true }
      const result: Outcome = { ok: true, version: current.version }
      return current.expiresAt === expiresAt ? { result } : { result, next: { ...current, expiresAt } }
    })
  }

  function remove(key: string, version: string | undefined): Promise<DeleteOutcome> {
    return write<DeleteOutcome>(key, (current) => {
      if (current !== null && isOther(current, version)) {
        return { result: { ok: false, current }, refused: true }
      }
      return { result: { ok: true, removed: current }, next: null } // also what is there but counts as absent
    })
  }

  async function list(query: CheckedQuery): Promise<Page> {
    const page = lists.page(query, clock.now())
    pages.add(page)
    try {
      return await page
    } catch (error) {
      throw failure("list", error)
    } finally {
      pages.delete(page)
    }
  }

  function count(query: CheckedQuery): number | null {
    try {
      return lists.count(query)
    } catch (error) {
      throw failure("count", error)
    }
  }

  async function close(): Promise<void> {
    await Promise.all([line.idle(), sweeps.stop(), Promise.allSettled(pages)])
    await locks.end()
  }

  // Reading

  function look(name: string): Standing {
    const path = folder.find("records", name)
    const bytes = path === null ? null : readWhole(path, longest)
    if (bytes === null) {
      folder.stillThere("records")
      return { entry: null, isThere: false }
    }
    const entry = unpackRecord(name, bytes)
    if (entry === null) tellDamaged(name)
    return { entry, isThere: true }
  }

  function live({ entry }: Standing): Entry | null {
    return entry === null || isOver(entry.expiresAt, clock.now()) ? null : entry
  }

  async function readAnew(key: string, name: string): Promise<Entry | null> {
    try {
      return (await line.add(name, { key, decide: (current) => ({ result: current }) })) as Entry | null // what `decide` gave
    } catch (cause) {
      const message = "The file store could not make sure of a record that it failed to sync before; check the disk"
      throw new CoatcheckError("unavailable", message, { cause })
    }
  }

  function tellDamaged(name: string): void {
    const now = clock.now()
    if ((told.get(name) ?? now) > now) return
    if (told.size >= TOLD_NAMES) told.clear()
    told.set(name, now + TELL_AGAIN_MS)
    const file = `records/${name.slice(0, 2)}/${name}`
    const message = `The file ${file} is damaged and counts as absent; check the disk, restore the file from a backup or remove it`
    report({ store: FILE, kind: "damaged", message })
  }

  // Writing

  function write<Result>(key: string, decide: (current: Entry | null) => Decision<Result>): Promise<Result> {
    return line.add(nameOf(key), { key, decide }) as Promise<Result> // what `decide` gave
  }

  /** Takes calls of one record, whose lock is held, together: each sees those before it, and all are answered after one write. */
  async function take(name: string, calls: readonly Call<Step>[]): Promise<Answer> {
    const [first] = calls
    if (first === undefined) return { refused: false, give() {} }
    try {
      const standing = look(name)
      let after = live(standing)
      let isChanged = doubtful.has(name)
      let isRefused = false
      const results = calls.map(({ step }) => {
        const { result, next, refused } = step.decide(after)
        if (refused) isRefused = true
        if (next !== undefined) {
          isChanged = true
          after = next
        }
        return result
      })
      if (isChanged) await keep(name, first.step.key, standing, after)
      sweeps.nudge()
      return { refused: isRefused, give: () => calls.forEach((call, at) => call.resolve(results[at])) }
    } catch (error) {
      const problem = failure("write", error)
      if (problem.code === "unknown-outcome") doubtful.add(name)
      else if (calls.length > 1) return takeOneByOne(name, calls)
      return { refused: false, give: () => calls.forEach((call) => call.reject(problem)) }
    }
  }

  /** One of them was to blame perhaps, such as a long value on a full disk; the others need not fail with it. */
  async function takeOneByOne(name: string, calls: readonly Call<Step>[]): Promise<Answer> {
    const answers: Answer[] = []
    for (const call of calls) if (!call.over) answers.push(await take(name, [call]))
    return { refused: answers.some(({ refused }) => refused), give: () => answers.forEach(({ give }) => give()) }
  }

  /** Makes `after` stand under a name, for good. */
  async function keep(name: string, key: string, { entry, isThere }: Standing, after: Entry | null): Promise<void> {
    const before = entry?.owner ?? null
    const isDoubtful = doubtful.has(name)
    if (after === null && !isDoubtful && !isThere) return
    if (after === null && !isDoubtful) {
      await erase(await folder.place("records", name))
    } else {
      // That a name is absent can't be written anew, so an entry that has long expired is written in its place.
      const next = after ?? { key, value: "null", version: randomText(12), expiresAt: 0, owner: null }
      if (next.owner !== null && next.owner !== before) await owners.add(next.owner, name)
      const path = await folder.place("records", name)
      const file = await locks.newPath()
      await writeNew(file, packRecord(next))
      try {
        await replace(file, path)
      } catch (error) {
        discard(file)
        if (isMissing(error)) folder.forget(path)
        throw error
      }
    }
    doubtful.delete(name)
    if (before !== null && before !== after?.owner) owners.remove(before, name)
  }

  await locks.tidy()
  const info = { name: FILE, ordered: false, shared: true, durable: true, atomic: true }
  return checkedStore({ info, get, set, touch, delete: remove, list, count, close }, maxValueBytes)
}
