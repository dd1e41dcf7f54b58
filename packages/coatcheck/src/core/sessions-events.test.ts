import { inspect } from "node:util"
import { describe, expect, it } from "vitest"
import { browser, rejection, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import type { SessionEvent } from "./events.ts"
import type { Session } from "./session.ts"

interface Data {
  count: number
}

const secret = "fS8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5"

async function nextTurn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

/** A life with everything in it: creation, conflict, rotation, touch, refusals, faults, an end. */
async function life(options: Parameters<typeof sessionBench<Data>>[0]) {
  const bench = sessionBench<Data>({ idle: "30m", ...options })
  const cookies: string[] = []
  const sessions: object[] = []
  const errors: unknown[] = []
  const tab = browser(bench.sessions)
  const visit = async (act: (session: Session<Data>) => unknown): Promise<void> => {
    const { session, end } = await tab.open()
    sessions.push(session)
    await Promise.resolve(act(session)).catch((error: unknown) => errors.push(error))
    await end().catch((error: unknown) => errors.push(error))
    if (tab.cookie) cookies.push(tab.cookie.split("=")[1]!)
  }
  const faulty = async (verb: "set" | "delete" | "touch"): Promise<void> => {
    bench.faulty.inject("refused", { verb, times: 3 })
  }
  await visit((session) => void (session.data.count = 1))
  await visit((session) => session.update((data) => void data.count!++))
  await visit(async (session) => {
    session.data.count = 5
    await browser(bench.sessions, { cookie: tab.cookie }).visit((other) => void (other.data.count = 6))
  })
  bench.clock.advance(10 * 60_000)
  await visit(() => faulty("touch"))
  await visit(() => {})
  await visit((session) => session.regenerate())
  await visit((session) => faulty("set").then(() => session.update((data) => void data.count!++)))
  await visit((session) => faulty("delete").then(() => session.destroy()))
  bench.faulty.clear()
  await visit((session) => void (session.data.count = 1n as never))
  const twice = browser(bench.sessions, { cookie: `${tab.cookie}; ${tab.cookie}x; session=garbage` })
  sessions.push((await twice.open()).session)
  await visit((session) => session.destroy())
  const stranger = browser(bench.sessions, { cookie: "session=attacker" })
  sessions.push((await stranger.open()).session)
  const gone = browser(bench.sessions, { cookie: `session=${cookies[0]}` })
  sessions.push((await gone.open()).session)
  return { ...bench, cookies: [...new Set(cookies)], opened: sessions, errors }
}

describe("what is told", () => {
  it("the whole life of a session, in order", async () => {
    const bench = sessionBench<Data>({ idle: "30m" })
    const tab = browser(bench.sessions)
    const told = (): SessionEvent[] => bench.events.splice(0)

    const first = await tab.open()
    first.session.data.count = 1
    await first.end()
    const handle = first.session.handle!
    expect(told()).toEqual([{ type: "created", handle }])

    await tab.visit((session) => void (session.data.count = 2))
    expect(told()).toEqual([
      { type: "loaded", handle },
      { type: "committed", handle, wrote: "record" },
    ])

    bench.clock.advance(10 * 60_000)
    await tab.visit(() => {})
    expect(told()).toEqual([
      { type: "loaded", handle },
      { type: "committed", handle, wrote: "end" },
    ])

    const rotated = await tab.open()
    await rotated.session.regenerate()
    await rotated.end()
    const next = rotated.session.handle!
    expect(told()).toEqual([
      { type: "loaded", handle },
      { type: "rotated", handle: next, from: handle },
    ])

    await tab.visit((session) => session.destroy())
    expect(told()).toEqual([
      { type: "loaded", handle: next },
      { type: "ended", handle: next, why: "destroyed" },
    ])
  })

  it("the handle is the one that the session says, and the end of its key", async () => {
    const { events, inner } = await life({})
    const { entries } = await inner.list()
    expect(entries).toEqual([])
    for (const event of events) if ("handle" in event) expect(event.handle).toMatch(/^[A-Za-z0-9_-]{43}$/)
    const types = new Set(events.map(({ type }) => type))
    expect([...types].toSorted()).toEqual(
      ["committed", "conflict", "created", "ended", "loaded", "refused", "rotated", "touch-failed"].toSorted(),
    )
  })
})

describe("SES-14, REG-08: a hook that fails changes nothing of what happens", () => {
  const failure = new Error("the hook's own trouble")
  const hooks: [string, () => unknown][] = [
    [
      "throws",
      () => {
        throw failure
      },
    ],
    ["rejects", () => Promise.reject(failure)],
    ["hangs", () => new Promise(() => {})],
  ]
  for (const [how, onEvent] of hooks) {
    it(`${how}: the session is created, changed, rotated and ended all the same`, async () => {
      const warnings: string[] = []
      const bench = sessionBench<Data>({ onEvent, warn: (message) => warnings.push(message) })
      const tab = browser(bench.sessions)
      await tab.visit((session) => void (session.data.count = 1))
      await tab.visit((session) => session.update((data) => void data.count!++))
      await tab.visit((session) => session.regenerate())
      expect(JSON.parse((await bench.records())[0]!).data).toEqual({ count: 2 })
      const cookie = tab.cookie
      await tab.visit((session) => session.destroy())
      expect(await bench.records()).toEqual([])
      expect(await browser(bench.sessions, { cookie }).visit(({ isNew }) => isNew)).toBe(true)
      await nextTurn()
      expect(warnings.length > 0).toBe(how !== "hangs")
      expect(warnings.join()).not.toContain("own trouble")
    })
  }
})

describe("LOG-01, REG-36: no id and no cookie in anything that gets logged", () => {
  for (const options of [{}, { carrier: "signed", secret }] as const) {
    it(`events, errors, inspected and serialised sessions, with the carrier "${"carrier" in options ? "signed" : "store"}"`, async () => {
      const { cookies, events, opened, errors, sessions } = await life(options)
      expect(cookies.length).toBeGreaterThan(1)
      const faults = errors.map((error) => (error instanceof CoatcheckError ? error.code : String(error)))
      if (!("carrier" in options)) expect(faults).toContain("unavailable")
      expect(faults).toContain("invalid")
      const deep = { depth: 12, showHidden: true, getters: false } as const
      const logged = [
        ...events.map((event) => inspect(event, deep) + JSON.stringify(event)),
        ...opened.map((session) => inspect(session, deep) + JSON.stringify(session)),
        ...errors.map((error) => inspect(error, deep) + JSON.stringify(error) + String((error as Error).stack)),
        inspect(sessions, deep) + JSON.stringify(sessions),
      ].join("\n")
      for (const cookie of cookies) {
        // Not even a beginning of it that would make guessing easier. (Signed cookies begin with readable data.)
        expect(logged).not.toContain("carrier" in options ? cookie.split(".")[2]! : cookie.slice(0, 10))
      }
      expect(logged).not.toContain(secret)
      expect(logged).not.toContain("attacker")
    })
  }

  it("the error of a store keeps its cause, and adds nothing to it", async () => {
    const cause = new Error("ECONNREFUSED")
    const bench = sessionBench<Data>()
    const store = {
      ...bench.inner,
      get: () => Promise.reject(new CoatcheckError("unavailable", "memory, get: not reachable", { cause })),
    }
    const tab = browser(bench.another({ store }).sessions, { cookie: `session=${"A".repeat(43)}` })
    const error = await rejection(tab.open())
    expect(error).toMatchObject({ code: "unavailable", cause })
    expect(inspect(error)).not.toContain("AAAAAAAA")
  })
})
