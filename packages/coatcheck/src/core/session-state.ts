// What one request knows of its session: what was loaded, what the handler changed, and how that gets to the carrier. The session
// that the handler holds (session.ts) decides whose turn it is, and calls one operation here at a time, updates apart.
//
// It goes through these states:
//   opening    it is being looked for; a reply that does not wait for that asks nothing of it, and closes it
//   new        nothing is kept yet; data that is put in creates it at the commit
//   live       kept by the carrier
//   gone       somebody else ended it while this request was under way: changes are dropped, the cookie is left alone
//   destroyed  this request ended it: its reply clears the cookie
// Neither gone nor destroyed ever leads back: what is ended stays ended, and the request that saw the end creates nothing.

import { CoatcheckError } from "../errors.ts"
import type { Kept } from "./carrier.ts"
import { Draft, mergeText, rebase, replaceData, sealed } from "./draft.ts"
import { committedError, endedError } from "./ended.ts"
import type { Exchange, ReplyChange } from "./exchange.ts"
import { endOf, mayNeedTouch, renewedEnd } from "./expiry.ts"
import type { Change } from "./lanes.ts"
import { isUnder } from "./marks.ts"
import { mustReachBrowser, type Policy, replyWith, unchanged } from "./policy.ts"
import { newRecord, parseRecord, recordText, type SessionData, type SessionRecord } from "./record.ts"
import type { UnderWay } from "./turns.ts"

const ignore = (): void => {}

/** The state of one request's session, and the operations on it. */
export class SessionState {
  readonly policy: Policy
  readonly exchange: Exchange
  /** The cookie value that the request brought, where it led to a session. */
  presented: string | null = null
  kept: Kept | null = null
  state: "opening" | "new" | "live" | "gone" | "destroyed" = "opening"
  isNew = false
  /** Made on first use. A draft of a new session has the text of an empty one as its base. */
  draft: Draft | null = null
  /** A creation for an update; settles with it, and never rejects. */
  creating: Promise<unknown> | null = null
  /** Own writes of updates under way. */
  writes: UnderWay | null = null
  /** Why own changes could not be kept. Nothing more of this request is kept then, and its commit fails. */
  failure: { readonly error: unknown } | null = null

  /** A session that is being looked for. */
  constructor(policy: Policy, exchange: Exchange) {
    this.policy = policy
    this.exchange = exchange
  }

  /** Begins with what was found; before that, nothing but `finish` may be called. */
  found(kept: Kept | null): void {
    this.kept = kept
    this.presented = kept && kept.cookie
    this.state = kept ? "live" : "new"
    this.isNew = kept === null
  }

  /** The data itself; a view that can't be changed once the session is ended or `isClosed`. */
  view(isClosed: boolean): SessionData {
    if (this.state === "destroyed") return sealed({}, endedError)
    const draft = this.read()
    return isClosed ? sealed(draft.record.data, committedError) : draft.view
  }

  /** Puts a copy of a value in place of the data. */
  replace(value: unknown): void {
    replaceData(this.read(), value)
  }

  get owner(): string | null {
    return this.read().record.owner
  }

  get handle(): string | null {
    return this.kept && this.policy.carrier.handle(this.kept)
  }

  get key(): string | null {
    return this.kept?.entry.key || null
  }

  get createdAt(): number {
    return this.read().record.created
  }

  get expiresAt(): number {
    const { ends } = this.read().record
    return this.kept?.entry.expiresAt ?? endOf(this.policy.clock.now(), ends, this.policy.lifetime.idle)
  }

  refuseEnd(): void {
    if (this.state === "gone" || this.state === "destroyed") throw endedError()
  }

  /** Settles when no own write of an update is under way. */
  async written(): Promise<void> {
    while (this.writes && this.writes.count > 0) await this.writes.ending
  }

  /** Set-Cookie is due exactly when what leads to the session is not what the request brought. */
  setCookie(): ReplyChange {
    const kept = this.kept
    if (!kept || kept.cookie === this.presented) return unchanged
    return replyWith(this.policy, this.exchange.secure, kept.cookie, () => this.read().record.ends)
  }

