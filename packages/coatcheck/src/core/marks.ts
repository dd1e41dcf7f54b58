// Marks: how all sessions of an owner are ended, also those that no listing shows. An owner's mark is an entry of its own, and a
// session remembers under which version of it somebody signed in. A new mark has a new version, so every session from before is
// over, wherever it is kept: in a store that has not removed it yet, in a copy nearby, in a cookie of which there is no list.
// Versions are compared, never times, so no clock decides who is still signed in.
//
// An owner without a mark has never been ended. A mark lives longer than any session that it is to end. It replaces the one that was
// read, as every write of a session does: one that was sent and arrives when another stands there is nothing any more, or it
// would let in again whom that one has ended.

import { CoatcheckError } from "../errors.ts"
import type { Clock } from "./clock.ts"
import { longestMaxAge } from "./cookie.ts"
import { sha256 } from "./crypto.ts"
import { settle, type Verdict } from "./settle.ts"
import type { Entry, Outcome, Store } from "./store.ts"

/** The marks of one store. */
export interface Marks {
  /** The version of an owner's mark; null: there is none. */
  read(owner: string): Promise<string | null>
  /** Puts a new mark in place, of this version: who signed in under others is signed out. */
  put(owner: string, version: string): Promise<void>
}

/** What keys of marks begin with; the rest is the hash of the owner, which may be longer than a key. */
const markPrefix = "mark:"
/** Marks that others put in between. Each has ended whom this one is to end. */
const MOST_ATTEMPTS = 100
/** Versions that a session remembers. */
const MOST_UNDER = 32

/**
 * The marks of a store.
 *
 * @param absolute the longest life of a session, ms.
 */
export function createMarks(store: Store, clock: Clock, absolute: number): Marks {
  const life = Math.max(absolute, longestMaxAge * 1_000)
  const keyOf = (owner: string): string => markPrefix + sha256(owner)

  async function read(owner: string): Promise<string | null> {
    const entry = await store.get(keyOf(owner), { fresh: true })
    return entry && entry.version
  }

  async function put(owner: string, version: string): Promise<void> {
    const key = keyOf(owner)
    const now = clock.now()
    const value = JSON.stringify({ v: 1, created: now })
    let stands = await store.get(key, { fresh: true })
    for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt++) {
      const before = stands
      const condition = before ? { version: before.version } : "absent"
      const send = (): Promise<Outcome> => store.set(key, value, { if: condition, version, expiresAt: now + life })
      const judge = (found: Entry | null): Verdict<Outcome> => {
        if (found?.version === version) return { result: { ok: true, version } }
        return found?.version === before?.version ? "again" : { result: { ok: false, current: found } }
      }
      const madeAt = clock.now()
      const outcome = await send().catch((error: unknown) => settle({ store, key, clock, madeAt, error }, send, judge))
      if (outcome.ok) return
      stands = outcome.current
    }
    throw new CoatcheckError("conflict", "too many others end the sessions of this owner at once; try again")
  }

  return { read, put }
}

/** Whether somebody who signed in under these versions is still signed in, now that the mark is this one. */
export function isUnder(mark: string | null, under: string | undefined): boolean {
  return mark === null || (under ?? "").split(" ").includes(mark)
}

/**
 * The versions under which somebody is signed in, with one that is to come. The mark that stands is always among them, for the one
 * to come may never be put; of those that others are about to put, as many as there may be at once.
 */
export function underAlso(under: string | undefined, current: string | null, coming: string): string {
  const others = (under ? under.split(" ") : []).filter((mark) => mark !== current).slice(2 - MOST_UNDER)
  return [...(current === null ? [] : [current]), ...others, coming].join(" ")
}
