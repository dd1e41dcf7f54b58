// Marks: how all sessions of an owner are ended, also those that no listing shows. An owner's mark is an entry of its own, and a
// session remembers under which version of it somebody signed in. A new mark has a new version, so every session from before is
// over, wherever it is kept: in a store that has not removed it yet, in a copy nearby, in a cookie of which there is no list.
// Versions are compared, never times, so no clock decides who is still signed in.
//
// An owner without a mark has never been ended. A mark lives longer than any session that it is to end.

import { CoatcheckError } from "../errors.ts"
import type { Clock } from "./clock.ts"
import { longestMaxAge } from "./cookie.ts"
import { sha256 } from "./crypto.ts"
import type { Store } from "./store.ts"

/** The marks of one store. */
export interface Marks {
  /** The version of an owner's mark; null: there is none. */
  read(owner: string): Promise<string | null>
  /** Puts a new mark in place, of this version: who signed in under others is signed out. */
  put(owner: string, version: string): Promise<void>
}

/** What keys of marks begin with; the rest is the hash of the owner, which may be longer than a key. */
const markPrefix = "mark:"
const PUT_ATTEMPTS = 2

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
    const now = clock.now()
    const value = JSON.stringify({ v: 1, created: now })
    for (let attempt = 1; ; attempt++) {
      try {
        await store.set(keyOf(owner), value, { version, expiresAt: now + life })
        return
      } catch (error) {
        // A mark that is put twice ends nobody who signed in under another one in between by mistake: they are to be ended too.
        if (attempt === PUT_ATTEMPTS || !(error instanceof CoatcheckError && error.code === "unknown-outcome"))
          throw error
      }
    }
  }

  return { read, put }
}

/** Whether somebody who signed in under these versions is still signed in, now that the mark is this one. */
export function isUnder(mark: string | null, under: string | undefined): boolean {
  return mark === null || (under ?? "").split(" ").includes(mark)
}

/** The versions under which somebody is signed in, with one more. The last few are enough: a mark is one of them or none. */
export function underAlso(under: string | undefined, mark: string): string {
  return [...(under ? under.split(" ") : []), mark].slice(-4).join(" ")
}