  read(): Draft {
    if (this.draft) return this.draft
    const { clock, lifetime, tell } = this.policy
    const now = clock.now()
    if (this.kept) {
      const record = parseRecord(this.kept.entry.value)
      if (record && record.ends > now) return (this.draft = new Draft(record, this.kept.entry.value))
      tell?.(record ? { type: "ended", handle: this.handle ?? "", why: "lapsed" } : { type: "refused", why: "damaged" })
      this.kept = null
      this.state = "new"
      this.isNew = true
    }
    const record = newRecord(now, now + lifetime.absolute)
    return (this.draft = new Draft(record, recordText(record)))
  }

  /** Keeps a new session; `mine` is the text of what the handler has put into it by itself. */
  async create(draft: Draft, record: SessionRecord, mine: string): Promise<void> {
    const { carrier, clock, lifetime, tell } = this.policy
    mustReachBrowser(this.policy, this.exchange)
    this.kept = await carrier.create(record, endOf(clock.now(), record.ends, lifetime.idle))
    this.state = "live"
    draft.base = mine
    this.catchUp()
    tell?.({ type: "created", handle: carrier.handle(this.kept) })
  }

  /** What only this session's browser and we know; null while nothing is kept. */
  get secret(): string | null {
    return this.kept && this.policy.carrier.secretOf(this.kept)
  }

  async carry(kept: Kept, change: Change): Promise<void> {
    if (this.mayBeRevoked(kept)) await this.refuseRevoked(kept)
    try {
      const written = this.policy.carrier.write(kept, change)
      this.kept = written instanceof Promise ? await written : written // a plain answer stands before the next write begins
    } catch (error) {
      if (error instanceof CoatcheckError && error.code === "ended") this.gone()
      throw error
    }
  }

  /** Brings `data` to what is kept now; only when no own write is under way, for they build on each other. */
  catchUp(): void {
    const draft = this.draft
    if (!draft || !this.kept || draft.base === this.kept.entry.value) return
    if (draft.isClosed) {
      this.draft = null // its changes are on their way with the commit
      return
    }
    try {
      rebase(draft, this.kept.entry.value, this.policy.rules, (keys) => this.tellConflict(keys))
    } catch (error) {
      this.failure ??= { error } // what was written stays written; the handler's further changes don't fit on it
    }
  }

  changeOf(apply: (text: string) => string): Change {
    const { clock, lifetime } = this.policy
    const { ends } = this.read().record
    return {
      apply: (text) => {
        if (this.failure) throw this.failure.error
        return apply(text ?? "")
      },
      end: (current) => renewedEnd(clock.now(), current?.expiresAt ?? null, ends, lifetime.idle) ?? undefined,
      creates: false,
    }
  }

  merge(newer: string, base: string, mine: string): string {
    return mergeText(newer, base, mine, this.policy.rules, (keys) => this.tellConflict(keys))
  }

  tellConflict(keys: readonly string[]): void {
    this.policy.tell?.({ type: "conflict", handle: this.handle ?? "", keys })
  }

  // A session whose end moves is asked whether it should live at all: so one that no listing showed dies within a tenth of the
  // idle time. Where the cookie holds the data, `find` has asked already.
  mayBeRevoked({ entry }: Kept): boolean {
    const { clock, lifetime, marks } = this.policy
    return marks !== null && entry.owner !== null && mayNeedTouch(clock.now(), entry.expiresAt, lifetime.idle)
  }

  async refuseRevoked(kept: Kept): Promise<void> {
    const { carrier, marks } = this.policy
    const { owner, marks: under } = this.read().record
    if (!marks || kept.entry.owner === null || owner === null) return
    const mark = await marks.read(owner)
    if (isUnder(mark, under.owner)) return
    // It may have been spared since this request read it.
    const newest = await carrier.again(kept)
    const record = newest && parseRecord(newest.entry.value)
    if (record?.owner === owner && isUnder(mark, record.marks.owner)) return
    await this.endRevoked(kept)
    throw endedError()
  }

  async endRevoked(kept: Kept): Promise<void> {
    await this.policy.carrier.remove(kept).catch(ignore) // it is as good as ended already
    this.gone("revoked")
  }

  gone(why: "gone" | "revoked" = "gone"): void {
    if (this.state === "gone") return
    this.policy.tell?.({ type: "ended", handle: this.handle ?? "", why })
    this.state = "gone"
  }
}
