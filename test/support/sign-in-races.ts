// Rounds in which somebody's session ends on one instance, by a sign-in, a new id, a sign-out or a revocation, and sometimes on both at the
// same moment, while slow requests of it are under way on both. Who may still see the person is told by the machine's clock: nobody
// whose request began when an end had been acknowledged.

import { createSessions, type Store } from "coatcheck"
import { expect } from "vitest"
import type { Instance } from "./instances.ts"
import type { Ending, RacedEnding } from "./session-worker.ts"

const endings: readonly Ending[] = ["sign-in", "new id", "sign-out", "revoke"]
const REQUESTS = 8

/** What happened in all rounds; rounds in which nothing met show nothing. */
export interface RaceTotals {
  /** Requests that saw the person. */
  seen: number
  /** Those that began when the session had ended. */
  late: number
  /** Changes that came when the session had ended meanwhile. */
  dropped: number
  /** Sessions that a sign-in or a new id left. */
  left: number
}

/** So many rounds on two instances over a store, which is looked at in between. */
export async function signInRaces(store: Store, both: readonly Instance[], rounds: number): Promise<RaceTotals> {
  const sessions = createSessions<{ count: number }>({ store })
  const request = (cookie: string | null) => ({ cookie, secure: false, sent: false, attach() {} })
  const ownerBy = async (cookie: string): Promise<string | null> => (await sessions.open(request(cookie))).owner
  const totals: RaceTotals = { seen: 0, late: 0, dropped: 0, left: 0 }

  for (let round = 0; round < rounds; round++) {
    const owner = `person ${round}`
    const first = await sessions.open(request(null))
    await first.signIn(owner)
    const cookie = cookieOf((await first.commit()).setCookie) ?? ""
    // Each ending in its turn, alone and together with each other one.
    const mine = endings[round % endings.length]!
    const other = [null, ...endings][Math.floor(round / endings.length) % (endings.length + 1)]!
    const raced = await Promise.all(
      both.map((instance, i) =>
        instance.race({ cookie, owner, requests: REQUESTS, ending: i === round % 2 ? mine : other }),
      ),
    )
    const ended = raced.flatMap(({ ending }, i) => (ending ? [{ ...ending, how: i === round % 2 ? mine : other }] : []))
    // One of two that ask for a new id, or that come when the session is over, may be told that it has ended.
    for (const { code } of ended) expect([null, "ended"]).toContain(code)
    const over = Math.min(...ended.filter(({ code }) => code === null).map(({ done }) => done))
    expect(over).toBeLessThan(Infinity)

    for (const { begun, isNew, owner: seen, setCookie, code } of raced.flatMap(({ requests }) => requests)) {
      expect(setCookie, "a slow reply changed the cookie").toBe(null)
      expect([null, "ended"]).toContain(code)
      expect(seen).toBe(isNew ? null : owner)
      if (!isNew) totals.seen++
      if (code === "ended") totals.dropped++
      if (begun <= over) continue
      expect(seen, "somebody was seen whose session had ended").toBe(null)
      totals.late++
    }

    expect(await ownerBy(cookie), "what had ended is back").toBe(null)
    const revoked = ended.filter(({ how }) => how === "revoke")
    const given = ended.flatMap((ending) => {
      const value = cookieOf(ending.setCookie)
      return value === null ? [] : [{ ...ending, value }]
    })
    const alive = await Promise.all(given.map(async ({ value }) => (await ownerBy(value)) === owner))
    for (const [i, ending] of given.entries()) {
      if (revoked.every(({ done }) => done < ending.begun)) expect(alive[i], "somebody was signed out").toBe(true)
      if (revoked.some(({ begun }) => ending.done < begun)) expect(alive[i], "somebody was not signed out").toBe(false)
    }
    const left = alive.filter(Boolean).length
    expect((await sessions.list({ owner })).sessions).toHaveLength(left)
    totals.left += left
  }
  return totals
}

function cookieOf(setCookie: RacedEnding["setCookie"]): string | null {
  return setCookie === null || setCookie.includes("Max-Age=0") ? null : (setCookie.split(";")[0] ?? null)
}
