// The session that a handler holds during one request. It knows what was loaded, notices what changed, and brings that to its
// carrier once, before the reply's headers leave.
//
// One session goes through these states:
//   new        nothing is kept yet; data that is put in creates it at the commit
//   live       kept by the carrier
//   gone       somebody else ended it while this request was under way: changes are dropped, the cookie is left alone
//   destroyed  this request ended it: its reply clears the cookie
// Neither gone nor destroyed ever leads back: what is ended stays ended, and the request that saw the end creates nothing.

import { CoatcheckError } from "../errors.ts"
import type { Carrier, Kept } from "./carrier.ts"
import type { Clock } from "./clock.ts"
import { type CookieSettings, clearCookie, cookieForm, serializeCookie } from "./cookie.ts"
import { applyChange, changedText, type Draft, mergeText, rebase, sealed } from "./draft.ts"
import { committedError, endedError } from "./ended.ts"
import type { SessionEvent } from "./events.ts"
import type { Committer, Exchange, ReplyChange } from "./exchange.ts"
import { endOf, type Lifetime, mayNeedTouch, renewedEnd } from "./expiry.ts"
import type { Change } from "./lanes.ts"
import type { Rules } from "./merge.ts"
import { isObject, newRecord, parseRecord, recordText, type SessionData } from "./record.ts"

/** What all sessions of one `createSessions` share. */
export interface Policy {
  readonly carrier: Carrier
  readonly clock: Clock
  readonly lifetime: Lifetime
  readonly rules: Rules
  readonly cookie: CookieSettings
  tell(event: SessionEvent): void
}

