import { createHmac, hkdfSync } from "node:crypto"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { browser, rejection, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import type { Session } from "./session.ts"
import type { SessionsOptions } from "./sessions.ts"

interface Data {
  count: number
  name: string
  tags: string[]
}

const [first, second] = [
  "fS8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5",
  "Qw7eR5tY3uI1oP9aS8dF6gH4jK2lZ0xC-vB_nM5qW3",
] as const
const increment = (data: Partial<Data>): void => {
  data.count = (data.count ?? 0) + 1
}

function codeOf(error: unknown): string {
  return error instanceof CoatcheckError ? error.code : String(error)
}

function signedBench(options: Partial<SessionsOptions<Data>> = {}) {
  return sessionBench<Data>({ carrier: "signed", secret: first, ...options })
}

async function started(data: Partial<Data> = { count: 1 }, options: Partial<SessionsOptions<Data>> = {}) {
  const bench = signedBench(options)
  const tab = browser(bench.sessions)
  await tab.visit((session) => void (session.data = data))
  bench.events.length = 0
  const seen = (cookie: string | null = tab.cookie): Promise<Partial<Data> | null> =>
    browser(bench.sessions, { cookie }).visit((session) => (session.isNew ? null : { ...session.data }))
  return { ...bench, tab, seen }
}

const valueOf = (cookie: string | null): string => cookie!.slice("session=".length)

describe("the cookie that is the session", () => {
  it("C3: changes with each change, is HttpOnly, and can be read by whoever has it", async () => {
    const { sessions, calls } = signedBench()
    const tab = browser(sessions)
    const cookies = new Set<string>()
    for (let count = 1; count <= 5; count++) {
      const { session, end } = await tab.open()
      await session.update(increment)
      expect(session.data.count).toBe(count)
      expect(await end()).toMatch(/^session=[\w-]+\.\d+\.[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax$/)
      cookies.add(tab.cookie!)
      const payload = JSON.parse(Buffer.from(valueOf(tab.cookie).split(".")[0]!, "base64url").toString())
      expect(payload).toMatchObject({ v: 1, data: { count } })
    }
    expect(cookies.size).toBe(5)
    expect(calls()).toBe("")
  })

  it("is signed over data and end by HMAC-SHA-256, under a key for sessions under this name", async () => {
    const { tab } = await started()
    const [payload, until, mac] = valueOf(tab.cookie).split(".")
    const key = new Uint8Array(hkdfSync("sha256", first, "", "coatcheck signed session __Host-Http-session", 32))
    expect(mac).toBe(createHmac("sha256", key).update(`${payload}.${until}`).digest("base64url"))
  })

  it("S4: a page that only reads sends no cookie", async () => {
    const { tab } = await started()
    const { session, end } = await tab.open()
    expect(session.data.count).toBe(1)
    expect(await end()).toBe(null)
  })

  it("one handle names the session through all its cookies, until it gets a new one", async () => {
    const { tab } = await started()
    const handles: (string | null)[] = []
    for (let i = 0; i < 3; i++) {
      await tab.visit((session) => {
        handles.push(session.handle)
        session.data.count = i + 10
        expect(session.key).toBe(null)
      })
    }
    expect(new Set(handles).size).toBe(1)
    expect(handles[0]).toMatch(/^[\w-]{43}$/)
    const data = await tab.visit(async (session) => {
      await session.regenerate()
      expect(session.handle).not.toBe(handles[0])
      return { ...session.data }
    })
    expect(data).toEqual({ count: 12 })
  })

  it("S7: ends when it is idle or old, as a session in a store does", async () => {
    const { tab, clock, seen, events } = await started({ count: 1 }, { idle: "30m", absolute: "1h" })
    const old = tab.cookie
    clock.advance(29 * 60_000)
    expect(await tab.visit(({ data }) => data.count)).toBe(1)
    expect(tab.cookie).not.toBe(old) // touched
    clock.advance(29 * 60_000)
    expect(await seen(old)).toBe(null)
    expect(await tab.visit(({ data }) => data.count)).toBe(1)
    clock.advance(2 * 60_000)
    expect(await seen()).toBe(null)
    expect(events.at(-1)).toMatchObject({ type: "ended", why: "lapsed" })
  })

  it("SES-08, REG-05: the end in it counts, whatever the browser keeps", async () => {
    const { tab, clock, seen } = await started(
      { count: 1 },
      { idle: "2s", absolute: "1h", cookie: { persistent: true } },
    )
    const cookie = tab.cookie
    clock.advance(3_000)
    expect(await seen(cookie)).toBe(null)
  })

  it("reset clears it and begins again; that an old cookie still opens is what this carrier can't help", async () => {
    const { tab, seen } = await started({ count: 7 })
    const old = tab.cookie
    const { session, end } = await tab.open()
    await session.destroy()
    expect(await end()).toContain("Max-Age=0")
    expect(await tab.visit((fresh) => fresh.isNew)).toBe(true)
    expect(await seen(old)).toEqual({ count: 7 })
  })
})

describe("C4, REG-30: cookies that are not ours", () => {
  it("one character changed anywhere: a new session, no error, and never any data", async () => {
    const { tab, sessions } = await started({ count: 41, name: "x" })
    const value = valueOf(tab.cookie)
    for (let place = 0; place < value.length; place++) {
      for (const letter of ["A", "B", "0", "."]) {
        if (value[place] === letter) continue
        const forged = browser(sessions, {
          cookie: `session=${value.slice(0, place)}${letter}${value.slice(place + 1)}`,
        })
        const { session, end } = await forged.open()
        if (!session.isNew || Object.keys(session.data).length > 0) throw new Error(`place ${place} let it through`)
        expect(await end()).toBe(null)
      }
    }
  })

  it("any text at all", async () => {
    const { sessions } = signedBench()
    const octets = [..."ABCxyz019-_.=!{}%:"]
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: fc.constantFrom(...octets), maxLength: 200 }), async (value) => {
        const { session, end } = await browser(sessions, { cookie: `session=${value}` }).open()
        expect(session.isNew).toBe(true)
        expect(await end()).toBe(null)
      }),
    )
  })

  it("an unsigned record, a cut one, one with a later end, one of another name or purpose, and what each is called", async () => {
    const { tab, sessions, events, clock } = await started()
    const [payload, until, mac] = valueOf(tab.cookie).split(".") as [string, string, string]
    const foreign = await started({ count: 9 }, { secret: second })
    const renamed = await started({ count: 9 }, { cookie: { name: "other" } })
    const table: [string, string][] = [
      [Buffer.from('{"v":1,"data":{"count":9}}').toString("base64url"), "malformed"],
      ['{"v":1}', "malformed"],
      [`${payload}.${until}`, "malformed"],
      [`${payload}.${until}.`, "malformed"],
      [`.${until}.${mac}`, "malformed"],
      [`${payload}..${mac}`, "malformed"],
      [`${payload}.${until}.${mac}.${mac}`, "malformed"],
      [`${payload}.${Number(until) + 1}.${mac}`, "signature"],
      [`${payload}.${until}.${mac.slice(0, -1)}`, "signature"],
      [`${payload}.${until}.${mac}=`, "signature"],
      [valueOf(foreign.tab.cookie), "signature"],
      [renamed.tab.cookie!.slice("other=".length), "signature"],
    ]
    for (const [value, why] of table) {
      const tabs = browser(sessions, { cookie: `session=${value.replaceAll('"', "")}` })
      expect(await tabs.visit((session) => session.isNew), value).toBe(true)
      expect(events.at(-1), value).toEqual({ type: "refused", why })
    }
    expect(clock.sleeping).toBe(0)
  })

  it("C4: a page that counts starts again at 1", async () => {
    const { tab, sessions } = await started({ count: 41 })
    const forged = browser(sessions, { cookie: `${tab.cookie!.slice(0, -1)}${tab.cookie!.endsWith("A") ? "B" : "A"}` })
    expect(await forged.visit(async (session) => (await session.update(increment)).count)).toBe(1)
  })
})

