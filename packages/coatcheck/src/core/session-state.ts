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
import { applyChange, changedText, Draft, mergeText, ownThenUpdate, rebase, replaceData, sealed } from "./draft.ts"
import { committedError, endedError } from "./ended.ts"
import type { Exchange, ReplyChange } from "./exchange.ts"
import { endOf, mayNeedTouch, renewedEnd } from "./expiry.ts"
import type { Change } from "./lanes.ts"
import { mustReachBrowser, type Policy, replyWith, replyWithout, unchanged } from "./policy.ts"
import { newRecord, parseRecord, recordText, type SessionData, type SessionRecord } from "./record.ts"
import { follow, nothingUnderWay, type UnderWay } from "./turns.ts"

const ignore = (): void => {}

/** The state of one request's session, and the operations on it. */
export class SessionState {
  readonly #policy: Policy
  readonly #exchange: Exchange
  /** The cookie value that the request brought, where it led to a session. */
  #presented: string | null = null
  #kept: Kept | null = null
  #state: "opening" | "new" | "live" | "gone" | "destroyed" = "opening"
  #isNew = false
  /** Made on first use. A draft of a new session has the text of an empty one as its base. */
  #draft: Draft | null = null
  /** A creation for an update; settles with it, and never rejects. */
  #creating: Promise<unknown> | null = null
  /** Own writes of updates under way. */
  #writes: UnderWay | null = null
  /** Why own changes could not be kept. Nothing more of this request is kept then, and its commit fails. */
  #failure: { readonly error: unknown } | null = null

  /** A session that is being looked for. */
  constructor(policy: Policy, exchange: Exchange) {
    this.#policy = policy
    this.#exchange = exchange
  }

  /** Begins with what was found; before that, nothing but `finish` may be called. */
  found(kept: Kept | null): void {
    this.#kept = kept
    this.#presented = kept && kept.cookie
    this.#state = kept ? "live" : "new"
    this.#isNew = kept === null
  }

