// Ending all sessions of an owner, or all but one, while something else happens to them.

import { describe, expect, it } from "vitest"
import { browser, rejection, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { memoryStore } from "../stores/memory.ts"
import { fakeClock } from "../testing/fake-clock.ts"
import type { Session } from "./session.ts"
import type { Store } from "./store.ts"

interface Data {
  count: number
}

const codeOf = (error: unknown): string => (error instanceof CoatcheckError ? error.code : String(error))
const secret = "Zr8uGm2Qw7Xk4Lp9Vt1Ny6Bc3Hd5Jf0a-tests"
const idle = 10 * 60_000

/** Somebody signed in, on one of two instances. */
async function signedIn(options: Parameters<typeof sessionBench<Data>>[0] = {}) {
  const bench = sessionBench<Data>({ idle, ...options })
  const far = bench.another()
  const tab = browser(bench.sessions)
  await tab.visit(async (session) => {
    await session.signIn("alice")
    session.data.count = 1
  })
  return { ...bench, far, tab, owner: () => tab.visit((session) => session.owner) }
}

describe("SES-10: who ends all other sessions", () => {
  const uses: Record<string, (session: Session<Data>) => unknown> = {
    touch: (session) => session.data.count,
    write: (session) => void (session.data.count = 2),
    update: (session) => session.update((data) => void (data.count = 2)),
    "new id": (session) => session.regenerate(),
  }

  it.each(Object.entries(uses))("stays signed in, when that very request moves the end by a %s", async (_, use) => {
    const { sessions, tab, clock, owner } = await signedIn()
    clock.advance(idle / 2)
    await tab.visit(async (session) => {
      await sessions.revoke({ owner: "alice", except: session.handle! })
      await use(session)
    })
    clock.advance(idle * 0.9) // the end has moved
    expect(await owner()).toBe("alice")
  })

  it.each(Object.entries(uses))("is not signed out by a slow request of the same session with a %s", async (_, use) => {
    const { far, tab, clock, owner } = await signedIn()
    clock.advance(idle / 2)
    const slow = await tab.open()
    await far.sessions.revoke({ owner: "alice", except: slow.session.handle! })
    await use(slow.session)
    await slow.end()
    clock.advance(idle * 0.9)
    expect(await owner()).toBe("alice")
  })

  it("stays signed in however often that fails", async () => {
    const { sessions, tab, clock, faulty, owner } = await signedIn()
    await sessions.revoke({ owner: "alice" })
    await tab.visit((session) => session.signIn("alice"))
    for (let i = 0; i < 40; i++) {
      faulty.inject("refused", { verb: "set", nth: 2 }) // the session is spared, and then no mark is put
      const except = await tab.visit((session) => session.handle!)
      expect(codeOf(await rejection(sessions.revoke({ owner: "alice", except })))).toBe("unavailable")
    }
    clock.advance(idle / 2)
    expect(await owner()).toBe("alice")
  })

  it("stays signed in however often that is asked for at once", async () => {
    const { sessions, tab, clock, owner } = await signedIn()
    const except = await tab.visit((session) => session.handle!)
    await Promise.all(Array.from({ length: 12 }, () => sessions.revoke({ owner: "alice", except })))
    clock.advance(idle / 2)
    expect(await owner()).toBe("alice")
  })
})

describe("SES-09: who ends all of an owner's sessions", () => {
  it("ends one that gets a new id meanwhile, too, whenever the listing looked", async () => {
    const { far, tab, owner, inner } = await signedIn()
    const { session, end } = await tab.open()
    far.faulty.inject("held-reply", { verb: "list" }) // it has seen the old id
    const revoking = far.sessions.revoke({ owner: "alice" })
    await far.faulty.whenHeld()
    expect(codeOf(await rejection(session.regenerate()))).toBe("ended")
    expect(await end()).toBe(null)
    await far.faulty.release()
    await revoking
    expect(await owner()).toBe(null)
    expect((await inner.list({ owner: "alice" })).entries).toEqual([])
  })

  it("asks no more of the store at once than it may take: a page of 100, and its removals", async () => {
    const clock = fakeClock()
    const inner = memoryStore({ clock })
    let underWay = 0
    let most = 0
    const store: Store = {
      ...inner,
      async delete(...call) {
        most = Math.max(most, ++underWay)
        await new Promise((resolve) => setImmediate(resolve))
        underWay--
        return inner.delete(...call)
      },
    }
    const { sessions } = sessionBench<Data>({}, clock, store)
    for (let i = 0; i < 350; i++) await browser(sessions).visit((session) => session.signIn("alice"))
    expect(await sessions.revoke({ owner: "alice" })).toBe(350)
    expect(most).toBe(100)
  })

  it("ends it for good: the mark of an earlier try that arrives late changes nothing", async () => {
    const { sessions, far, tab, faulty, owner, inner } = await signedIn({ carrier: "signed", secret })
    faulty.inject("late", { verb: "set", times: 3 })
    expect(codeOf(await rejection(sessions.revoke({ owner: "alice" })))).toBe("unknown-outcome")
    await far.sessions.revoke({ owner: "alice" })
    await tab.visit((session) => session.signIn("alice"))
    const before = await inner.list()
    await faulty.release()
    expect(await inner.list()).toEqual(before)
    expect(await owner()).toBe("alice")
  })
})