describe("C13, C15, REG-31: secrets that change", () => {
  it("cookies of an old one stay good while it is listed; new ones are made with the first", async () => {
    const bench = signedBench()
    const tab = browser(bench.sessions)
    await tab.visit((session) => void (session.data.count = 1))
    const both = bench.another({ secret: [second, first] })
    const renewed = bench.another({ secret: second })
    const read = (sessions: typeof both.sessions, cookie: string | null): Promise<number | undefined> =>
      browser(sessions, { cookie }).visit(({ data }) => data.count)
    expect(await read(both.sessions, tab.cookie)).toBe(1)
    expect(await read(renewed.sessions, tab.cookie)).toBe(undefined)

    const moving = browser(both.sessions, { cookie: tab.cookie })
    await moving.visit((session) => void (session.data.count = 2))
    expect(await read(renewed.sessions, moving.cookie)).toBe(2)
    expect(await read(bench.sessions, moving.cookie)).toBe(undefined)
  })

  it("a restart with the same secret changes nothing", async () => {
    const { tab, another } = await started({ count: 3 })
    const restarted = browser(another().sessions, { cookie: tab.cookie })
    expect(await restarted.visit(({ data }) => data.count)).toBe(3)
  })
})

describe("C7: what does not fit a cookie", () => {
  it("is a clear error before the reply, and the browser keeps what it had", async () => {
    const { tab, seen } = await started()
    for (const act of ["commit", "update"] as const) {
      const { session, end } = await tab.open()
      if (act === "commit") session.data.name = "x".repeat(4_000)
      else await session.update((data) => void (data.name = "x".repeat(4_000)))
      const error = await rejection(Promise.resolve().then(end))
      expect(codeOf(error)).toBe("too-large")
      expect(String(error)).toMatch(/keep it in a store/)
    }
    expect(await seen()).toEqual({ count: 1 })
  })

  it("the first one too", async () => {
    const tab = browser(signedBench().sessions)
    const { session, end } = await tab.open()
    session.data.name = "x".repeat(4_000)
    expect(codeOf(await rejection(Promise.resolve().then(end)))).toBe("too-large")
    expect(tab.cookie).toBe(null)
  })
})

