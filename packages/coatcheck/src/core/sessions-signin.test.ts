import { describe, expect, it } from "vitest"
import { browser, rejection, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import type { Session } from "./session.ts"

interface Data {
  count: number
  cart: string[]
  role: string
}

const codeOf = (error: unknown): string => (error instanceof CoatcheckError ? error.code : String(error))

async function visited(options: Parameters<typeof sessionBench<Data>>[0] = {}) {
  const bench = sessionBench<Data>(options)
  const tab = browser(bench.sessions)
  await tab.visit((session) => void (session.data = { count: 1, cart: ["apple"], role: "planted" }))
  const anonymous = tab.cookie
  const whoIs = (cookie: string | null) =>
    browser(bench.sessions, { cookie }).visit((session) => [session.owner, session.isNew] as const)
  bench.calls()
  bench.events.length = 0
  return { ...bench, tab, anonymous, whoIs }
}

describe("signIn", () => {
  it("SES-03, REG-01, REG-02: gives a new id, kills the old one, and says whose the session is", async () => {
    const { tab, anonymous, whoIs, inner, events } = await visited()
    await tab.visit((session) => session.signIn("alice"))
    expect(tab.cookie).not.toBe(anonymous)
    expect(await whoIs(tab.cookie)).toEqual(["alice", false])
    expect(await whoIs(anonymous)).toEqual([null, true])
    const { entries } = await inner.list()
    expect(entries.map(({ owner }) => owner)).toEqual(["alice"])
    expect(events.map(({ type }) => type).slice(0, 3)).toEqual(["loaded", "signed-in", "loaded"])
  })

  it("SES-03: again, as the same or as somebody else, each time with a new id", async () => {
    const { tab, whoIs } = await visited()
    const seen = [tab.cookie]
    for (const owner of ["alice", "alice", "admin"]) {
      await tab.visit((session) => session.signIn(owner))
      expect(await whoIs(seen.at(-1) ?? null)).toEqual([null, true])
      expect(await whoIs(tab.cookie)).toEqual([owner, false])
      seen.push(tab.cookie)
    }
    expect(new Set(seen).size).toBe(4)
  })

  it("SES-04, REG-03: drops what was there before, apart from the keys to keep", async () => {
    const { tab } = await visited()
    const token = await tab.visit((session) => session.csrfToken())
    await tab.visit(async (session) => {
      session.data.role = "admin" // before the sign-in, by this request or an earlier one
      await session.signIn("alice", { keep: ["cart"] })
      expect(session.data).toEqual({ cart: ["apple"] })
      session.data.count = 7
    })
    await tab.visit((session) => {
      expect(session.data).toEqual({ cart: ["apple"], count: 7 })
      expect(session.verifyCsrfToken(token)).toBe(false)
    })
  })

  it("a reference to the data from before goes on with what was kept", async () => {
    const { tab } = await visited()
    await tab.visit(async (session) => {
      const { data } = session
      await session.signIn("alice", { keep: ["count"] })
      expect(data).toEqual({ count: 1 })
      data.role = "member"
    })
    expect(await tab.visit((session) => ({ ...session.data }))).toEqual({ count: 1, role: "member" })
  })

  it("without a session before it makes one, in one visit", async () => {
    const { sessions, whoIs, calls } = await visited()
    const tab = browser(sessions)
    await tab.visit(async (session) => {
      session.data.role = "typed in before"
      await session.signIn("alice")
    })
    expect(calls()).toBe("get 2, set 1") // the owner's mark before and after
    expect(await whoIs(tab.cookie)).toEqual(["alice", false])
    expect(await tab.visit((session) => ({ ...session.data }))).toEqual({})
  })

  it("begins a life of its own: idle and absolute limits count from now", async () => {
    const { tab, clock } = await visited({ idle: "1h", absolute: "2h" })
    for (let i = 0; i < 3; i++) {
      clock.advance(30 * 60_000)
      await tab.visit((session) => session.data.count)
    }
    await tab.visit((session) => session.signIn("alice"))
    for (let i = 0; i < 3; i++) {
      clock.advance(35 * 60_000)
      expect(await tab.visit((session) => session.owner)).toBe("alice")
    }
    clock.advance(20 * 60_000)
    expect(await tab.visit((session) => session.owner)).toBe(null)
  })

  it("SES-03: 50 requests on the old id under way: none sees the person, none brings the old session back", async () => {
    const { tab, sessions, anonymous, whoIs, inner } = await visited({ rules: { count: "add" } })
    const other = browser(sessions, { cookie: anonymous })
    const slow = await Promise.all(Array.from({ length: 50 }, () => other.open()))
    const seen: (string | null)[] = []
    const work = slow.map(async ({ session, end }, i) => {
      seen.push(session.owner)
      session.data.count = i
      // Before the old session is gone it works, afterwards it does not.
      if (i % 3 === 0) await Promise.allSettled([session.update((data) => void (data.count = 99))])
      expect(await end()).toBe(null)
      seen.push(session.owner)
    })
    await tab.visit((session) => session.signIn("alice"))
    await Promise.all(work.slice(0, 25))
    await Promise.all(work.slice(25))
    expect(new Set(seen)).toEqual(new Set([null]))
    expect(await whoIs(anonymous)).toEqual([null, true])
    expect(await whoIs(tab.cookie)).toEqual(["alice", false])
    expect((await inner.list()).entries).toHaveLength(1)
  })

  it("S16: 20 slow requests on the old id, some writing, end after the sign-in: the browser keeps the new session", async () => {
    const { tab, sessions, anonymous, whoIs } = await visited()
    const other = browser(sessions, { cookie: anonymous })
    const slow = await Promise.all(Array.from({ length: 20 }, () => other.open()))
    await tab.visit((session) => session.signIn("alice"))
    for (const [i, { session, end }] of slow.entries()) {
      if (i % 4 === 0) session.data.count = 99
      if (i % 4 === 1) await rejection(session.update((data) => void (data.count = 99)))
      if (i % 4 === 2) await session.signOut()
      expect(await end()).toBe(null)
    }
    expect(await whoIs(tab.cookie)).toEqual(["alice", false])
  })

  it("what another request wrote to the session meanwhile goes along, where it is to be kept", async () => {
    const { tab, sessions, anonymous, faulty } = await visited()
    const other = browser(sessions, { cookie: anonymous })
    const { session, end } = await tab.open()
    // The insert of the new record has been made when the other one writes; the removal of the old one then meets a newer version.
    faulty.inject("held-reply", { verb: "set" })
    const signing = session.signIn("alice", { keep: ["cart"] })
    await faulty.whenHeld()
    await other.visit((theirs) => void theirs.data.cart!.push("pear"))
    await faulty.release()
    await signing
    await end()
    expect(await tab.visit((mine) => ({ ...mine.data }))).toEqual({ cart: ["apple", "pear"] })
  })

  it("stands by itself when somebody else ended the session before: nothing of that one is kept", async () => {
    const { tab, sessions, anonymous } = await visited()
    const other = browser(sessions, { cookie: anonymous })
    const { session, end } = await tab.open()
    await other.visit((theirs) => theirs.destroy())
    await session.signIn("alice", { keep: ["cart", "count"] })
    await end()
    expect(await tab.visit((mine) => [mine.owner, { ...mine.data }])).toEqual(["alice", {}])
  })

  it("also where this request had noticed that already", async () => {
    const { tab, sessions, anonymous } = await visited()
    const { session, end } = await tab.open()
    await browser(sessions, { cookie: anonymous }).visit((theirs) => theirs.destroy())
    expect(codeOf(await rejection(session.update((data) => void (data.count = 5))))).toBe("ended")
    await session.signIn("alice", { keep: ["cart"] })
    await end()
    expect(await tab.visit((mine) => [mine.owner, { ...mine.data }])).toEqual(["alice", {}])
  })

  it("fails as a whole when the store does: nobody is signed in, and the session is as it was", async () => {
    const { tab, faulty, anonymous, whoIs, inner } = await visited()
    faulty.inject("refused", { verb: "set" })
    await tab.visit(async (session) => {
      expect(codeOf(await rejection(session.signIn("alice")))).toBe("unavailable")
      expect(session.owner).toBe(null)
    })
    expect(tab.cookie).toBe(anonymous)
    expect(await whoIs(anonymous)).toEqual([null, false])
    expect((await inner.list({ owner: "alice" })).entries).toEqual([])
  })

  it("that can't be checked against an ending of everything is none", async () => {
    const { tab, faulty, inner } = await visited()
    faulty.inject("refused", { verb: "get", nth: 3 })
    await tab.visit(async (session) => {
      expect(codeOf(await rejection(session.signIn("alice")))).toBe("unavailable")
    })
    expect(faulty.struck).toBe(1)
    expect((await inner.list({ owner: "alice" })).entries).toEqual([])
  })

  it("refuses an owner that is none, keys that are no list, and unknown settings", async () => {
    const { tab } = await visited()
    await tab.visit(async (session: Session<Data>) => {
      for (const owner of ["", "a\nb", "x".repeat(600), 5, null, undefined]) {
        expect(["invalid", "too-large"]).toContain(codeOf(await rejection(session.signIn(owner as string))))
      }
      expect(await rejection(session.signIn("a", { keep: "cart" as never }))).toBeInstanceOf(TypeError)
      expect(await rejection(session.signIn("a", { kept: [] } as never))).toBeInstanceOf(TypeError)
      expect(session.owner).toBe(null)
    })
  })

  it("after the reply's headers, or after this request ended the session, it is too late", async () => {
    const { tab } = await visited()
    const { session, end } = await tab.open()
    await end()
    expect(codeOf(await rejection(session.signIn("alice")))).toBe("committed")
    await tab.visit(async (again) => {
      await again.destroy()
      expect(codeOf(await rejection(again.signIn("alice")))).toBe("ended")
    })
  })
})

describe("signOut", () => {
  it("SES-05: removes the record before the cookie is cleared, and the id is dead", async () => {
    const { tab, whoIs, inner } = await visited()
    await tab.visit((session) => session.signIn("alice"))
    const { cookie } = tab
    const { session, end } = await tab.open()
    await session.signOut()
    expect((await inner.list({ owner: "alice" })).entries).toEqual([])
    expect(await end()).toContain("Max-Age=0")
    expect(await whoIs(cookie)).toEqual([null, true])
  })

  it("SES-05: that fails is none: the cookie stays, and so does the person", async () => {
    const { tab, faulty, whoIs } = await visited()
    await tab.visit((session) => session.signIn("alice"))
    faulty.inject("refused", { verb: "delete" })
    const { session, end } = await tab.open()
    expect(codeOf(await rejection(session.signOut()))).toBe("unavailable")
    expect(await end()).toBe(null)
    expect(await whoIs(tab.cookie)).toEqual(["alice", false])
  })
})

describe("CSR-05, REG-43: a token", () => {
  it("is good in its own session for as long as the id is the same, however often it is asked for", async () => {
    const { tab } = await visited()
    const tokens = await tab.visit(async (session) => [await session.csrfToken(), await session.csrfToken()])
    expect(new Set(tokens).size).toBe(2)
    await tab.visit((session) => void (session.data.count = 2))
    await tab.visit((session) => {
      for (const token of tokens) {
        expect(token).toMatch(/^[\w-]{22}\.[\w-]{43}$/)
        expect(session.verifyCsrfToken(token)).toBe(true)
      }
    })
  })

  it("of another session, of another id, changed, or of any other kind is refused", async () => {
    const { tab, sessions } = await visited()
    const token = await tab.visit((session) => session.csrfToken())
    const stranger = browser(sessions)
    const foreign = await stranger.visit((session) => session.csrfToken())
    const changed = `${token.slice(0, -1)}${token.endsWith("A") ? "B" : "A"}`
    await tab.visit((session) => {
      const refused = [foreign, changed, token.slice(1), `${token}x`, "", ".", null, undefined, 5, {}, [token]]
      for (const one of refused) expect(session.verifyCsrfToken(one)).toBe(false)
      expect(session.verifyCsrfToken(token)).toBe(true)
    })
    await tab.visit((session) => session.regenerate())
    expect(await tab.visit((session) => session.verifyCsrfToken(token))).toBe(false)
  })

  it("keeps a new session at once, so that a visitor's first form has one; a reader's check creates nothing", async () => {
    const { sessions, calls } = await visited()
    const tab = browser(sessions)
    expect(await tab.visit((session) => session.verifyCsrfToken("x"))).toBe(false)
    expect(calls()).toBe("")
    const token = await tab.visit((session) => session.csrfToken())
    expect(calls()).toBe("set 1")
    expect(await tab.visit((session) => [session.isNew, session.verifyCsrfToken(token)])).toEqual([false, true])
  })

  it("can't be had where no session can: after the headers, and once the session has ended", async () => {
    const { sessions } = await visited()
    const { session, end } = await browser(sessions).open()
    await end()
    expect(codeOf(await rejection(session.csrfToken()))).toBe("committed")
    await browser(sessions).visit(async (again) => {
      await again.destroy()
      expect(codeOf(await rejection(again.csrfToken()))).toBe("ended")
    })
  })

  it("is none any more when this request has signed out, and neither is there a handle or a key", async () => {
    const { tab } = await visited()
    const token = await tab.visit((session) => session.csrfToken())
    await tab.visit(async (session) => {
      expect(session.verifyCsrfToken(token)).toBe(true)
      await session.signOut()
      expect([session.verifyCsrfToken(token), session.handle, session.key]).toEqual([false, null, null])
    })
    expect(tab.cookie).toBe(null)
  })

  it("takes its turn: asked for behind a new id or a sign-in that nobody waited for, it is one of the new id", async () => {
    const changes: ((session: Session<Data>) => Promise<void>)[] = [
      (session) => session.regenerate(),
      (session) => session.signIn("alice"),
    ]
    for (const change of changes) {
      const { tab } = await visited()
      const token = await tab.visit(async (session) => {
        const [, made] = await Promise.all([change(session), session.csrfToken()])
        return made
      })
      expect(await tab.visit((session) => session.verifyCsrfToken(token))).toBe(true)
    }
    const { tab } = await visited()
    await tab.visit(async (session) => {
      const ending = session.signOut()
      expect(codeOf(await rejection(session.csrfToken()))).toBe("ended")
      await ending
    })
  })

  it("works where the cookie holds the data, and outlives its changes", async () => {
    const { sessions } = sessionBench<Data>({ carrier: "signed", secret: "Zr8uGm2Qw7Xk4Lp9Vt1Ny6Bc3Hd5Jf0a-tests" })
    const tab = browser(sessions)
    const token = await tab.visit((session) => session.csrfToken())
    await tab.visit((session) => void (session.data.count = 2))
    expect(await tab.visit((session) => session.verifyCsrfToken(token))).toBe(true)
    await tab.visit((session) => session.signIn("alice"))
    expect(await tab.visit((session) => session.verifyCsrfToken(token))).toBe(false)
  })
})
