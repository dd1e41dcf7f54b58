import { describe, expect, it } from "vitest"
import { browser, rejection, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { randomText } from "./crypto.ts"
import { newId } from "./id.ts"

interface Data {
  count: number
}

const secret = "fS8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5"
const prefixed = "__Host-Http-session"

function codeOf(error: unknown): string {
  return error instanceof CoatcheckError ? error.code : String(error)
}

/** Two live sessions of one system, and cookie values that lead nowhere. */
async function withTwo(carrier: "store" | "signed", secure: boolean) {
  const bench = sessionBench<Data>(carrier === "signed" ? { carrier, secret } : {})
  const values: string[] = []
  for (const count of [1, 2]) {
    const tab = browser(bench.sessions, { secure })
    await tab.visit((session) => void (session.data.count = count))
    values.push(tab.cookie!.split("=")[1]!)
  }
  const other = browser(sessionBench<Data>(carrier === "signed" ? { carrier, secret: `${secret}x` } : {}).sessions)
  await other.visit((session) => void (session.data.count = 3))
  bench.calls()
  bench.events.length = 0
  const name = secure ? prefixed : "session"
  const seen = (...cookies: string[]): Promise<number | null> =>
    browser(bench.sessions, { secure, cookie: cookies.map((value) => `${name}=${value}`).join("; ") }).visit(
      (session) => (session.isNew ? null : (session.data.count ?? 0)),
    )
  const [one, two] = values as [string, string]
  return { ...bench, seen, one, two, foreign: other.cookie!.split("=")[1]! }
}

describe("the cookie that leads to a session", () => {
  it("is __Host-Http-session over HTTPS and session over plain HTTP; each kind of request knows its own only", async () => {
    const bench = sessionBench<Data>()
    const safe = browser(bench.sessions, { secure: true })
    const first = await safe.open()
    first.session.data.count = 1
    expect(await first.end()).toMatch(/^__Host-Http-session=[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Lax$/)
    const plain = browser(bench.sessions)
    await plain.visit((session) => void (session.data.count = 2))
    const id = plain.cookie!.split("=")[1]!
    expect(bench.sessions.cookieNames).toEqual([prefixed, "session"])
    // CKI: a plain cookie that somebody on the way planted is nothing to a secure request.
    expect(await browser(bench.sessions, { secure: true, cookie: `session=${id}` }).visit(({ isNew }) => isNew)).toBe(
      true,
    )
    expect(
      await browser(bench.sessions, { secure: true, cookie: `session=${id}; ${safe.cookie}` }).visit(
        ({ data }) => data.count,
      ),
    ).toBe(1)
    expect(await browser(bench.sessions, { cookie: safe.cookie }).visit(({ isNew }) => isNew)).toBe(true)
  })

  it("has a name, path and domain of the application's own where it says so", async () => {
    const bench = sessionBench<Data>({
      cookie: { name: "SID", path: "/app", domain: "example.com", sameSite: "strict" },
    })
    const { session, end } = await browser(bench.sessions).open()
    session.data.count = 1
    expect(await end()).toMatch(/^SID=[\w-]{43}; Path=\/app; Domain=example\.com; HttpOnly; SameSite=Strict$/)
    expect(bench.sessions.cookieNames).toEqual(["SID"])
  })

  it("that is persistent lasts to the absolute end, to the second, and touches send none", async () => {
    const bench = sessionBench<Data>({ idle: "30m", absolute: "2h", cookie: { persistent: true } })
    const tab = browser(bench.sessions)
    const first = await tab.open()
    first.session.data.count = 1
    expect(await first.end()).toContain("; Max-Age=7200;")
    bench.clock.advance(20 * 60_000)
    const second = await tab.open()
    second.session.data.count = 2
    expect(await second.end()).toBe(null)
    bench.clock.advance(10 * 60_000 + 1)
    const third = await tab.open()
    await third.session.regenerate()
    expect(await third.end()).toContain(`; Max-Age=${90 * 60 - 1};`)
  })

  it("is not sent over plain HTTP when it is for HTTPS only: no session there, and an error when one is to be made", async () => {
    const bench = sessionBench<Data>({ cookie: { secure: true } })
    const safe = browser(bench.sessions, { secure: true })
    await safe.visit((session) => void (session.data.count = 1))
    bench.events.length = 0
    bench.calls()
    const plain = await browser(bench.sessions, { cookie: safe.cookie }).open()
    expect(plain.session.isNew).toBe(true)
    expect(await plain.end()).toBe(null)
    const writing = await browser(bench.sessions).open()
    writing.session.data.count = 2
    const error = await rejection(writing.end())
    expect(codeOf(error)).toBe("invalid")
    expect(String(error)).toContain("HTTPS")
    const updating = await browser(bench.sessions).open()
    expect(codeOf(await rejection(updating.session.update((data) => void (data.count = 1))))).toBe("invalid")
    expect(bench.calls()).toBe("")
    expect(bench.events).toEqual([
      { type: "refused", why: "insecure" },
      { type: "refused", why: "insecure" },
    ])
  })
})

for (const carrier of ["store", "signed"] as const) {
  describe(`CKI-06: the same name more than once, carrier "${carrier}"`, () => {
    it("without a prefix the only one that leads to a session counts, wherever it stands", async () => {
      const { seen, one, foreign, events } = await withTwo(carrier, false)
      expect(await seen("garbage", one)).toBe(1)
      expect(await seen(one, "garbage")).toBe(1)
      expect(await seen("garbage", foreign, one)).toBe(1)
      expect(await seen(one, one)).toBe(1)
      expect(events.filter(({ type }) => type === "refused")).toEqual([])
    })

    it("without a prefix two good ones are refused, and so are several bad ones: never a merge, never a guess", async () => {
      const { seen, one, two, foreign, events } = await withTwo(carrier, false)
      expect(await seen(one, two)).toBe(null)
      expect(await seen("garbage", foreign)).toBe(null)
      expect(await seen("garbage", "rubbish")).toBe(null)
      expect(events).toEqual(Array.from({ length: 3 }, () => ({ type: "refused", why: "duplicate" })))
    })

    it("without a prefix at most four are looked at", async () => {
      const { seen, one, faulty } = await withTwo(carrier, false)
      const others = (count: number): string[] => Array.from({ length: count }, () => newId(randomText))
      const before = faulty.calls.get
      expect(await seen(...others(3), one)).toBe(1)
      expect(faulty.calls.get - before).toBe(carrier === "store" ? 4 : 0)
      expect(await seen(...others(4), one)).toBe(null)
    })

    it("with a prefix all are refused, since no good browser holds two, and the store is not asked", async () => {
      const { seen, one, two, calls, events } = await withTwo(carrier, true)
      expect(await seen(one)).toBe(1)
      calls()
      events.length = 0
      expect(await seen(one, "garbage")).toBe(null)
      expect(await seen("garbage", one)).toBe(null)
      expect(await seen(one, two)).toBe(null)
      expect(calls()).toBe("")
      expect(events).toEqual(Array.from({ length: 3 }, () => ({ type: "refused", why: "duplicate" })))
    })

    it("one that has run out does not stand in the way of one that is alive", async () => {
      const { seen, one, sessions, clock } = await withTwo(carrier, false)
      clock.advance(29 * 60_000)
      const tab = browser(sessions)
      await tab.visit((session) => void (session.data.count = 7))
      const alive = tab.cookie!.split("=")[1]!
      clock.advance(2 * 60_000)
      expect(await seen(one)).toBe(null)
      expect(await seen(one, alive)).toBe(7)
      expect(await seen(alive, one)).toBe(7)
    })
  })
}