  /** The data itself; a view that can't be changed once the session is ended or `isClosed`. */
  view(isClosed: boolean): SessionData {
    if (this.#state === "destroyed") return sealed({}, endedError)
    const draft = this.#read()
    return isClosed ? sealed(draft.record.data, committedError) : draft.view
  }

  /** Puts a copy of a value in place of the data. */
  replace(value: unknown): void {
    replaceData(this.#read(), value)
  }

  get isNew(): boolean {
    this.#read()
    return this.#isNew
  }

  get handle(): string | null {
    return this.#kept && this.#policy.carrier.handle(this.#kept)
  }

  get key(): string | null {
    return this.#kept?.entry.key || null
  }

  get createdAt(): number {
    return this.#read().record.created
  }

  get expiresAt(): number {
    const { ends } = this.#read().record
    return this.#kept?.entry.expiresAt ?? endOf(this.#policy.clock.now(), ends, this.#policy.lifetime.idle)
  }

  refuseEnd(): void {
    if (this.#state === "gone" || this.#state === "destroyed") throw endedError()
  }

  /** Settles when no own write of an update is under way. */
  async written(): Promise<void> {
    while (this.#writes && this.#writes.count > 0) await this.#writes.ending
  }

  /** The last operation: brings what changed to the carrier, and says what that means for the reply. */
  finish(): ReplyChange | Promise<ReplyChange> {
    if (this.#failure && this.#state === "live") throw this.#failure.error
    const draft = this.#draft
    const text = draft && this.#state !== "gone" ? changedText(draft) : null
    draft?.close() // a view that the handler still holds takes no changes that nobody will write
    switch (this.#state) {
      case "opening":
      case "gone":
        return unchanged
      case "destroyed":
        return this.#presented === null ? unchanged : replyWithout(this.#policy, this.#exchange.secure)
      case "new":
        return text === null || !draft
          ? unchanged
          : this.#create(draft, draft.record, text).then(() => this.#setCookie())
      case "live":
        return text === null || !draft ? this.#touch() : this.#commitText(draft, text)
    }
  }

  /** The last write of this request: nothing else of it is under way any more. */
  async #commitText({ base }: Draft, text: string): Promise<ReplyChange> {
    const kept = this.#kept
    if (!kept) return unchanged
    try {
      await this.#carry(
        kept,
        this.#changeOf((newer) => this.#merge(newer, base, text)),
      )
    } catch (error) {
      if (error instanceof CoatcheckError && error.code === "ended") return unchanged
      throw error
    }
    this.#catchUp()
    this.#policy.tell?.({ type: "committed", handle: this.handle ?? "", wrote: "record" })
    return this.#setCookie()
  }

  #touch(): ReplyChange | Promise<ReplyChange> {
    const { clock, lifetime } = this.#policy
    const kept = this.#kept
    if (!kept) return unchanged
    const now = clock.now()
    if (!mayNeedTouch(now, kept.entry.expiresAt, lifetime.idle)) return this.#setCookie()
    const { ends } = this.#read().record
    const end = renewedEnd(now, kept.entry.expiresAt, ends, lifetime.idle)
    return end === null || this.#state !== "live" ? this.#setCookie() : this.#touchNow(kept, end)
  }

  async #touchNow(kept: Kept, end: number): Promise<ReplyChange> {
    const { carrier, tell } = this.#policy
    try {
      const fate = await carrier.touch(kept, end)
      if (fate === "gone") {
        this.#gone()
        return unchanged
      }
      this.#kept = fate
      if (fate !== kept) tell?.({ type: "committed", handle: carrier.handle(fate), wrote: "end" })
    } catch (error) {
      tell?.({ type: "touch-failed", handle: carrier.handle(kept), error })
    }
    return this.#setCookie()
  }

  /** Set-Cookie is due exactly when what leads to the session is not what the request brought. */
  #setCookie(): ReplyChange {
    const kept = this.#kept
    if (!kept || kept.cookie === this.#presented) return unchanged
    return replyWith(this.#policy, this.#exchange.secure, kept.cookie, () => this.#read().record.ends)
  }

  #read(): Draft {
    if (this.#draft) return this.#draft
    const { clock, lifetime, tell } = this.#policy
    const now = clock.now()
    if (this.#kept) {
      const record = parseRecord(this.#kept.entry.value)
      if (record && record.ends > now) return (this.#draft = new Draft(record, this.#kept.entry.value))
      tell?.(record ? { type: "ended", handle: this.handle ?? "", why: "lapsed" } : { type: "refused", why: "damaged" })
      this.#kept = null
      this.#state = "new"
      this.#isNew = true
    }
    const record = newRecord(now, now + lifetime.absolute)
    return (this.#draft = new Draft(record, recordText(record)))
  }

  /** Keeps a new session; `mine` is the text of what the handler has put into it by itself. */
  async #create(draft: Draft, record: SessionRecord, mine: string): Promise<void> {
    const { carrier, clock, lifetime, tell } = this.#policy
    mustReachBrowser(this.#policy, this.#exchange)
    this.#kept = await carrier.create(record, endOf(clock.now(), record.ends, lifetime.idle))
    this.#state = "live"
    draft.base = mine
    this.#catchUp()
    tell?.({ type: "created", handle: carrier.handle(this.#kept) })
  }

  /** A new id for the session; the old one is dead. */
  async rotate(): Promise<void> {
    this.refuseEnd()
    const draft = this.#read()
    const kept = this.#kept
    if (!kept) return
    const { carrier, tell } = this.#policy
    const from = carrier.handle(kept)
    const { base } = draft
    const mine = recordText(draft.record)
    const change = this.#changeOf((text) => this.#merge(text, base, mine))
    const fate = await carrier.rotate(kept, change)
    if (fate === "gone") {
      this.#gone()
      throw endedError()
    }
    this.#kept = fate
    draft.base = mine
    this.#catchUp()
    tell?.({ type: "rotated", handle: carrier.handle(fate), from })
  }

  /** Ends the session. */
  async end(): Promise<void> {
    if (this.#state === "gone" || this.#state === "destroyed") return
    const { carrier, tell } = this.#policy
    if (this.#kept) {
      const handle = carrier.handle(this.#kept)
      if ((await carrier.remove(this.#kept)) === "gone") {
        this.#gone()
        return
      }
      tell?.({ type: "ended", handle, why: "destroyed" })
    }
    this.#state = "destroyed"
    this.#draft = null
  }

  /** Changes the newest data. `isLate`: the reply's headers have left. */
  async update(onData: (data: SessionData) => unknown, isLate: boolean): Promise<void> {
    while (this.#creating) await this.#creating
    this.refuseEnd()
    const draft = this.#read()
    const isNew = this.#state === "new"
    if (isLate && (isNew || !this.#policy.carrier.afterReply)) throw committedError()
    if (!isNew) return this.#updateLive(draft, isLate ? null : changedText(draft), onData)
    const mine = recordText(draft.record)
    const creation = this.#create(draft, applyChange(mine, onData), mine)
    this.#creating = creation.then(ignore, ignore)
    try {
      await creation
    } finally {
      this.#creating = null
    }
  }

  /** An update, with what the handler changed before it, in one write: own changes first, and kept even when `onData` throws. */
  async #updateLive(draft: Draft, mine: string | null, onData: (data: SessionData) => unknown): Promise<void> {
    const { base } = draft
    if (mine === null) return this.#write((text) => recordText(applyChange(text, onData)))
    draft.base = mine
    const fail = (error: unknown): void => {
      this.#failure ??= { error }
    }
    const change = ownThenUpdate((newer) => this.#merge(newer, base, mine), onData, fail)
    try {
      await this.#write(change.apply)
    } catch (error) {
      fail(error)
      throw error
    }
    if (change.thrown.length > 0) throw change.thrown[0]
  }

  async #write(apply: (text: string) => string): Promise<void> {
    const kept = this.#kept
    if (!kept) throw endedError()
    await follow((this.#writes ??= nothingUnderWay()), this.#carry(kept, this.#changeOf(apply)), () => this.#catchUp())
  }

  async #carry(kept: Kept, change: Change): Promise<void> {
    try {
      const written = this.#policy.carrier.write(kept, change)
      this.#kept = written instanceof Promise ? await written : written // a plain answer stands before the next write begins
    } catch (error) {
      if (error instanceof CoatcheckError && error.code === "ended") this.#gone()
      throw error
    }
  }

  /** Brings `data` to what is kept now; only when no own write is under way, for they build on each other. */
  #catchUp(): void {
    const draft = this.#draft
    if (!draft || !this.#kept || draft.base === this.#kept.entry.value) return
    if (draft.isClosed) {
      this.#draft = null // its changes are on their way with the commit
      return
    }
    try {
      rebase(draft, this.#kept.entry.value, this.#policy.rules, (keys) => this.#tellConflict(keys))
    } catch (error) {
      this.#failure ??= { error } // what was written stays written; the handler's further changes don't fit on it
    }
  }

  #changeOf(apply: (text: string) => string): Change {
    const { clock, lifetime } = this.#policy
    const { ends } = this.#read().record
    return {
      apply: (text) => {
        if (this.#failure) throw this.#failure.error
        return apply(text ?? "")
      },
      end: (current) => renewedEnd(clock.now(), current?.expiresAt ?? null, ends, lifetime.idle) ?? undefined,
      creates: false,
    }
  }

  #merge(newer: string, base: string, mine: string): string {
    return mergeText(newer, base, mine, this.#policy.rules, (keys) => this.#tellConflict(keys))
  }

  #tellConflict(keys: readonly string[]): void {
    this.#policy.tell?.({ type: "conflict", handle: this.handle ?? "", keys })
  }

  #gone(): void {
    if (this.#state === "gone") return
    this.#policy.tell?.({ type: "ended", handle: this.handle ?? "", why: "gone" })
    this.#state = "gone"
  }
}
