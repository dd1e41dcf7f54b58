// Writes to one key of one store, made by this process, go one behind the other and as few as possible: while one is under way,
// further changes of that key wait, and then all leave together in one conditional set. A thousand parallel increments cost a few
// round trips, and no change starves behind another of the same process; between processes the version decides. A lane exists
// only while it has work.
//
// A change is a function from the newest text to the next one, so it can be put on whatever stands there when its turn comes, as
// often as it takes. One that throws fails alone.

import { CoatcheckError } from "../errors.ts"
import type { Clock } from "./clock.ts"
import type { RandomSource } from "./crypto.ts"
import { endedError } from "./ended.ts"
import { newVersion } from "./id.ts"
import { settle, type Verdict } from "./settle.ts"
import type { Entry, SetOptions, Store } from "./store.ts"

/** What one caller wants done to a key. */
export interface Change {
  /**
   * The next text, from the newest one (null: there is none), with the changes on it that leave together with this one. Called
   * again for each attempt.
   */
  apply(text: string | null): string
  /** The end to store with it; undefined: as it was. */
  end(current: Entry | null): number | null | undefined
  /** Whether it may create the key; otherwise an absent one rejects with `ended`. */
  readonly creates: boolean
}

/** The lanes of one store. */
export interface Lanes {
  /**
   * Puts a change on the newest version of a key.
   *
   * @param known the newest entry the caller has seen; a stale one costs one round trip more. null: there was none; undefined:
   *   the caller did not look, so the lane does.
   * @returns the entry as it was written (with other changes that left together with this one).
   * @throws CoatcheckError `ended`, `conflict` (out of time), `unknown-outcome`, what the store threw, or what `apply` threw.
   */
  submit(key: string, known: Entry | null | undefined, change: Change): Promise<Entry>
}

/** What lanes need to know. */
export interface LaneSettings {
  readonly store: Store
  readonly clock: Clock
  readonly random: RandomSource
  /** After so many ms no further attempt is made. */
  readonly deadline: number
}

interface Waiting {
  readonly change: Change
  readonly until: number
  resolve(entry: Entry): void
  reject(reason: unknown): void
}

interface Lane {
  newest: Entry | null | undefined
  /** What `newest` says comes from the store in this very lane, not from a caller's memory. */
  isFresh: boolean
  waiting: Waiting[]
}

/** What became of one attempt to write. */
type Attempt = { landed: Entry } | { stands: Entry | null }

interface Combined {
  /** Those whose change is in the text. */
  readonly alive: Waiting[]
  readonly text: string
  readonly end: number | null | undefined
}

const LONGEST_PAUSE_MS = 16

