// How a session's state travels. Either the cookie holds an id and a store holds the record ("store"), or the cookie holds the
// record itself, readable and signed ("signed"). The session does not know which: it hands texts to a carrier, and gets back what
// is kept now and the cookie value that leads to it. A Set-Cookie is due exactly when that value is not the one the request brought.

import type { Change } from "./lanes.ts"
import type { SessionRecord } from "./record.ts"
import type { Entry } from "./store.ts"

/** A session as it is kept. */
export interface Kept {
  /** The cookie value that leads to it. A secret. */
  readonly cookie: string
  /** The record's text, version and end. Carriers without a store leave key and version empty. */
  readonly entry: Entry
}

/** What a sign-in makes of the session that it replaces. */
export interface Renewal {
  readonly owner: string
  readonly expiresAt: number
  /** The text of the new record where somebody else had ended the old one, of which then nothing is kept. */
  readonly alone: string
}

/** What became of a session that was to be replaced or removed. */
export type Fate<T> = T | "gone"

/** Where sessions are kept, and what the cookie holds of them. */
export interface Carrier {
  /** Whether a change still reaches the session when the reply's headers have left. */
  readonly afterReply: boolean
  /** The session that one of the cookie's values leads to; tells events about what it refuses. */
  find(values: readonly string[], prefixed: boolean): Promise<Kept | null>
  /** The session as it is kept now; null: it has ended. */
  again(kept: Kept): Promise<Kept | null>
  /** Keeps a new session under a new id. */
  create(record: SessionRecord, expiresAt: number): Promise<Kept>
  /**
   * Puts a change on the newest version. A plain answer where nothing has to be waited for.
   *
   * @throws CoatcheckError `ended` when there is none any more.
   */
  write(kept: Kept, change: Change): Kept | Promise<Kept>
  /** Moves the end. The same object again: a newer version is there, which has moved it. */
  touch(kept: Kept, expiresAt: number): Promise<Fate<Kept>>
  /**
   * A new id for the session, with this change on its newest version; the old id is dead afterwards. With a renewal it is never
   * "gone": a sign-in stands by itself.
   *
   * @param admit called when the new id stands in the store, if anywhere, and the old one is still there. What it throws undoes the new one.
   */
  rotate(kept: Kept, change: Change, renewal: Renewal | null, admit: () => Promise<void>): Promise<Fate<Kept>>
  /** Ends the session, whatever version it has. "gone": somebody else did. */
  remove(kept: Kept): Promise<"removed" | "gone">
  /** The public name of the session. */
  handle(kept: Kept): string
  /** What only the session's browser and we know of it, as long as its id is the same. A secret. */
  secretOf(kept: Kept): string
}
