// What is of no use any more: records whose end has come, marks of owners that lead to none, and what processes left that are gone.
//
// A sweep looks at a few files and goes on later where it was, around all folders; when it found something to remove it goes on
// soon. It is started by writes, at most once a second, and by one timer that holds no process. A record is removed under its lock
// and after another look: what expired a moment ago may have been written anew. Nobody waits for a sweep, so nothing is synced:
// after power loss the record is there again, expired, and is swept again.

import { setImmediate as turn } from "node:timers/promises"
import { isOver } from "../../core/contract.ts"
import type { Clock } from "../../core/clock.ts"
import type { Entry, Report } from "../../core/store.ts"
import { discard } from "./disk.ts"
import { FILE } from "./errors.ts"
import { type Folder, SHARDS } from "./folder.ts"
import type { Locks } from "./locks.ts"
import type { Owners } from "./owners.ts"
import { isName } from "./record.ts"

/** Files that one sweep looks at: a millisecond of work. */
const LOOKED = 64
const EVERY_MS = 1_000
const ON_MS = 10
const IDLE_MS = 60_000

/** What a sweep needs of its store. */
export interface SweepParts {
  readonly folder: Folder
  readonly locks: Locks
  readonly owners: Owners
  readonly clock: Clock
  readonly report: Report
  /** The entry under a name, whether its end has come or not; null: none, or a damaged one. */
  read(name: string): Entry | null
}

/** The sweeping of one store. */
export interface Sweeper {
  /** To be called after writes: starts a sweep if the last one was long enough ago. */
  nudge(): void
  /** Stops; resolves when nothing is under way. */
  stop(): Promise<void>
}

/** Sweeps from a random folder on, so that several processes do not all look at the same one. */
export function sweeper({ folder, locks, owners, clock, report, read }: SweepParts): Sweeper {
  let shard = Math.floor(Math.random() * SHARDS)
  let last = "" // the last name in the folder that was looked at
  let nextAt = 0
  let underWay: Promise<void> | null = null
  let timer: NodeJS.Timeout | undefined
  let stopped = false

  function nudge(): void {
    if (clock.now() >= nextAt) start()
  }

  function start(): void {
    if (underWay !== null || stopped) return
    nextAt = clock.now() + EVERY_MS
    underWay = sweep()
      .catch((cause: unknown) => {
        const message = "A sweep of expired records failed; it will be tried again"
        report({ store: FILE, kind: "background", message, cause })
        return false
      })
      .then((more) => {
        underWay = null
        rest(more ? ON_MS : IDLE_MS)
      })
  }

  function rest(ms: number): void {
    clearTimeout(timer)
    if (!stopped) timer = setTimeout(start, ms).unref()
  }

  /** Looks at some files, over as many folders as that takes. Resolves with whether it found any to remove. */
  async function sweep(): Promise<boolean> {
    await locks.tidy()
    let removed = 0
    for (let looked = 0, folders = 0; looked < LOOKED && folders < SHARDS && !stopped; ) {
      const names = folder.names("records", shard).filter((name) => name > last && isName(name))
      const some = names.slice(0, LOOKED - looked)
      for (const name of some) removed += await sweepRecord(name)
      looked += some.length
      last = some.at(-1) ?? last
      if (some.length < names.length) break
      removed += await sweepMarks(shard)
      await turn()
      shard = (shard + 1) % SHARDS
      last = ""
      folders += 1
    }
    return removed > 0
  }

  async function sweepRecord(name: string): Promise<number> {
    if (!isRubbish(name)) return 0
    let removed = 0
    await locks.ifFree(name, () => {
      const entry = isRubbish(name)
      const path = folder.find("records", name)
      if (!entry || path === null) return
      discard(path)
      if (entry.owner !== null) owners.remove(entry.owner, name)
      removed = 1
    })
    return removed
  }

  /** The entry under a name, if its end has come. */
  function isRubbish(name: string): Entry | null {
    const entry = read(name)
    return entry !== null && isOver(entry.expiresAt, clock.now()) ? entry : null
  }

  async function sweepMarks(from: number): Promise<number> {
    let removed = 0
    for (const [at, { mark, name }] of owners.marksIn(from).entries()) {
      if (at % LOOKED === LOOKED - 1) await turn()
      const leads = (): boolean => {
        const owner = read(name)?.owner ?? null
        return owner !== null && owners.isFor(mark, owner)
      }
      if (leads()) continue
      await locks.ifFree(name, () => {
        if (leads()) return
        owners.drop(mark)
        removed += 1
      })
    }
    return removed
  }

  rest(IDLE_MS)
  return {
    nudge,
    async stop() {
      stopped = true
      clearTimeout(timer)
      await underWay
    },
  }
}
