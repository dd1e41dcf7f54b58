// The session that a handler holds during one request: its data, and the operations on it, which take turns (turns.ts) so that
// nothing here relies on a handler that awaits. What is known of the session, and how it gets to where it is kept, is in
// session-state.ts.

import { CoatcheckError } from "../errors.ts"
import type { Kept } from "./carrier.ts"
import { checkQuery } from "./contract.ts"
import type { RandomSource } from "./crypto.ts"
import { csrfToken, isCsrfToken } from "./csrf.ts"
import { committedError } from "./ended.ts"
import type { Committer, Exchange, ReplyChange } from "./exchange.ts"
import { checkOptions } from "./options.ts"
import { type Policy, unchanged } from "./policy.ts"
import { emptyData, type SessionData } from "./record.ts"
import { finish } from "./session-commit.ts"
import { end, keep, rotate, signIn } from "./session-renewal.ts"
import { SessionState } from "./session-state.ts"
import { update } from "./session-update.ts"
import { noTurns, takeAlone, takeBeside, takeLast, type Turns } from "./turns.ts"

/** Settings of `signIn`. */
export interface SignInOptions<Data extends object = SessionData> {
  /** Keys of the data that stay. Default none. */
  readonly keep?: readonly (keyof Data & string)[]
}

/** For `createSessions` only: tells a session what was found for it. */
export let foundSession: <Data extends object>(session: Session<Data>, kept: Kept | null) => void

/**
 * One request's view of a session; `sessions.open(request)` makes it.
 *
 * `Data` is the shape of what the application keeps. Any key may be absent, since a session begins empty.
 */
export class Session<Data extends object = SessionData> implements Committer {
  readonly #state: SessionState
  readonly #random: RandomSource
  #turns: Turns | null = null
  /** The commit has begun: data, id and cookie can't change any more. */
  #closed: boolean
  #reply: ReplyChange | Promise<ReplyChange> | null

  /** For `createSessions` only: a session that is being looked for. Nobody has it before `foundSession` is called. */
  constructor(policy: Policy, exchange: Exchange) {
    this.#state = new SessionState(policy, exchange)
    this.#random = policy.random
    this.#closed = exchange.sent
    this.#reply = this.#closed ? unchanged : null
  }

  static {
    foundSession = (session, kept) => session.#state.found(kept)
  }

  /**
   * What the application keeps: JSON. Change it in place, also deep inside, or assign a new object, which is copied. It is
   * committed with the reply; changes that other requests make meanwhile are merged key by key.
   *
   * @throws CoatcheckError `committed` when it is changed after the reply's headers, `ended` after `destroy`, `invalid` when
   *   what is assigned is not JSON. TypeError when it is no object.
   */
  get data(): Partial<Data> {
    return this.#state.view(this.#closed) as Partial<Data> // what is kept has the shape that the application gave it
  }

  set data(value: Partial<Data>) {
    this.#state.refuseEnd()
    if (this.#closed) throw committedError()
    this.#state.replace(value)
  }

  /** Whether there was no session when this request asked for one. */
  get isNew(): boolean {
    this.#state.read()
    return this.#state.isNew
  }

  /** Who signed in, as `signIn` was told; null: nobody. */
  get owner(): string | null {
    return this.#state.owner
  }

  /** The public name of the session, the same as long as its id; null while nothing is kept. No secret. */
  get handle(): string | null {
    return this.#state.handle
  }

  /** The key under which the store has the record; null while there is none, or where the cookie holds the data. */
  get key(): string | null {
    return this.#state.key
  }

  /** When the session was created, epoch ms. */
  get createdAt(): number {
    return this.#state.createdAt
  }

  /** When it ends, epoch ms, if nobody uses it from now on. */
  get expiresAt(): number {
    return this.#state.expiresAt
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
    await takeBeside((this.#turns ??= noTurns()), async () => {
      if (isLate) await this.#reply // a commit that failed fails it
      await update(this.#state, onData, isLate)
    })
    await this.#state.written()
    return made as Partial<Data> // as above; the copy that the last call got
  }

  /**
   * Gives the session a new id and kills the old one at once; the data stays. Do it whenever somebody's rights change.
   *
   * @throws CoatcheckError `ended` when somebody else ended it, `committed` after the reply's headers, or what the store throws:
   *   then the session is as it was, or (after `unknown-outcome`) has ended.
   */
  async regenerate(): Promise<void> {
    this.#state.refuseEnd()
    if (this.#closed) throw committedError()
    await takeAlone((this.#turns ??= noTurns()), () => rotate(this.#state))
  }

  /**
   * Signs somebody in: a session of that owner's with a new id and a life of its own, while the old id is dead at once. Call it
   * whenever who somebody is, or what they may do, was proved anew.
   *
   * @param owner whose session it is from now on, 1 to 512 bytes of UTF-8: an account's id rather than a name that may change.
   * @param options `keep`: the keys of the data that go with the person. All others are dropped, for what was there before may be
   *   somebody else's doing. Default none.
   * @throws CoatcheckError `ended` when all of the owner's sessions were ended at the same moment, or this request ended the session
   *   itself; `committed` after the reply's headers; `invalid` for an owner that is none; or what the store throws: then nobody is signed in.
   */
  async signIn(owner: string, options: SignInOptions<Data> = {}): Promise<void> {
    checkOptions<SignInOptions<Data>>("signIn", options, { keep: true })
    const keys = options.keep ?? []
    if (!Array.isArray(keys)) throw new TypeError("keep must be a list of keys of the data")
    if (checkQuery({ owner }).owner === null) throw new CoatcheckError("invalid", "signIn needs an owner")
    if (this.#closed) throw committedError()
    await takeAlone((this.#turns ??= noTurns()), () => signIn(this.#state, owner, keys))
  }

  /** Signs out: ends the session, exactly as `destroy` does. */
  async signOut(): Promise<void> {
    await this.destroy()
  }

  /**
   * A token for a form or a request header of this session, 66 characters. It dies with the session's id, so ask for it after `signIn` and
   * `regenerate`. A new session is kept for it at once. Never put it into a URL.
   *
   * @throws CoatcheckError `ended`, `committed` for a session that can't be created any more, or what the store throws.
   */
  async csrfToken(): Promise<string> {
    this.#state.refuseEnd()
    const ahead = this.#turns?.alone
    if (ahead && this.#state.secret !== null) {
      await ahead // it may replace the id
      this.#state.refuseEnd()
    }
    if (this.#state.secret === null) {
      if (this.#closed) throw committedError()
      await takeAlone((this.#turns ??= noTurns()), () => keep(this.#state))
    }
    return csrfToken(this.#state.secret ?? "", this.#random) // it is kept now
  }

  /** Whether this is a token of this session. Whatever a request brought may be given; false while nothing is kept. */
  verifyCsrfToken(token: unknown): boolean {
    const { secret } = this.#state
    return secret !== null && isCsrfToken(secret, token)
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
    await takeAlone((this.#turns ??= noTurns()), () => end(this.#state))
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
    this.#reply = this.#turns ? takeLast(this.#turns, () => finish(this.#state)) : finish(this.#state)
    return this.#reply
  }
}
