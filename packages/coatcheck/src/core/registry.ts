// All sessions of an owner: listing them, and ending one or every one from outside of a request. A session is named by its handle
// here, which opens nothing.
//
// Ending every one goes through the owner's mark first (marks.ts): from then on nobody is signed in under the old one, and what the
// store still lists is only rubbish to be removed. The listing is walked until it shows nothing that is to go, because a sign-in or a
// rotation under way may add to it; who signs in after the mark is not touched.

import { CoatcheckError } from "../errors.ts"
import { checkQuery } from "./contract.ts"
import type { RandomSource } from "./crypto.ts"
import type { Tell } from "./events.ts"
import { isId, keyPrefix, newVersion, type RawId, storedId } from "./id.ts"
import type { Lanes } from "./lanes.ts"
import { isUnder, type Marks, underAlso } from "./marks.ts"
import { checkOptions } from "./options.ts"
import { parseRecord, recordText, type SessionRecord } from "./record.ts"
import { type Entry, limits, type Store } from "./store.ts"

/** One session as others may see it. */
export interface SessionInfo {
  /** Its public name. */
  readonly handle: string
  readonly owner: string | null
  /** When it was created, or somebody signed in to it; epoch ms. */
  readonly createdAt: number
  /** When it ends if nobody uses it, epoch ms; null: never. */
  readonly expiresAt: number | null
}

/** Which sessions `list` shows. */
export interface ListSessionsQuery {
  /** Whose. Left out: everybody's. */
  readonly owner?: string
  /** Where the last page ended. */
  readonly cursor?: string
  /** Sessions a page, 1 to 1,000. Default 100. A page may have fewer, or none, and still not be the last. */
  readonly limit?: number
}

/** A page of sessions. */
export interface SessionPage {
  readonly sessions: readonly SessionInfo[]
  /** For the next call; null: this was the last page. */
  readonly cursor: string | null
}

/** Which sessions `revoke` ends: every one of an owner, or the one with this handle. */
export interface RevokeQuery {
  /** Whose. With a handle as well, that one only if it is this owner's. */
  readonly owner?: string
  /** The public name of one session. */
  readonly handle?: string
  /** With an owner alone: the handle of one that stays, usually of who asks. */
  readonly except?: string
}

/** Looks at sessions, and ends them, from outside of a request. */
export interface Registry {
  list(query: ListSessionsQuery): Promise<SessionPage>
  /** How many records it removed. */
  revoke(query: RevokeQuery): Promise<number>
}

/** What a registry works on. */
export interface RegistrySettings {
  /** null: the cookies hold the sessions, so there is nothing to list. */
  readonly records: { readonly store: Store; readonly lanes: Lanes; readonly bare: boolean } | null
  /** null: there is no store to keep marks in. */
  readonly marks: Marks | null
  readonly random: RandomSource
  readonly tell: Tell
}

// Whoever goes on signing in while all are being ended is not chased for ever: those are signed in under the new mark anyway.
const MOST_ROUNDS = 100

