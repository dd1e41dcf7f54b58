// What every adapter needs to know of the sessions it serves, before one is opened: the names of their cookie, for the guard.

import { readCookies } from "../core/cookie.ts"

/** The part of `Sessions` that adapters use. */
export interface AdaptedSessions {
  readonly cookieNames: readonly string[]
}

/**
 * Refuses what is no session system.
 *
 * @param adapter whose argument it is, for the message.
 */
export function checkSessions(adapter: string, sessions: AdaptedSessions): void {
  if (Array.isArray((sessions as AdaptedSessions | null | undefined)?.cookieNames)) return // callers without types give anything
  throw new TypeError(`${adapter} takes the sessions that createSessions made`)
}

/** Whether a Cookie field holds something under a name of ours, valid or not. */
export function presentsSession({ cookieNames }: AdaptedSessions, cookie: string | null): boolean {
  return cookieNames.some((name) => readCookies(cookie, name).length > 0)
}
