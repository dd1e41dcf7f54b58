// The session that a handler holds during one request. It knows what was loaded, notices what changed, and brings that to its
// carrier once, before the reply's headers leave. Nothing here relies on a handler that awaits: operations take turns (turns.ts).
//
// One session goes through these states:
//   new        nothing is kept yet; data that is put in creates it at the commit
//   live       kept by the carrier
//   gone       somebody else ended it while this request was under way: changes are dropped, the cookie is left alone
//   destroyed  this request ended it: its reply clears the cookie
// Neither gone nor destroyed ever leads back: what is ended stays ended, and the request that saw the end creates nothing.

import { CoatcheckError } from "../errors.ts"
import type { Kept } from "./carrier.ts"
import { applyChange, changedText, type Draft, mergeText, ownThenUpdate, rebase, replaceData, sealed } from "./draft.ts"
import { committedError, endedError } from "./ended.ts"
import type { Committer, Exchange, ReplyChange } from "./exchange.ts"
import { endOf, mayNeedTouch, renewedEnd } from "./expiry.ts"
import type { Change } from "./lanes.ts"
import { mustReachBrowser, type Policy, replyWith, replyWithout, unchanged } from "./policy.ts"
import { emptyData, newRecord, parseRecord, recordText, type SessionData, type SessionRecord } from "./record.ts"
import { follow, nothingUnderWay, noTurns, takeAlone, takeBeside, takeLast } from "./turns.ts"

const ignore = (): void => {}

/**
 * One request's view of a session; `sessions.open(request)` makes it.
 *
 * `Data` is the shape of what the application keeps. Any key may be absent, since a session begins empty.
 */
export class Session<Data extends object = SessionData> implements Committer {
  readonly #policy: Policy
  readonly #exchange: Exchange
  /** The cookie value that the request brought, where it led to a session. */
  readonly #presented: string | null
  #kept: Kept | null
  #state: "new" | "live" | "gone" | "destroyed"
  #isNew: boolean
  /** Made on first use. A draft of a new session has the text of an empty one as its base. */
  #draft: Draft | null = null
  readonly #turns = noTurns()
  /** A creation for an update; settles with it, and never rejects. */
  #creating: Promise<unknown> | null = null
  /** Own writes under way. */
  readonly #writes = nothingUnderWay()
  /** Why own changes could not be kept. Nothing more of this request is kept then, and its commit fails. */
  #failure: { readonly error: unknown } | null = null
  /** The commit has begun: data, id and cookie can't change any more. */
  #closed: boolean
  #reply: ReplyChange | Promise<ReplyChange> | null

  /** For `createSessions` only. `closed`: the reply has been made already. */
  constructor(policy: Policy, exchange: Exchange, kept: Kept | null, closed: boolean) {
    this.#policy = policy
    this.#exchange = exchange
    this.#kept = kept
    this.#presented = kept && kept.cookie
    this.#state = kept ? "live" : "new"
    this.#isNew = kept === null
    this.#closed = closed
    this.#reply = closed ? unchanged : null
  }

  /**
   * What the application keeps: JSON. Change it in place, also deep inside, or assign a new object, which is copied. It is
   * committed with the reply; changes that other requests make meanwhile are merged key by key.
   *
   * @throws CoatcheckError `committed` when it is changed after the reply's headers, `ended` after `destroy`, `invalid` when
   *   what is assigned is not JSON. TypeError when it is no object.
   */
  get data(): Partial<Data> {
    return this.#view() as Partial<Data> // what is kept has the shape that the application gave it
  }

