// What every adapter needs to know of the sessions it serves, before one is opened: the names of their cookie, for the guard.

import { readCookies } from "../core/cookie.ts"

/** The part of `Sessions` that adapters use. */
export interface AdaptedSessions {
  readonly cookieNames: readonly string[]
}

/** Whether a Cookie field holds something under a name of ours, valid or not. */
export function presentsSession({ cookieNames }: AdaptedSessions, cookie: string | null): boolean {
  return cookieNames.some((name) => readCookies(cookie, name).length > 0)
}