/** Lanes over one store. */
export function createLanes({ store, clock, random, deadline }: LaneSettings): Lanes {
  const lanes = new Map<string, Lane>()

  function submit(key: string, known: Entry | null | undefined, change: Change): Promise<Entry> {
    const until = clock.now() + deadline
    const busy = lanes.get(key)
    if (busy) return wait(busy, change, until)
    const lane: Lane = { newest: known, isFresh: false, waiting: [] }
    lanes.set(key, lane)
    if (known) return alone(key, lane, known, change, until)
    const written = wait(lane, change, until)
    void drain(key, lane)
    return written
  }

  function wait(lane: Lane, change: Change, until: number): Promise<Entry> {
    return new Promise((resolve, reject) => {
      lane.waiting.push({ change, until, resolve, reject })
    })
  }

  // The usual case, and a short way for it: one change, on an entry that nobody has replaced since its caller read it. Whatever
  // else the store answers, it goes the long way, before those that have come meanwhile.
  async function alone(key: string, lane: Lane, known: Entry, change: Change, until: number): Promise<Entry> {
    let again: Promise<Entry> | null = null
    try {
      const text = change.apply(known.value)
      const end = change.end(known)
      if (text !== known.value || end !== undefined) {
        const outcome = await write(key, known, text, end)
        if ("landed" in outcome) {
          lane.newest = outcome.landed
          return outcome.landed
        }
        lane.newest = outcome.stands
        lane.isFresh = true
      } else lane.newest = undefined
      const others = lane.waiting
      lane.waiting = []
      again = wait(lane, change, until)
      if (lane.isFresh) lane.waiting = dropLate(lane.waiting, lane.newest ?? null)
      lane.waiting.push(...others)
    } finally {
      if (lane.waiting.length > 0) void drain(key, lane)
      else lanes.delete(key)
    }
    return again
  }

  async function drain(key: string, lane: Lane): Promise<void> {
    while (lane.waiting.length > 0) {
      const together = lane.waiting
      lane.waiting = []
      try {
        await writeTogether(key, lane, together)
      } catch (error) {
        for (const { reject } of together) reject(error)
      }
    }
    lanes.delete(key)
  }

  async function writeTogether(key: string, lane: Lane, together: Waiting[]): Promise<void> {
    let left = together
    // A write that lands proves what it was built on; changes that came to nothing need a look at the store for that.
    let looked = lane.isFresh
    lane.isFresh = false
    for (let attempt = 0; ; attempt++) {
      if (lane.newest === undefined) {
        lane.newest = await store.get(key, { fresh: true })
        looked = true
      }
      const current = lane.newest
      const { alive, text, end } = applyAll(left, current)
      if (alive.length === 0) return
      if (current && text === current.value && end === undefined) {
        if (looked) return resolveAll(alive, current)
        lane.newest = undefined
        left = alive
        continue
      }
      const outcome = await write(key, current, text, end).catch((error: unknown) => {
        if (alive.length > 1 && isTooMuch(error)) return null
        throw error
      })
      if (outcome === null) return writeOneByOne(key, lane, alive)
      if ("landed" in outcome) {
        lane.newest = outcome.landed
        return resolveAll(alive, outcome.landed)
      }
      lane.newest = outcome.stands
      looked = true
      left = dropLate(alive, outcome.stands)
      if (left.length === 0) return
      if (attempt > 0) await clock.sleep(pause(attempt))
    }
  }

  // A text that no store takes may be the fault of one of them, and only that one is to fail.
  async function writeOneByOne(key: string, lane: Lane, waiting: Waiting[]): Promise<void> {
    for (const one of waiting) {
      try {
        await writeTogether(key, lane, [one])
      } catch (error) {
        one.reject(error)
      }
    }
  }

  function applyAll(waiting: Waiting[], current: Entry | null): Combined {
    const alive: Waiting[] = []
    let text = current?.value ?? null
    let end: number | null | undefined
    for (const one of waiting) {
      try {
        const { change } = one
        if (!current && !change.creates) throw endedError()
        const next = change.apply(text)
        const moved = change.end(current)
        if (moved !== undefined) end = moved
        text = next
        alive.push(one)
      } catch (error) {
        one.reject(error)
      }
    }
    return { alive, text: text ?? "", end }
  }

  async function write(
    key: string,
    current: Entry | null,
    value: string,
    end: number | null | undefined,
  ): Promise<Attempt> {
    const version = newVersion(random)
    const condition = current ? { version: current.version } : "absent"
    const options: SetOptions =
      end === undefined ? { if: condition, version } : { if: condition, version, expiresAt: end }
    const landed: Entry = {
      key,
      value,
      version,
      expiresAt: end === undefined ? (current?.expiresAt ?? null) : end,
      owner: current?.owner ?? null,
    }
    const madeAt = clock.now()
    try {
      const outcome = await store.set(key, value, options)
      return outcome.ok ? { landed } : { stands: outcome.current }
    } catch (error) {
      return settle<Attempt>({ store, key, clock, madeAt, error }, sendAgain, judge)
    }

    // When it was sent before and is refused now, it may have landed in between, under what others wrote since.
    async function sendAgain(unknown: CoatcheckError): Promise<Attempt> {
      if ((await store.set(key, value, options)).ok) return { landed }
      throw unknown
    }

    function judge(stands: Entry | null): Verdict<Attempt> {
      if (stands?.version === version) return { result: { landed } }
      return stands?.version === current?.version ? "again" : "unknown"
    }
  }

  // Where nothing is left to change, the next attempt says so without a call, however late it is.
  function dropLate(waiting: Waiting[], stands: Entry | null): Waiting[] {
    const now = clock.now()
    return waiting.filter(({ change, until, reject }) => {
      if (now < until || (!stands && !change.creates)) return true
      reject(new CoatcheckError("conflict", "too many others changed this at once; nothing was written, try again"))
      return false
    })
  }

  // Full jitter (a whole range, not a fixed step) keeps processes from meeting again and again.
  function pause(attempt: number): number {
    const fraction = (random(1).charCodeAt(0) % 64) / 64
    return Math.min(2 ** attempt, LONGEST_PAUSE_MS) * fraction
  }

  return { submit }
}

function isTooMuch(error: unknown): boolean {
  return error instanceof CoatcheckError && (error.code === "too-large" || error.code === "invalid")
}

function resolveAll(waiting: Waiting[], entry: Entry): void {
  for (const { resolve } of waiting) resolve(entry)
}