  set data(value: Partial<Data>) {
    this.#refuseEnd()
    if (this.#closed) throw committedError()
    replaceData(this.#read(), value)
  }

  /** Whether there was no session when this request asked for one. */
  get isNew(): boolean {
    this.#read()
    return this.#isNew
  }

  /** The public name of the session, the same as long as its id; null while nothing is kept. No secret. */
  get handle(): string | null {
    return this.#kept && this.#policy.carrier.handle(this.#kept)
  }

  /** The key under which the store has the record; null while there is none, or where the cookie holds the data. */
  get key(): string | null {
    return this.#kept?.entry.key || null
  }

  /** When the session was created, epoch ms. */
  get createdAt(): number {
    return this.#read().record.created
  }

  /** When it ends, epoch ms, if nobody uses it from now on. */
  get expiresAt(): number {
    const { ends } = this.#read().record
    return this.#kept?.entry.expiresAt ?? endOf(this.#policy.clock.now(), ends, this.#policy.lifetime.idle)
  }

  /**
   * Changes the newest data exactly, however many requests do so at once, and has it kept when it resolves.
   *
   * `change` gets a copy of the newest data, with this request's own changes on it, and changes it in place. It is called again
   * when somebody else was faster, so it must be synchronous and have no other effects. Updates of one session made in one
   * process leave together in one write. When `change` throws, only this update fails.
   *
   * It works after the reply's headers too, on a session that was kept by then, unless the cookie holds the data.
   *
   * @returns the data as this very change left it, so that each of many parallel calls sees a result of its own; a copy. What is
   *   kept by now, with the changes of others, is in `data`.
   * @throws TypeError when `change` returns a promise. CoatcheckError `ended`, `conflict` (out of time, or by a rule for this
   *   request's own changes), what the store throws, or `committed` for a session that can't be created or written any more.
   */
  async update(change: (data: Partial<Data>) => void): Promise<Partial<Data>> {
    let made = emptyData()
    const onData = (data: SessionData): unknown => {
      made = data
      return change(data as Partial<Data>) // the application's name for the same object
    }
    const isLate = this.#closed
    await takeBeside(this.#turns, () => this.#update(onData, isLate))
    while (this.#writes.count > 0) await this.#writes.ending
    return made as Partial<Data> // as above; the copy that the last call got
  }

  /**
   * Gives the session a new id and kills the old one at once; the data stays. Do it whenever somebody's rights change.
   *
   * @throws CoatcheckError `ended` when somebody else ended it, `committed` after the reply's headers, or what the store throws:
   *   then the session is as it was, or (after `unknown-outcome`) has ended.
   */
  async regenerate(): Promise<void> {
    this.#refuseEnd()
    if (this.#closed) throw committedError()
    await takeAlone(this.#turns, () => this.#rotate())
  }

  /**
   * Ends the session: the record is gone when this resolves, and the reply clears the cookie, unless it was (or may have been)
   * somebody else who ended it. Without a session it only drops what was put into `data`.
   *
   * @throws CoatcheckError what the store throws: then the session is as it was, and the cookie stays. `committed` after the
   *   reply's headers.
   */
  async destroy(): Promise<void> {
    if (this.#closed) throw committedError()
    await takeAlone(this.#turns, () => this.#end())
  }

  /**
   * Brings the session's state to where it is kept. The adapter does so before the headers leave; a handler that wants to see a
   * failure itself may do it earlier. From then on data, id and cookie can't change any more; `update` still works.
   *
   * @throws CoatcheckError when the state is not safely kept.
   */
  commit(): ReplyChange | Promise<ReplyChange> {
    if (this.#reply) return this.#reply
    this.#closed = true
    this.#reply = takeLast(this.#turns, () => this.#finish())
    return this.#reply
  }

  #finish(): ReplyChange | Promise<ReplyChange> {
    if (this.#failure && this.#state === "live") throw this.#failure.error
    const draft = this.#draft
    const text = draft && this.#state !== "gone" ? changedText(draft) : null
    // A reference to the data that a handler still holds must not take changes that nobody will write.
    if (draft) Object.freeze(draft.record.data)
    switch (this.#state) {
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
    this.#policy.tell({ type: "committed", handle: this.handle ?? "", wrote: "record" })
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
      if (fate !== kept) tell({ type: "committed", handle: carrier.handle(fate), wrote: "end" })
    } catch (error) {
      tell({ type: "touch-failed", handle: carrier.handle(kept), error })
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
      if (record && record.ends > now) return (this.#draft = { record, base: this.#kept.entry.value })
      tell(record ? { type: "ended", handle: this.handle ?? "", why: "lapsed" } : { type: "refused", why: "damaged" })
      this.#kept = null
      this.#state = "new"
      this.#isNew = true
    }
    const record = newRecord(now, now + lifetime.absolute)
    return (this.#draft = { record, base: recordText(record) })
  }

  #view(): SessionData {
    if (this.#state === "destroyed") return sealed({}, endedError)
    const { data } = this.#read().record
    return this.#closed ? sealed(data, committedError) : data
  }

  /** Keeps a new session; `mine` is the text of what the handler has put into it by itself. */
  async #create(draft: Draft, record: SessionRecord, mine: string): Promise<void> {
    const { carrier, clock, lifetime, tell } = this.#policy
    mustReachBrowser(this.#policy, this.#exchange)
    this.#kept = await carrier.create(record, endOf(clock.now(), record.ends, lifetime.idle))
    this.#state = "live"
    draft.base = mine
    this.#catchUp()
    tell({ type: "created", handle: carrier.handle(this.#kept) })
  }

  async #rotate(): Promise<void> {
    this.#refuseEnd()
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
    tell({ type: "rotated", handle: carrier.handle(fate), from })
  }

  async #end(): Promise<void> {
    if (this.#state === "gone" || this.#state === "destroyed") return
    const { carrier, tell } = this.#policy
    if (this.#kept) {
      const handle = carrier.handle(this.#kept)
      if ((await carrier.remove(this.#kept)) === "gone") {
        this.#gone()
        return
      }
      tell({ type: "ended", handle, why: "destroyed" })
    }
    this.#state = "destroyed"
    this.#draft = null
  }

  async #update(onData: (data: SessionData) => unknown, isLate: boolean): Promise<void> {
    if (isLate) await this.#reply // a commit that failed fails it
    while (this.#creating) await this.#creating
    this.#refuseEnd()
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
    await follow(this.#writes, this.#carry(kept, this.#changeOf(apply)), () => this.#catchUp())
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
    if (Object.isFrozen(draft.record.data)) {
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
    this.#policy.tell({ type: "conflict", handle: this.handle ?? "", keys })
  }

  #gone(): void {
    if (this.#state === "gone") return
    this.#policy.tell({ type: "ended", handle: this.handle ?? "", why: "gone" })
    this.#state = "gone"
  }

  #refuseEnd(): void {
    if (this.#state === "gone" || this.#state === "destroyed") throw endedError()
  }
}
