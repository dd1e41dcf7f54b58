// Where an adapter and the core meet. An adapter turns one request of its framework into an Exchange and leaves it on the request
// object under `exchangeOf`, so that `sessions.open(request)` finds it; nothing else happens until a session is opened, which is
// what makes an untouched request cost nothing. When the reply's headers are about to leave, the adapter commits the sessions that were
// attached and puts what they say on the reply, or replaces the whole reply when one fails.

/** What the core needs to know of one request, and the way to tell the adapter that its reply now depends on a session. */
export interface Exchange {
  /** The Cookie field; several joined by "; ". null: none. */
  readonly cookie: string | null
  /** Whether the user agent reached us over HTTPS. */
  readonly secure: boolean
  /** Whether the reply's headers have left already: then no cookie can be set any more. */
  readonly sent: boolean
  /** Called once for each session system opened on this request, at once when it is opened. From then on the reply is held. */
  attach(commit: Committer): void
  /** For the core: what was opened on this request so far. Begins undefined. */
  opened?: Opened | undefined
}

/** A session opened on a request, and the ones that other session systems opened before. */
export interface Opened {
  readonly by: object
  readonly session: Promise<unknown>
  readonly before: Opened | undefined
}

/** One opened session, as the adapter sees it. */
export interface Committer {
  /**
   * Brings the session's state to its store. Called once, before the headers leave. A plain answer where nothing had to be
   * waited for.
   *
   * @throws CoatcheckError when the state is not safely kept: then the reply must not leave as the handler made it.
   */
  commit(): ReplyChange | Promise<ReplyChange>
}

/** What a session asks of the reply. Every reply that looked at a session also varies on Cookie and is at least private. */
export interface ReplyChange {
  /** A whole Set-Cookie field, or null. Replaces another one of the same name on this reply. */
  readonly setCookie: string | null
}

/** The property of a request object under which its adapter left the Exchange. */
export const exchangeOf: unique symbol = Symbol.for("coatcheck.exchange") as never // one symbol for every copy of the library in a process
