// What all sessions of one `createSessions` share, and what follows from it for a reply.

import type { Carrier } from "./carrier.ts"
import type { Clock } from "./clock.ts"
import { type CookieSettings, clearCookie, cookieForm, serializeCookie } from "./cookie.ts"
import type { RandomSource } from "./crypto.ts"
import { committedError } from "./ended.ts"
import type { Tell } from "./events.ts"
import type { Exchange, ReplyChange } from "./exchange.ts"
import type { Lifetime } from "./expiry.ts"
import type { Marks } from "./marks.ts"
import type { Rules } from "./merge.ts"

/** The settings of a session system, checked and put together. */
export interface Policy {
  readonly carrier: Carrier
  readonly clock: Clock
  readonly random: RandomSource
  /** Where it is kept which sessions were ended all at once; null: nowhere. */
  readonly marks: Marks | null
  readonly lifetime: Lifetime
  readonly rules: Rules
  readonly cookie: CookieSettings
  readonly tell: Tell
}

/** A reply that the session asks nothing of. */
export const unchanged: ReplyChange = { setCookie: null }

/**
 * A reply that gives the browser this cookie. A persistent one lives to the session's absolute end, `ends`; idleness is the
 * server's business.
 *
 * @throws CoatcheckError `too-large` when browsers would drop it.
 */
export function replyWith(policy: Policy, isSecure: boolean, value: string, ends: () => number): ReplyChange {
  const { cookie, clock } = policy
  const maxAge = cookie.persistent ? (ends() - clock.now()) / 1_000 : null
  return { setCookie: serializeCookie(cookie, isSecure, value, maxAge) }
}

/**
 * Refuses to make a session that no browser would learn of.
 *
 * @throws CoatcheckError `committed` when the headers have left, `invalid` when the cookie is for HTTPS only and the request is not.
 */
export function mustReachBrowser({ cookie, tell }: Policy, { secure, sent }: Exchange): void {
  if (sent) throw committedError()
  if (cookieForm(cookie, secure)) return
  tell?.({ type: "refused", why: "insecure" })
  clearCookie(cookie, secure) // says what is wrong, as an error
}

/** A reply that makes the browser forget the cookie. */
export function replyWithout(policy: Policy, isSecure: boolean): ReplyChange {
  return { setCookie: clearCookie(policy.cookie, isSecure) }
}
