import { describe, expect, it } from "vitest"
import { browser, rejection, request, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { randomText } from "./crypto.ts"
import { exchangeOf } from "./exchange.ts"
import { newId } from "./id.ts"
import type { Session } from "./session.ts"
import { createSessions } from "./sessions.ts"

interface Data {
  count: number
  cart: { sku: string }[]
}

function codeOf(error: unknown): string {
  return error instanceof CoatcheckError ? error.code : String(error)
}

/** A bench with one session that holds a count of 1. */
async function withSession(options: Parameters<typeof sessionBench<Data>>[0] = {}) {
  const bench = sessionBench<Data>(options)
  const tab = browser(bench.sessions)
  await tab.visit((session) => {
    session.data.count = 1
  })
  bench.calls()
  bench.events.length = 0
  return { ...bench, tab }
}

describe("S3, SES-16: what nobody asked for costs nothing", () => {
  it("a system that is never opened calls no store", () => {
    const bench = sessionBench<Data>()
    expect(bench.calls()).toBe("")
  })

  it("opened without a cookie, read but not written: no call, no cookie, no record", async () => {
    const bench = sessionBench<Data>()
    const { session, end } = await browser(bench.sessions).open()
    expect({ ...session.data }).toEqual({})
    expect([session.isNew, session.handle, session.key]).toEqual([true, null, null])
    expect(await end()).toBe(null)
    expect(bench.calls()).toBe("")
    expect(bench.events).toEqual([])
  })

  it("10,000 visitors that end what they don't have leave nothing", async () => {
    const bench = sessionBench<Data>()
    for (let i = 0; i < 10_000; i++) {
      const { session, end } = await browser(bench.sessions).open()
      await session.destroy()
      if ((await end()) !== null) throw new Error("a cookie for nobody")
    }
    expect(bench.calls()).toBe("")
    expect(await bench.records()).toEqual([])
  })

  it("data that was put in and taken out again is no session", async () => {
    const bench = sessionBench<Data>()
    const { session, end } = await browser(bench.sessions).open()
    session.data.count = 1
    delete session.data.count
    expect(await end()).toBe(null)
    expect(bench.calls()).toBe("")
  })
})

describe("S4: what a page costs", () => {
  const pages: [string, (session: Session<Data>) => unknown, calls: string][] = [
    ["opened only", () => undefined, "get 1"],
    ["read", (session) => session.data.count, "get 1"],
    ["written", (session) => (session.data.count = 7), "get 1, set 1"],
    ["updated", (session) => session.update((data) => void data.count!++), "get 1, set 1"],
    [
      "written and updated",
      async (session) => {
        session.data.cart = []
        await session.update((data) => void data.count!++)
      },
      "get 1, set 1",
    ],
    [
      "updated, then written",
      async (session) => {
        await session.update((data) => void data.count!++)
        session.data.cart = []
      },
      "get 1, set 2",
    ],
    ["set to what it was", (session) => (session.data.count = 1), "get 1"],
    ["written and put back", (session) => ((session.data.count = 2), (session.data.count = 1)), "get 1"],
    ["given an equal copy of all data", (session) => (session.data = { count: 1 }), "get 1"],
    ["updated to what it was, which the store confirms", (session) => session.update(() => {}), "get 2"],
    ["given a new id", (session) => session.regenerate(), "get 1, set 1, delete 1"],
    [
      "written and given a new id",
      (session) => ((session.data.count = 3), session.regenerate()),
      "get 1, set 1, delete 1",
    ],
    ["ended", (session) => session.destroy(), "get 1, delete 1"],
  ]
  for (const [name, handler, calls] of pages) {
    it(`${name}: ${calls}`, async () => {
      const { tab, calls: made } = await withSession()
      await tab.visit(handler)
      expect(made()).toBe(calls)
    })
  }

  it("the first page that writes: set 1; read again by the same browser: no cookie a second time", async () => {
    const bench = sessionBench<Data>()
    const tab = browser(bench.sessions)
    const first = await tab.open()
    first.session.data.count = 1
    expect(await first.end()).toMatch(/^session=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; SameSite=Lax$/)
    expect(bench.calls()).toBe("set 1")
    const second = await tab.open()
    expect(second.session.data.count).toBe(1)
    expect(await second.end()).toBe(null)
    expect(bench.calls()).toBe("get 1")
  })

  it("C8: over twelve pages the cookie stays as it is and holds no data", async () => {
    const { tab, inner, events } = await withSession()
    const cookie = tab.cookie
    for (let i = 0; i < 12; i++) {
      const { session, end } = await tab.open()
      session.data.count!++
      expect(await end()).toBe(null)
    }
    expect(tab.cookie).toBe(cookie)
    expect(cookie).toMatch(/^session=[A-Za-z0-9_-]{43}$/)
    const { entries } = await inner.list()
    expect(entries).toHaveLength(1)
    expect(JSON.parse(entries[0]!.value)).toMatchObject({ data: { count: 13 } })
    expect(events.filter(({ type }) => type === "created")).toEqual([])
  })

  it("C13: a process that is started again goes on with the sessions in its store", async () => {
    const { tab, another } = await withSession()
    const restarted = browser(another().sessions, { cookie: tab.cookie })
    expect(await restarted.visit((session) => session.data.count)).toBe(1)
  })

  it("C1, C2: two browsers count apart", async () => {
    const bench = sessionBench<Data>()
    const tabs = [browser(bench.sessions), browser(bench.sessions)]
    const count = (tab: (typeof tabs)[0]): Promise<number> =>
      tab.visit((session) => (session.data.count = (session.data.count ?? 0) + 1))
    expect([await count(tabs[0]!), await count(tabs[0]!), await count(tabs[1]!), await count(tabs[0]!)]).toEqual([
      1, 2, 1, 3,
    ])
  })
})

describe("opening a request", () => {
  it("twice gives the same session, after one read", async () => {
    const { sessions, tab, calls } = await withSession()
    const { exchange } = request({ cookie: tab.cookie })
    const [one, two] = [sessions.open(exchange), sessions.open(exchange)]
    expect(one).toBe(two)
    expect(await sessions.open(exchange)).toBe(await one)
    expect(calls()).toBe("get 1")
  })

  it("finds the exchange that an adapter left on the request", async () => {
    const { sessions, tab } = await withSession()
    const { exchange } = request({ cookie: tab.cookie })
    const session = await sessions.open({ url: "/", [exchangeOf]: exchange })
    expect(session.data.count).toBe(1)
  })

  it("without an adapter is a TypeError that says what to do", () => {
    const { sessions } = sessionBench<Data>()
    expect(() => sessions.open({ headers: {}, cookie: "session=1" })).toThrow(/wrap your handler/)
  })

  it("serves several session systems on one request, each its own", async () => {
    const first = sessionBench<Data>({ cookie: { name: "first" } })
    const second = sessionBench<Data>({ cookie: { name: "second" } })
    const { exchange, end } = request()
    const [one, two] = await Promise.all([first.sessions.open(exchange), second.sessions.open(exchange)])
    expect(one).not.toBe(two)
    expect(await first.sessions.open(exchange)).toBe(one)
    expect(await second.sessions.open(exchange)).toBe(two)
    one.data.count = 1
    two.data.count = 2
    await end()
    expect((await first.records()).map((text) => JSON.parse(text).data.count)).toEqual([1])
    expect((await second.records()).map((text) => JSON.parse(text).data.count)).toEqual([2])
  })

  it("S14: rejects when the store fails, with the store's error, and asks it once", async () => {
    const { sessions, tab, faulty, calls } = await withSession()
    faulty.inject("refused", { verb: "get" })
    const { exchange } = request({ cookie: tab.cookie })
    expect(codeOf(await rejection(sessions.open(exchange)))).toBe("unavailable")
    expect(codeOf(await rejection(sessions.open(exchange)))).toBe("unavailable")
    expect(calls()).toBe("get 1")
    expect(await tab.visit((session) => session.data.count)).toBe(1)
  })

  it("a handler that replied without waiting for it gets a session that says so", async () => {
    const { sessions, tab, faulty, calls } = await withSession()
    faulty.inject("held-request", { verb: "get" })
    const { exchange, end } = request({ cookie: tab.cookie })
    const opening = sessions.open(exchange)
    await faulty.whenHeld()
    expect(await end()).toBe(null)
    await faulty.release()
    const session = await opening
    expect(session.data.count).toBe(1)
    expect(() => (session.data.count = 2)).toThrow(CoatcheckError)
    expect(codeOf(await rejection(session.destroy()))).toBe("committed")
    await session.update((data) => void data.count!++)
    expect(calls()).toBe("get 1, set 1")
    expect(await tab.visit(({ data }) => data.count)).toBe(2)
  })

  it("a request whose headers have left already can read and update, and create nothing", async () => {
    const { sessions, tab } = await withSession()
    const late = request({ cookie: tab.cookie })
    await late.end()
    const session = await sessions.open(late.exchange)
    await session.update((data) => void data.count!++)
    expect(session.data.count).toBe(2)
    expect(() => (session.data.count = 2)).toThrow(/on its way/)

    // Headers that left without a commit: a session made now would reach nobody.
    const early = browser(sessions)
    const { session: unheard, sendHeaders } = await early.open()
    sendHeaders()
    expect(codeOf(await rejection(unheard.update((data) => void (data.count = 1))))).toBe("committed")

    const anonymous = request()
    await anonymous.end()
    const nobody = await sessions.open(anonymous.exchange)
    expect(codeOf(await rejection(nobody.update((data) => void (data.count = 1))))).toBe("committed")
  })
})

describe("S9, SES-02, REG-37: ids that we did not give out", () => {
  it("`attacker` becomes no session: a fresh id, and no record under that name", async () => {
    const bench = sessionBench<Data>()
    const tab = browser(bench.sessions, { cookie: "session=attacker" })
    await tab.visit((session) => {
      expect(session.isNew).toBe(true)
      session.data.count = 1
    })
    expect(tab.cookie).toMatch(/^session=[A-Za-z0-9_-]{43}$/)
    const { entries } = await bench.inner.list()
    expect(JSON.stringify(entries)).not.toContain("attacker")
    expect(bench.calls()).toBe("set 1")
    expect(bench.events[0]).toEqual({ type: "refused", why: "malformed" })
  })

  it("a well-formed id that leads nowhere is told as lapsed, and never adopted", async () => {
    const bench = sessionBench<Data>()
    for (let i = 0; i < 1_000; i++) {
      const cookie = `session=${newId(randomText)}`
      const tab = browser(bench.sessions, { cookie })
      const { session, end } = await tab.open()
      expect(session.isNew).toBe(true)
      expect(await end()).toBe(null)
    }
    expect(await bench.records()).toEqual([])
    expect(bench.events.every((event) => event.type === "ended" && event.why === "lapsed")).toBe(true)
    expect(bench.events).toHaveLength(1_000)

    const presented = newId(randomText)
    const tab = browser(bench.sessions, { cookie: `session=${presented}` })
    await tab.visit((session) => void (session.data.count = 1))
    expect(tab.cookie).not.toContain(presented)
    const after = browser(bench.sessions, { cookie: `session=${presented}` })
    expect(await after.visit((session) => session.isNew)).toBe(true)
  })
})

describe("S10, REG-38: malformed ids", () => {
  const malformed = [
    "?prefix=",
    "a/b",
    "../../x",
    "x".repeat(7_000),
    "undefined",
    "null",
    "[object%20Object]",
    "%00",
    "session:",
    "*",
    "{x}",
  ]
  for (const value of malformed) {
    it(`${value.slice(0, 20)}: a new session, no call of the store, nothing kept under that name`, async () => {
      const bench = sessionBench<Data>()
      const tab = browser(bench.sessions, { cookie: `session=${value}` })
      expect(await tab.visit((session) => session.isNew)).toBe(true)
      expect(bench.calls()).toBe("")
      expect(bench.events).toEqual([{ type: "refused", why: "malformed" }])
      await tab.visit((session) => void (session.data.count = 1))
      expect(bench.calls()).toBe("set 1")
      expect((await bench.inner.list()).entries.map(({ key }) => key)).not.toContain(value)
    })
  }

  it("an empty value, 10 KB of it, or quotes around an id are no id", async () => {
    const { sessions, tab, calls } = await withSession()
    const id = tab.cookie!.slice("session=".length)
    for (const cookie of [
      "session=",
      `session="${id}"`,
      "session=[object Object]",
      `session=${"x".repeat(10_240)}`,
      `session=${id}A`,
      `SESSION=${id}`,
    ]) {
      const { session, end } = await browser(sessions, { cookie }).open()
      expect(session.isNew).toBe(true)
      expect(await end()).toBe(null)
    }
    expect(calls()).toBe("")
  })
})

describe("PRS-05: damaged records", () => {
  const hostile = [
    " ",
    "null",
    "[]",
    "{",
    '{"v":2,"created":1,"ends":9999999999999,"owner":null,"marks":{},"data":{"count":9}}',
    '{"__proto__":{"polluted":true}}',
    `{"v":1,"created":1,"ends":9999999999999,"owner":null,"marks":{},"data":${'{"a":'.repeat(5_000)}1${"}".repeat(5_001)}`,
    `{"v":1,"created":1,"ends":9999999999999,"owner":null,"marks":{},"data":{"list":[${"1,".repeat(100_000)}1]}}`,
  ]
  for (const text of hostile) {
    it(`${text.slice(0, 40)}…: nobody's session, told, and a new one begins`, async () => {
      const { sessions, inner, tab, events } = await withSession()
      const { key } = (await inner.list()).entries[0]!
      await inner.set(key, text)
      const before = tab.cookie
      const { session, end } = await tab.open()
      expect({ ...session.data }).toEqual({})
      expect(session.isNew).toBe(true)
      session.data.count = 5
      expect(await end()).toMatch(/^session=/)
      expect(tab.cookie).not.toBe(before)
      expect(events.map((event) => ("why" in event ? event.why : event.type))).toEqual(["loaded", "damaged", "created"])
      expect(await tab.visit(({ data }) => data.count)).toBe(5)
      // The old id stays nobody's, and a page that only looks changes nothing.
      const old = await browser(sessions, { cookie: before }).open()
      expect(old.session.isNew).toBe(true)
      expect(await old.end()).toBe(null)
      expect((await inner.get(key))?.value).toBe(text)
      expect(({} as { polluted?: boolean }).polluted).toBe(undefined)
    })
  }

  it("members named __proto__ are dropped, and the rest of the session is good", async () => {
    const { inner, tab } = await withSession()
    const { key, value } = (await inner.list()).entries[0]!
    const evil = value.replace(
      '"data":{',
      '"data":{"__proto__":{"polluted":true},"\\u005f_proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},',
    )
    expect(evil).not.toBe(value)
    await inner.set(key, evil)
    await tab.visit(async (session) => {
      expect(session.isNew).toBe(false)
      expect(session.data).toEqual(Object.assign(Object.create(null), { count: 1 }))
      expect((session.data as { polluted?: boolean }).polluted).toBe(undefined)
      await session.update((data) => void data.count!++)
    })
    expect((await inner.get(key))?.value).not.toContain("polluted")
    expect(({} as { polluted?: boolean }).polluted).toBe(undefined)
  })

  it("a record that is damaged while a request is under way: its change is dropped", async () => {
    const { inner, tab, events } = await withSession()
    const { key } = (await inner.list()).entries[0]!
    const { session, end } = await tab.open()
    session.data.count = 2
    await inner.set(key, "rubbish")
    expect(await end()).toBe(null)
    expect(events.at(-1)).toMatchObject({ type: "ended", why: "gone" })
    expect((await inner.get(key))?.value).toBe("rubbish")
  })

  it("a damaged session can be ended", async () => {
    const { inner, tab } = await withSession()
    const { key } = (await inner.list()).entries[0]!
    await inner.set(key, "rubbish")
    const { session, end } = await tab.open()
    await session.destroy()
    expect(await end()).toContain("Max-Age=0")
    expect(await inner.get(key)).toBe(null)
  })
})

describe("CRY-01, REG-35: what the store knows of an id", () => {
  it("is its hash: no record and no key holds the id, or any part of it that helps", async () => {
    const bench = sessionBench<Data>()
    const ids: string[] = []
    for (let i = 0; i < 100; i++) {
      const tab = browser(bench.sessions)
      await tab.visit((session) => void (session.data.count = i))
      ids.push(tab.cookie!.slice("session=".length))
    }
    const { entries } = await bench.inner.list({ limit: 1_000 })
    const everything = JSON.stringify(entries)
    expect(entries.every(({ key }) => /^session:[A-Za-z0-9_-]{43}$/.test(key))).toBe(true)
    for (const id of ids) {
      expect(everything).not.toContain(id.slice(0, 12))
      expect(everything).not.toContain(Buffer.from(id, "base64url").toString("hex"))
    }
  })

  it("C9: key and handle name the session; neither is the id", async () => {
    const { tab, inner } = await withSession()
    await tab.visit(async (session) => {
      expect(session.key).toBe(`session:${session.handle}`)
      expect(JSON.parse((await inner.get(session.key!))!.value).data).toEqual({ count: 1 })
      expect(tab.cookie).not.toContain(session.handle)
    })
  })

  it('ids: "bare" makes the id the key, for lessons; the handle is the hash all the same', async () => {
    const { tab, inner } = await withSession({ ids: "bare" })
    const id = tab.cookie!.slice("session=".length)
    expect((await inner.list()).entries.map(({ key }) => key)).toEqual([id])
    await tab.visit((session) => {
      expect(session.key).toBe(id)
      expect(session.handle).toMatch(/^[A-Za-z0-9_-]{43}$/)
      expect(session.handle).not.toBe(id)
      expect(session.data.count).toBe(1)
    })
    await tab.visit((session) => session.regenerate())
    expect((await inner.list()).entries.map(({ key }) => key)).toEqual([tab.cookie!.slice("session=".length)])
    expect(tab.cookie).not.toContain(id)
  })
})

describe("what a session says of itself", () => {
  it("when it was created and when it ends, and whether it is new", async () => {
    const { clock, tab } = await withSession({ idle: "30m", absolute: "12h" })
    const created = clock.now()
    clock.advance(60_000)
    await tab.visit((session) => {
      expect([session.isNew, session.createdAt, session.expiresAt]).toEqual([false, created, created + 1_800_000])
    })
    await browser((await withSession()).sessions).visit((session) => {
      expect(session.isNew).toBe(true)
      session.data.count = 1
      expect(session.isNew).toBe(true)
      expect(session.expiresAt - session.createdAt).toBe(1_800_000)
    })
  })

  it("a session of unknown shape takes any JSON", async () => {
    const bench = sessionBench()
    const sessions = createSessions({ store: bench.inner, clock: bench.clock })
    const tab = browser(sessions)
    await tab.visit((session) => {
      session.data.anything = { list: [1, null, "x"] }
    })
    expect(await tab.visit((session) => session.data.anything)).toEqual({ list: [1, null, "x"] })
  })
})
