// The store contract: text under keys, each with a version, an end and an owner. Five verbs, one page of rules. Everything that
// keeps sessions implements this, every wrapper takes and returns it, and the suite in ../testing checks it sentence by sentence.
//
// The rules
// - Absent, expired and malformed are `null`. An error (CoatcheckError) is for a store that fails, and its code says whether
//   anything happened: `unavailable` and `full` promise that nothing did, `unknown-outcome` that it may have.
// - The compare of a conditional call happens in the store, in one atomic step with the write: never a read and then a write.
// - `set` with `if: { version }` on an absent or expired key fails with `current: null`: an update never creates. A failed
//   condition returns the entry that stands there, so that a retry needs no second read.
// - A version is opaque, new with each write, and never comes back, not even after delete and re-create. The writer may choose it
//   (96 random bits), else the store does. A conditional `set` whose own `version` is already the current one answers ok and
//   writes nothing: the same conditional call may be sent again. A store never re-sends unconditional calls by itself.
// - The caller's clock decides what is expired: an entry whose `expiresAt` is at or before now is absent to every verb at once.
//   What the engine does about expiry (TTL, sweeps) only removes rubbish. No read removes what it finds expired.
// - `touch` changes the end and nothing else: it keeps value, version and owner, and never creates.
// - Options left out of a `set` keep what the entry had (a new entry has neither end nor owner); `null` clears.
// - A store may answer a `get` from a copy nearby, which may be behind by as much as that store states. With `fresh: true` it is
//   read where writes are decided, and every write that was acknowledged before is seen. Conditions are never decided by a copy.
// - `watch` tells every change of every key that somebody else makes (another handle, another process), soon after it was
//   acknowledged, whether the key was ever read here or not; this handle's own writes may be told too. null: changes may have gone
//   by unseen. It is told when the channel breaks, while it is down from time to time, and when it stands again. Ends that come
//   are not told: every entry carries its own.
// - Every call ends within its deadline (1 s by default for stores that wait for others), one way or the other.
// - A key is 1 to 512 bytes of UTF-8 without control characters or lone surrogates; a value is JSON text of at most 1 MiB (by
//   default). Anything else is a CoatcheckError `invalid` or `too-large`, and nothing is stored. `..`, `*`, `{x}`, `a/b`
//   and `__proto__` are ordinary keys.
// - Bad arguments, a closed store and failures reject the promise; a verb never throws in the caller's face.

/** What a store keeps under a key. */
export interface Entry {
  readonly key: string
  /** JSON text, exactly as it was written. */
  readonly value: string
  /** Opaque; a new one with each write. */
  readonly version: string
  /** Epoch milliseconds by the caller's clock; null: no end. */
  readonly expiresAt: number | null
  /** Whose it is, for listing; null: nobody's. */
  readonly owner: string | null
}

/** Of a conditional call: done, or refused by what stands there now (null: nothing does). */
export type Outcome =
  | {
      readonly ok: true
      readonly version: string
      /** Told by a `set` without a condition, where the store knows it anyway: whether nothing stood there before. */
      readonly created?: boolean
    }
  | { readonly ok: false; readonly current: Entry | null }

/** Of `delete`: what was removed (null: there was nothing), or the entry whose version was another. */
export type DeleteOutcome =
  | { readonly ok: true; readonly removed: Entry | null }
  | { readonly ok: false; readonly current: Entry }

/** Of `set`: its condition, and what goes with the value. */
export interface SetOptions {
  /** "absent": only create. `{ version }`: only replace that version. Left out: unconditional. */
  readonly if?: "absent" | { readonly version: string }
  /** The new version, 1 to 64 characters of A-Z a-z 0-9 - _; the store makes one if none is given. */
  readonly version?: string
  /** Epoch ms. Left out: stays as it was. null: no end. */
  readonly expiresAt?: number | null
  /** 1 to 512 bytes of UTF-8. Left out: stays as it was. null: nobody's. */
  readonly owner?: string | null
}