const unchanged: ReplyChange = { setCookie: null }

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
  #creating: Promise<void> | null = null
  /** Own changes on their way to the carrier, and how many. */
  #pushing: Promise<void> | null = null
  #underway = 0
  #failure: { readonly error: unknown } | null = null
  #reply: ReplyChange | Promise<ReplyChange> | null

  /** For `createSessions` only. */
  constructor(policy: Policy, exchange: Exchange, kept: Kept | null) {
    this.#policy = policy
    this.#exchange = exchange
    this.#kept = kept
    this.#presented = kept && kept.cookie
    this.#state = kept ? "live" : "new"
    this.#isNew = kept === null
    this.#reply = exchange.sent ? unchanged : null
  }

  /**
   * What the application keeps: JSON. Change it in place, also deep inside, or assign a new object. It is committed with the
   * reply; changes that other requests make meanwhile are merged key by key.
   *
   * @throws CoatcheckError `committed` when it is changed after the reply's headers, `ended` after `destroy`.
   */
  get data(): Partial<Data> {
    return this.#view() as Partial<Data> // what is kept has the shape that the application gave it
  }

  set data(value: Partial<Data>) {
    this.#refuseEnd()
    if (this.#reply) throw committedError()
    if (!isObject(value)) throw new TypeError("session data must be an object")
    this.#read().record.data = value
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
   * It works after the reply's headers too, on a session that was kept by then.
   *
   * @returns the data as it is now.
   * @throws TypeError when `change` returns a promise. CoatcheckError `ended`, `conflict` (out of time), what the store throws,
   *   or `committed` for a session that can't be created any more.
   */
  async update(change: (data: Partial<Data>) => void): Promise<Partial<Data>> {
    const onData = change as (data: SessionData) => unknown // Partial<Data> is the application's name for the same object
    await (this.#reply ?? this.#creating)
    this.#refuseEnd()
    this.#read()
    if (this.#state === "live") {
      const own = this.#reply ? null : this.#push()
      await Promise.all([own, this.#write((text) => applyChange(text, onData))])
    } else {
      if (this.#reply) throw committedError()
      const draft = this.#read()
      rebase(draft, applyChange(recordText(draft.record), onData), this.#policy.rules)
      await this.#create()
    }
    return this.data
  }

  /**
   * Gives the session a new id and kills the old one at once; the data stays. Do it whenever somebody's rights change.
   *
   * @throws CoatcheckError `ended` when somebody else ended it, `committed` after the reply's headers, or what the store throws:
   *   then the session is as it was, or (after `unknown-outcome`) has ended.
   */
  async regenerate(): Promise<void> {
    await this.#creating
    this.#refuseEnd()
    if (this.#reply) throw committedError()
    const draft = this.#read()
    if (!this.#kept) return
    await this.#pushing
    const { carrier, tell } = this.#policy
    const from = carrier.handle(this.#kept)
    const mine = recordText(draft.record)
    const fate = await carrier.rotate(
      this.#kept,
      this.#changeOf((text) => this.#merge(text, draft.base, mine)),
    )
    if (fate === "gone") {
      this.#gone()
      throw endedError()
    }
    draft.base = mine
    this.#adopt(fate)
    tell({ type: "rotated", handle: carrier.handle(fate), from })
  }

  /**
   * Ends the session: the record is gone when this resolves, and the reply clears the cookie. Without a session it only drops
   * what was put into `data`.
   *
   * @throws CoatcheckError what the store throws: then the session is as it was, and the cookie stays. `committed` after the
   *   reply's headers.
   */
  async destroy(): Promise<void> {
    await this.#creating
    if (this.#reply) throw committedError()
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

  /**
   * Brings the session's state to where it is kept. The adapter does so before the headers leave; a handler that wants to see a
   * failure itself may do it earlier. From then on data, id and cookie can't change any more; `update` still works.
   *
   * @throws CoatcheckError when the state is not safely kept.
   */
  commit(): ReplyChange | Promise<ReplyChange> {
    if (this.#reply) return this.#reply
    const before = this.#creating ?? this.#pushing
    this.#reply = before ? before.then(() => this.#finish()) : this.#finish()
    return this.#reply
  }

  #finish(): ReplyChange | Promise<ReplyChange> {
    if (this.#failure) throw this.#failure.error
    const draft = this.#draft
    const text = draft && this.#state !== "gone" ? changedText(draft) : null
    // A reference to the data that a handler still holds must not take changes that nobody will write.
    if (draft) Object.freeze(draft.record.data)
    switch (this.#state) {
      case "gone":
        return unchanged
      case "destroyed":
        return this.#presented === null
          ? unchanged
          : { setCookie: clearCookie(this.#policy.cookie, this.#exchange.secure) }
      case "new":
        return text === null ? unchanged : this.#create().then(() => this.#setCookie())
      case "live":
        return text === null ? this.#touch() : this.#commitText(text)
    }
  }

  async #commitText(text: string): Promise<ReplyChange> {
    const base = this.#read().base
    try {
      await this.#write((newer) => this.#merge(newer, base, text))
    } catch (error) {
      if (error instanceof CoatcheckError && error.code === "ended") return unchanged
      throw error
    }
    this.#tellCommitted("record")
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
      this.#tellCommitted("end")
    } catch (error) {
      tell({ type: "touch-failed", handle: carrier.handle(kept), error })
    }
    return this.#setCookie()
  }

  /** Set-Cookie is due exactly when what leads to the session is not what the request brought. */
  #setCookie(): ReplyChange {
    const kept = this.#kept
    if (!kept || kept.cookie === this.#presented) return unchanged
    const { cookie, clock } = this.#policy
    const maxAge = cookie.persistent ? (this.#read().record.ends - clock.now()) / 1_000 : null
    return { setCookie: serializeCookie(cookie, this.#exchange.secure, kept.cookie, maxAge) }
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
    return this.#reply ? sealed(data, committedError) : data
  }

  #create(): Promise<void> {
    this.#creating ??= this.#createNow().finally(() => {
      this.#creating = null
    })
    return this.#creating
  }

  async #createNow(): Promise<void> {
    const { carrier, clock, lifetime, cookie, tell } = this.#policy
    const { secure, sent } = this.#exchange
    if (sent) throw committedError()
    if (!cookieForm(cookie, secure)) {
      tell({ type: "refused", why: "insecure" })
      clearCookie(cookie, secure) // says what is wrong, as an error
    }
    const draft = this.#read()
    const base = recordText(draft.record)
    this.#kept = await carrier.create(draft.record, endOf(clock.now(), draft.record.ends, lifetime.idle))
    this.#state = "live"
    draft.base = base
    tell({ type: "created", handle: carrier.handle(this.#kept) })
  }

  /** Sends what the handler changed so far ahead of an update. Its failure fails the commit as well. */
  #push(): Promise<void> | null {
    const draft = this.#read()
    const mine = changedText(draft)
    if (mine === null) return null
    const { base } = draft
    draft.base = mine
    this.#pushing = this.#write((newer) => this.#merge(newer, base, mine)).catch((error: unknown) => {
      if (this.#state !== "gone") this.#failure ??= { error }
      throw error
    })
    this.#pushing.catch(() => {}) // whoever waits for it is told; nobody has to
    return this.#pushing
  }

  async #write(apply: (text: string) => string): Promise<void> {
    const { carrier } = this.#policy
    const kept = this.#kept
    if (!kept) throw endedError()
    this.#underway++
    try {
      const written = await carrier.write(kept, this.#changeOf(apply))
      this.#underway--
      this.#adopt(written)
    } catch (error) {
      this.#underway--
      if (error instanceof CoatcheckError && error.code === "ended") this.#gone()
      throw error
    }
  }

  /** Takes over what is kept now. While more of this session's own writes are under way, only the last one shows in `data`. */
  #adopt(kept: Kept): void {
    this.#kept = kept
    if (this.#underway > 0 || !this.#draft) return
    if (this.#reply) this.#draft = null
    else rebase(this.#draft, kept.entry.value, this.#policy.rules)
  }

  #changeOf(apply: (text: string) => string): Change {
    const { clock, lifetime } = this.#policy
    const { ends } = this.#read().record
    return {
      apply: (text) => apply(text ?? ""),
      end: (current) => renewedEnd(clock.now(), current?.expiresAt ?? null, ends, lifetime.idle) ?? undefined,
      creates: false,
    }
  }

  #merge(newer: string, base: string, mine: string): string {
    const { rules, tell } = this.#policy
    return mergeText(newer, base, mine, rules, (keys) => tell({ type: "conflict", handle: this.handle ?? "", keys }))
  }

  #gone(): void {
    if (this.#state === "gone") return
    this.#policy.tell({ type: "ended", handle: this.handle ?? "", why: "gone" })
    this.#state = "gone"
  }

  #tellCommitted(wrote: "record" | "end"): void {
    this.#policy.tell({ type: "committed", handle: this.handle ?? "", wrote })
  }

  #refuseEnd(): void {
    if (this.#state === "gone" || this.#state === "destroyed") throw endedError()
  }
}