/** A registry of sessions. */
export function createRegistry({ records, marks, random, tell }: RegistrySettings): Registry {
  function listed(): NonNullable<RegistrySettings["records"]> {
    if (records) return records
    throw new CoatcheckError(
      "unsupported",
      "the cookies hold these sessions, so there is no list of them; end all of an owner's with revoke({ owner })",
    )
  }

  async function list(query: ListSessionsQuery): Promise<SessionPage> {
    checkOptions<ListSessionsQuery>("list", query, { owner: true, cursor: true, limit: true })
    const { store, bare } = listed()
    const page = await store.list({ ...query, prefix: bare ? "" : keyPrefix })
    const sessions = page.entries.flatMap((entry) => {
      const record = sessionIn(entry, bare)
      if (!record) return []
      const { expiresAt } = entry
      return [{ handle: handleOf(entry.key, bare), owner: record.owner, createdAt: record.created, expiresAt }]
    })
    return { sessions, cursor: page.cursor }
  }

  async function revoke(query: RevokeQuery): Promise<number> {
    checkOptions<RevokeQuery>("revoke", query, { owner: true, handle: true, except: true })
    const { owner, handle, except } = query
    if (owner !== undefined) checkQuery({ owner })
    if (handle !== undefined) {
      if (except !== undefined) throw new TypeError("revoke takes a handle or an exception, not both")
      return revokeOne(handle, owner)
    }
    if (owner === undefined) throw new TypeError("revoke takes an owner or a handle")
    if (!marks) {
      throw new CoatcheckError(
        "unsupported",
        "the cookies hold these sessions: give createSessions a store as well, to keep there who was signed out",
      )
    }
    const mark = newVersion(random)
    if (except !== undefined) await spare(except, owner, mark, await marks.read(owner))
    await marks.put(owner, mark)
    return records ? endAll(owner, mark) : 0
  }

  async function revokeOne(handle: string, owner: string | undefined): Promise<number> {
    const { store, bare } = listed()
    if (bare) throw new CoatcheckError("unsupported", "a bare id can't be found by its handle; use hashed ids")
    if (!isId(handle)) return 0 // the hash of an id has the form of one
    const entry = await store.get(keyPrefix + handle, { fresh: true })
    if (!entry || (owner !== undefined && entry.owner !== owner)) return 0
    return (await endEntry(store, entry, bare, () => true)) ? 1 : 0
  }

  // The one that stays is put under the coming mark before that mark is there, so there is no moment at which it is over.
  async function spare(handle: string, owner: string, mark: string, current: string | null): Promise<void> {
    const { lanes, bare } = listed()
    if (bare) throw new CoatcheckError("unsupported", "a bare id can't be found by its handle; use hashed ids")
    if (!isId(handle)) return
    const apply = (text: string | null): string => {
      const record = parseRecord(text ?? "")
      if (!record || record.owner !== owner || !isUnder(current, record.marks.owner)) return text ?? ""
      return recordText({ ...record, marks: { ...record.marks, owner: underAlso(record.marks.owner, current, mark) } })
    }
    try {
      await lanes.submit(keyPrefix + handle, undefined, { apply, end: () => undefined, creates: false })
    } catch (error) {
      // Who has ended meanwhile needs no sparing.
      if (!(error instanceof CoatcheckError && error.code === "ended")) throw error
    }
  }

  async function endAll(owner: string, mark: string): Promise<number> {
    const { store, bare } = listed()
    const isOver = (record: SessionRecord): boolean => !isUnder(mark, record.marks.owner)
    let ended = 0
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const before = ended
      let cursor: string | null = null
      do {
        const page = await store.list({
          owner,
          prefix: bare ? "" : keyPrefix,
          limit: limits.defaultPage, // its records are in memory at once, and its removals under way
          ...(cursor !== null && { cursor }),
        })
        const ends = await Promise.all(page.entries.map((entry) => endEntry(store, entry, bare, isOver)))
        ended += ends.filter(Boolean).length
        cursor = page.cursor
      } while (cursor !== null)
      if (ended === before) break
    }
    return ended
  }

  /** Removes a session's record, whatever version it gets meanwhile, as long as it is to go. */
  async function endEntry(
    store: Store,
    first: Entry,
    bare: boolean,
    isOver: (record: SessionRecord) => boolean,
  ): Promise<boolean> {
    let entry = first
    for (;;) {
      const record = sessionIn(entry, bare)
      if (!record || !isOver(record)) return false
      const outcome = await store.delete(entry.key, { version: entry.version })
      if (outcome.ok) {
        if (outcome.removed) tell?.({ type: "ended", handle: handleOf(entry.key, bare), why: "revoked" })
        return outcome.removed !== null
      }
      entry = outcome.current
    }
  }

  return { list, revoke }
}

function sessionIn({ key, value }: Entry, bare: boolean): SessionRecord | null {
  if (bare && !isId(key)) return null // other entries may stand beside bare ids
  return parseRecord(value)
}

function handleOf(key: string, bare: boolean): string {
  return bare ? storedId(key as RawId) : key.slice(keyPrefix.length) // sessionIn saw that it is an id
}
