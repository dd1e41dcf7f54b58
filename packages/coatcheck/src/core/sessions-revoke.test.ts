import { describe, expect, it } from "vitest"
import { type Browser, browser, rejection, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"

interface Data {
  count: number
}

const codeOf = (error: unknown): string => (error instanceof CoatcheckError ? error.code : String(error))
const secret = "Zr8uGm2Qw7Xk4Lp9Vt1Ny6Bc3Hd5Jf0a-tests"
const idle = 10 * 60_000

/** So many browsers, signed in on two systems over one store as on two instances. */
async function signedIn(owner: string, count: number, options: Parameters<typeof sessionBench<Data>>[0] = {}) {
  const bench = sessionBench<Data>({ idle, ...options })
  const far = bench.another()
  const tabs: Browser<Data>[] = []
  for (let i = 0; i < count; i++) {
    const tab = browser(i % 2 === 0 ? bench.sessions : far.sessions)
    await tab.visit(async (session) => {
      await session.signIn(owner)
      session.data.count = i
    })
    tabs.push(tab)
  }
  bench.calls()
  bench.events.length = 0
  const owners = (): Promise<(string | null)[]> =>
    Promise.all(tabs.map((tab) => browser(far.sessions, { cookie: tab.cookie }).visit((session) => session.owner)))
  return { ...bench, far, tabs, owners }
}

describe("list", () => {
  it("shows an owner's sessions by handles that are no ids, page by page", async () => {
    const { sessions, tabs, clock } = await signedIn("alice", 5)
    await browser(sessions).visit((session) => session.signIn("bob"))
    const handles: string[] = []
    let cursor: string | null = null
    do {
      const page = await sessions.list({ owner: "alice", limit: 2, ...(cursor !== null && { cursor }) })
      for (const { handle, owner, createdAt, expiresAt } of page.sessions) {
        expect([owner, createdAt, expiresAt]).toEqual(["alice", clock.now(), clock.now() + idle])
        handles.push(handle)
      }
      cursor = page.cursor
    } while (cursor !== null)
    const own = await Promise.all(tabs.map((tab) => tab.visit((session) => session.handle)))
    expect(new Set(handles)).toEqual(new Set(own))
    for (const tab of tabs) expect(handles).not.toContain(tab.cookie?.split("=")[1])
    expect((await sessions.list()).sessions).toHaveLength(6)
  })

  it("shows nothing but sessions: no marks, no other entries, none that ended", async () => {
    const { sessions, inner, tabs, clock } = await signedIn("alice", 2)
    await inner.set("session:rubbish", "5", { owner: "alice" })
    await inner.set("other", "{}", { owner: "alice" })
    await sessions.revoke({ owner: "somebody" })
    await tabs[0]!.visit((session) => session.signOut())
    expect((await sessions.list({ owner: "alice" })).sessions).toHaveLength(1)
    expect((await sessions.list()).sessions).toHaveLength(1)
    clock.advance(idle)
    expect((await sessions.list()).sessions).toEqual([])
  })

  it("is refused where the cookies hold the sessions, and for unknown settings", async () => {
    const { sessions } = sessionBench<Data>({ carrier: "signed", secret })
    expect(codeOf(await rejection(sessions.list()))).toBe("unsupported")
    expect(await rejection(sessionBench().sessions.list({ user: "alice" } as never))).toBeInstanceOf(TypeError)
  })
})

describe("revoke", () => {
  it("SES-09: all of an owner's sessions, made on two instances, are over at once on both", async () => {
    const { sessions, tabs, owners, inner, events } = await signedIn("alice", 20)
    const bob = browser(sessions)
    await bob.visit((session) => session.signIn("bob"))
    expect(new Set(await owners())).toEqual(new Set(["alice"]))
    expect(await sessions.revoke({ owner: "alice" })).toBe(20)
    expect(await owners()).toEqual(tabs.map(() => null))
    expect((await inner.list({ owner: "alice" })).entries).toEqual([])
    expect(await bob.visit((session) => session.owner)).toBe("bob")
    expect(events.filter((event) => event.type === "ended" && event.why === "revoked")).toHaveLength(20)
    expect(await sessions.revoke({ owner: "alice" })).toBe(0)
  })

  it("lets the owner sign in again, and that session live", async () => {
    const { sessions, tabs, clock } = await signedIn("alice", 1)
    await sessions.revoke({ owner: "alice" })
    await tabs[0]!.visit((session) => session.signIn("alice"))
    for (let i = 0; i < 5; i++) {
      clock.advance(idle / 2)
      expect(await tabs[0]!.visit((session) => session.owner)).toBe("alice")
    }
  })

  it("SES-10: apart from one, which goes on living, at once and after its end has moved", async () => {
    const { sessions, tabs, owners, clock } = await signedIn("alice", 4)
    const except = await tabs[2]!.visit((session) => session.handle!)
    expect(await sessions.revoke({ owner: "alice", except })).toBe(3)
    expect(await owners()).toEqual([null, null, "alice", null])
    for (let i = 0; i < 6; i++) {
      clock.advance(idle / 2)
      expect(await tabs[2]!.visit((session) => session.owner)).toBe("alice")
    }
    // Again, and then without an exception.
    expect(await sessions.revoke({ owner: "alice", except })).toBe(0)
    clock.advance(idle / 2)
    expect(await tabs[2]!.visit((session) => session.owner)).toBe("alice")
    expect(await sessions.revoke({ owner: "alice" })).toBe(1)
  })

  it("REG-41: an exception that is nobody's, or another owner's, saves nobody", async () => {
    const { sessions, owners } = await signedIn("alice", 2)
    const bob = browser(sessions)
    await bob.visit((session) => session.signIn("bob"))
    const handle = await bob.visit((session) => session.handle!)
    for (const except of [handle, "nonsense", "A".repeat(43)]) await sessions.revoke({ owner: "alice", except })
    expect(await owners()).toEqual([null, null])
    expect(await bob.visit((session) => session.owner)).toBe("bob")
  })

  it("SES-10: one by its handle, of its owner alone where that is asked for", async () => {
    const { sessions, tabs, owners } = await signedIn("alice", 3)
    const handle = await tabs[1]!.visit((session) => session.handle!)
    expect(await sessions.revoke({ handle, owner: "bob" })).toBe(0)
    expect(await sessions.revoke({ handle: "nonsense" })).toBe(0)
    expect(await sessions.revoke({ handle: "A".repeat(43) })).toBe(0)
    expect(await sessions.revoke({ handle, owner: "alice" })).toBe(1)
    expect(await owners()).toEqual(["alice", null, "alice"])
    expect(await sessions.revoke({ handle })).toBe(0)
  })

  it("what is written to a session while it is being ended does not save it", async () => {
    const { sessions, tabs, faulty, owners } = await signedIn("alice", 1)
    faulty.inject("held-request", { verb: "delete" })
    const revoking = sessions.revoke({ owner: "alice" })
    await faulty.whenHeld()
    await tabs[0]!.visit((session) => void (session.data.count = 99))
    await faulty.release()
    expect(await revoking).toBe(1)
    expect(await owners()).toEqual([null])
  })

  it("looks again until the list shows none: a rotation under way may add one behind it", async () => {
    const { sessions, inner, tabs, faulty } = await signedIn("alice", 1)
    const [old] = (await inner.list({ owner: "alice" })).entries
    faulty.inject("held-reply", { verb: "list" })
    const revoking = sessions.revoke({ owner: "alice" })
    await faulty.whenHeld()
    await inner.set(`session:${"A".repeat(43)}`, old!.value, { owner: "alice" })
    await faulty.release()
    expect(await revoking).toBe(2)
    expect(await tabs[0]!.visit((session) => session.owner)).toBe(null)
  })

  it("SES-09: a session that the listing missed dies when its end would move, by a touch, a write or an update", async () => {
    const uses: ((tab: Browser<Data>) => Promise<unknown>)[] = [
      (tab) => tab.visit((session) => session.data.count),
      (tab) => tab.visit((session) => void (session.data.count = 5)),
      (tab) => tab.visit((session) => rejection(session.update((data) => void (data.count = 6)))),
    ]
    for (const use of uses) {
      const { sessions, tabs, inner, clock, events } = await signedIn("alice", 1)
      const [missed] = (await inner.list({ owner: "alice" })).entries
      await sessions.revoke({ owner: "alice" })
      const { key, value, ...rest } = missed!
      await inner.set(key, value, rest)
      clock.advance(idle / 8)
      expect(await use(tabs[0]!)).not.toBe("alice")
      expect((await inner.list({ owner: "alice" })).entries).toEqual([])
      expect(events.at(-1)).toMatchObject({ type: "ended", why: "revoked" })
      expect(await tabs[0]!.visit((session) => session.isNew)).toBe(true)
    }
  })

  it("a sign-in at the same moment is refused, and leaves nothing", async () => {
    const { sessions, far, faulty, inner } = await signedIn("alice", 0)
    const tab = browser(sessions)
    const { session, end } = await tab.open()
    faulty.inject("held-reply", { verb: "set" }) // the record has just been inserted
    const signing = rejection(session.signIn("alice"))
    await faulty.whenHeld()
    // The other instance's listing may come too early to show it: what it would have removed is put back.
    const [inserted] = (await inner.list({ owner: "alice" })).entries
    expect(await far.sessions.revoke({ owner: "alice" })).toBe(1)
    const { key, value, ...rest } = inserted!
    await inner.set(key, value, rest)
    await faulty.release()
    expect(codeOf(await signing)).toBe("ended")
    expect(await end()).toBe(null)
    expect((await inner.list({ owner: "alice" })).entries).toEqual([])
  })

  it("asks nothing of the store for sessions of nobody, or whose end need not move", async () => {
    const { tabs, sessions, calls } = await signedIn("alice", 1)
    await tabs[0]!.visit((session) => void (session.data.count = 5))
    expect(calls()).toBe("get 1, set 1")
    const anonymous = browser(sessions)
    await anonymous.visit((session) => void (session.data.count = 1))
    calls()
    await anonymous.visit((session) => void (session.data.count = 2))
    expect(calls()).toBe("get 1, set 1")
  })

  it("fails whole when the mark can't be written: nobody is signed out by halves", async () => {
    const { sessions, faulty, owners } = await signedIn("alice", 2)
    faulty.inject("refused", { verb: "set" })
    expect(codeOf(await rejection(sessions.revoke({ owner: "alice" })))).toBe("unavailable")
    expect(await owners()).toEqual(["alice", "alice"])
    faulty.inject("lost-reply", { verb: "set" })
    expect(await sessions.revoke({ owner: "alice" })).toBe(2)
  })

  it("refuses queries that name nobody, or too many", async () => {
    const { sessions } = await signedIn("alice", 1)
    for (const query of [{}, { except: "x" }, { handle: "x", except: "y" }, { user: "alice" }, null]) {
      expect(await rejection(sessions.revoke(query as never))).toBeInstanceOf(TypeError)
    }
    expect(codeOf(await rejection(sessions.revoke({ owner: "" })))).toBe("invalid")
  })
})

describe("C6, SES-07, REG-06: sessions in cookies", () => {
  const inCookies = (count: number) => signedIn("alice", count, { carrier: "signed", secret })

  it("with a store beside them, all of an owner's are over by the mark, replayed cookies too", async () => {
    const { sessions, tabs, owners, inner, events } = await inCookies(3)
    expect(await owners()).toEqual(["alice", "alice", "alice"])
    expect((await inner.list()).entries).toEqual([])
    expect(await sessions.revoke({ owner: "alice" })).toBe(0)
    expect(await owners()).toEqual([null, null, null])
    expect(await tabs[0]!.visit((session) => [session.isNew, session.owner])).toEqual([true, null])
    expect(events.at(-1)).toMatchObject({ type: "ended", why: "revoked" })
    await tabs[1]!.visit((session) => session.signIn("alice"))
    expect(await tabs[1]!.visit((session) => session.owner)).toBe("alice")
  })

  it("ask the store once a request of somebody who signed in, and never for nobody", async () => {
    const { tabs, sessions, calls } = await inCookies(1)
    await tabs[0]!.visit((session) => void (session.data.count = 5))
    expect(calls()).toBe("get 1")
    const anonymous = browser(sessions)
    await anonymous.visit((session) => void (session.data.count = 1))
    await anonymous.visit((session) => void (session.data.count = 2))
    expect(calls()).toBe("")
  })

  it("can't be let in while nobody knows: the store's failure is the request's", async () => {
    const { tabs, faulty } = await inCookies(1)
    faulty.inject("refused", { verb: "get" })
    expect(codeOf(await rejection(tabs[0]!.open()))).toBe("unavailable")
  })

  it("without a store can't be ended from outside, and say so", async () => {
    const { sessions } = sessionBench<Data>({ carrier: "signed", secret, store: undefined as never })
    const tab = browser(sessions)
    await tab.visit((session) => session.signIn("alice"))
    expect(await tab.visit((session) => session.owner)).toBe("alice")
    for (const query of [{ owner: "alice" }, { handle: "x" }]) {
      expect(codeOf(await rejection(sessions.revoke(query)))).toBe("unsupported")
    }
  })

  it("one of them can't be ended alone, nor saved", async () => {
    const { sessions, tabs } = await inCookies(1)
    const handle = await tabs[0]!.visit((session) => session.handle!)
    expect(codeOf(await rejection(sessions.revoke({ handle })))).toBe("unsupported")
    expect(codeOf(await rejection(sessions.revoke({ owner: "alice", except: handle })))).toBe("unsupported")
    expect(await tabs[0]!.visit((session) => session.owner)).toBe("alice")
  })
})