/** Of `get`: how new the answer must be. */
export interface GetOptions {
  /** true: not from a copy nearby, which may be behind. Default false. A store that keeps no copies has nothing else to give. */
  readonly fresh?: boolean
}

/** Which entries a page holds, and how many. */
export interface ListQuery {
  /** Only keys that begin with this text, literally. */
  readonly prefix?: string
  /** Only entries of this owner. */
  readonly owner?: string
  /** Where the last page ended: that page's `cursor`, and nothing else. */
  readonly cursor?: string
  /** Entries a page, 1 to 1,000. Default 100. */
  readonly limit?: number
  /** false: leave the values out (they are ""). Default true. */
  readonly values?: boolean
}

/** One page of a listing. */
export interface Page {
  readonly entries: readonly Entry[]
  /** Hand it to the next `list`; null: this was the last page. */
  readonly cursor: string | null
}

/** What a store promises; `createSessions` and the service act on it. */
export interface StoreInfo {
  /** For messages: "memory", "sqlite", … never a URL, which may hold a secret. */
  readonly name: string
  /** `list` answers in UTF-8 byte order of keys, without repeats. */
  readonly ordered: boolean
  /** Several processes may use the same data at once. */
  readonly shared: boolean
  /** What was acknowledged survives the end of the process. */
  readonly durable: boolean
  /** Conditions are decided in the store. false only for services that know none: updates can be lost there. */
  readonly atomic: boolean
  /** ms after which a call of one key has ended, where the store waits for others: looking after an unknown outcome takes a quarter more. */
  readonly deadline?: number
}

/** The contract; the rules above hold for every verb. */
export interface Store {
  readonly info: StoreInfo
  /** The entry, or null when it is absent, expired or damaged. */
  get(key: string, options?: GetOptions): Promise<Entry | null>
  /** Writes the value, if the condition holds. */
  set(key: string, value: string, options?: SetOptions): Promise<Outcome>
  /** Moves the end, if the entry is there (and has that version); keeps the version. `current: null`: it is absent. */
  touch(key: string, expiresAt: number | null, options?: { readonly version?: string }): Promise<Outcome>
  /** Removes the entry, if it has that version. An absent key is ok, with `removed: null`, also when a version was asked for. */
  delete(key: string, options?: { readonly version?: string }): Promise<DeleteOutcome>
  /** One page; expired entries are left out, so a page may be short and still have a cursor. */
  list(query?: ListQuery): Promise<Page>
  /** How many; may be an estimate; null: this store can't tell. */
  count?(query?: { readonly prefix?: string; readonly owner?: string }): Promise<number | null>
  /** Calls back with a key that somebody else has changed, or null: anything may have. Returns the way to stop. */
  watch?(onChange: (key: string | null) => void): () => void
  /** Ends calls under way (they finish or reject), releases files and sockets. Calls after it reject with `closed`. Twice is fine. */
  close(): Promise<void>
}

/** Something that happened in the background, or that a person should know; the verbs themselves went on. */
export interface StoreReport {
  /** `info.name` of the store. */
  readonly store: string
  /** damaged: a record can't be read and counts as absent. skew: the clocks differ. warning: a setting promises less than you may think. background: a sweep or a flush failed and will be tried again. outage: the store does not answer, or answers again. */
  readonly kind: "damaged" | "skew" | "warning" | "background" | "outage"
  /** One sentence that says what to do; no key, value, URL or secret. */
  readonly message: string
  readonly cause?: unknown
}

/** Where a store tells what happens in the background (an option `report` of every store). Default: a line on stderr by console.warn. */
export type Report = (report: StoreReport) => void

/** The verbs that every store must have, as `createSessions` checks them at start. */
export const storeVerbs: readonly (keyof Store)[] = ["get", "set", "touch", "delete", "list", "close"]

/** Limits of the contract, in bytes of UTF-8 and entries. */
export const limits = { keyBytes: 512, ownerBytes: 512, valueBytes: 1_048_576, page: 1_000, defaultPage: 100 } as const
