// One connection to one server, as everything of ours above a driver sees it. A link is made whole or not at all, lives until it breaks,
// and is then thrown away; making it anew is ./channel.ts's business. So no driver's own idea of reconnecting, queueing or
// repeating has a say.

import type { Endpoint } from "./address.ts"

/** TLS of the connections, as `tls.connect` takes it. */
export interface RedisTls {
  /** Certificates to trust, PEM. Default: the system's authorities. */
  readonly ca?: string | Buffer | readonly (string | Buffer)[]
  /** Our own certificate and its key, PEM, where the server asks for one. */
  readonly cert?: string | Buffer
  readonly key?: string | Buffer
  readonly passphrase?: string
  /** The name that the server's certificate must have. Default: the host. */
  readonly servername?: string
  /** false: take any certificate. For tests only. */
  readonly rejectUnauthorized?: boolean
}

/** How every link of a store is made. */
export interface LinkOptions {
  /** null: no TLS. */
  readonly tls: RedisTls | null
  readonly username: string | undefined
  /** undefined: no AUTH. */
  readonly password: string | undefined
  readonly db: number
  /** How long making it may take in all, in ms. */
  readonly patience: number
}

/** What a link tells while it lives. */
export interface LinkEvents {
  /** It broke, or was cut. Called once, after everything that was under way on it was rejected. */
  lost(cause: Error): void
  /** A message on a channel that it subscribed to; the payload is what the server sent: bytes, a list of them, or nil. */
  message?(payload: unknown): void
  /** The server answered a command with READONLY: it is a replica. The answer itself goes to the caller. */
  readonly?(): void
}

/** A link that stands. */
export interface Link {
  /** Commands sent and not answered yet. */
  readonly owed: number
  /** Commands answered since it stands. */
  readonly answered: number
  /**
   * Sends a command with all others of this turn of the event loop.
   *
   * Rejects with `RedisReplyError` or `RedisLinkError`.
   */
  send(args: readonly string[]): Promise<unknown>
  /** Ends it at once; `cause` is what its calls and `lost` are told. */
  cut(cause: Error): void
}

/**
 * Makes a link: connects, signs in, chooses the database.
 *
 * Rejects with `RedisReplyError` when the server refused, else with what the socket said.
 */
export type OpenLink = (to: Endpoint, options: LinkOptions, events: LinkEvents) => Promise<Link>