describe("S2: the same handler as over a store", () => {
  const handlers: [string, (session: Session<Data>) => unknown, Partial<Data>][] = [
    ["assigns", (session) => (session.data = { name: "new" }), { name: "new" }],
    [
      "changes and updates",
      async (session) => {
        session.data.name = "mine"
        await session.update(increment)
        session.data.tags = ["after"]
      },
      { count: 2, name: "mine", tags: ["after"] },
    ],
    [
      "updates many times at once",
      (session) => Promise.all(Array.from({ length: 20 }, () => session.update(increment))),
      { count: 21 },
    ],
    [
      "updates, changes and takes a new id, without waiting",
      (session) => {
        void session.update(increment)
        session.data.name = "mine"
        void session.update(increment)
        void session.regenerate()
      },
      { count: 3, name: "mine" },
    ],
    [
      "fails in an update",
      async (session) => {
        session.data.name = "mine"
        await session
          .update(() => {
            throw new RangeError("no")
          })
          .catch(() => {})
      },
      { count: 1, name: "mine" },
    ],
  ]
  for (const [name, handler, data] of handlers) {
    it(name, async () => {
      for (const bench of [sessionBench<Data>(), signedBench()]) {
        const tab = browser(bench.sessions)
        await tab.visit((session) => void (session.data.count = 1))
        await tab.visit(handler)
        expect({ ...(await tab.visit((session) => session.data)) }).toEqual(data)
        const fresh = browser(bench.sessions)
        await fresh.visit(async (session) => {
          session.data.count = 1
          await handler(session)
        })
        expect({ ...(await fresh.visit((session) => session.data)) }).toEqual(data)
      }
    })
  }

  it("but after the reply a change has no way to the browser, so it is refused", async () => {
    const { tab } = await started()
    const { session, end } = await tab.open()
    session.data.count = 2
    await end()
    expect(codeOf(await rejection(session.update(increment)))).toBe("committed")
    expect(session.data.count).toBe(2)
  })
})
