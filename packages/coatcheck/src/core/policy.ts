// What all sessions of one `createSessions` share, and what follows from it for a reply.

import type { Carrier } from "./carrier.ts"
import type { Clock } from "./clock.ts"
import { type CookieSettings, clearCookie, serializeCookie } from "./cookie.ts"
import type { SessionEvent } from "./events.ts"
import type { ReplyChange } from "./exchange.ts"
import type { Lifetime } from "./expiry.ts"
import type { Rules } from "./merge.ts"

/** The settings of a session system, checked and put together. */
export interface Policy {
  readonly carrier: Carrier
  readonly clock: Clock
  readonly lifetime: Lifetime
  readonly rules: Rules
  readonly cookie: CookieSettings
  tell(event: SessionEvent): void
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

/** A reply that makes the browser forget the cookie. */
export function replyWithout(policy: Policy, isSecure: boolean): ReplyChange {
  return { setCookie: clearCookie(policy.cookie, isSecure) }
}
