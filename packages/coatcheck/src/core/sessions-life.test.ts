import { describe, expect, it } from "vitest"
import { browser, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"

interface Data {
  count: number
}

const second = 1_000
const minute = 60 * second
const hour = 60 * minute

async function started(options: Parameters<typeof sessionBench<Data>>[0] = {}) {
  const bench = sessionBench<Data>(options)
  const tab = browser(bench.sessions)
  await tab.visit((session) => void (session.data.count = 1))
  bench.calls()
  bench.events.length = 0
  const read = (): Promise<number | undefined> => tab.visit((session) => session.data.count)
  const entry = async () => (await bench.inner.list()).entries[0]
  return { ...bench, tab, read, entry, created: bench.clock.now() }
}

describe("S7, SES-08: the idle limit", () => {
  it("TMO-01: at aal2 a session is alive after 59 minutes and gone after 61", async () => {
    const unused = await started({ preset: "aal2" })
    unused.clock.advance(59 * minute)
    expect(await unused.read()).toBe(1)
    unused.clock.advance(61 * minute)
    expect(await unused.read()).toBe(undefined)
  })

  it("active use keeps it, the first pause over the limit ends it, whatever the browser still holds", async () => {
    const { clock, read, tab, events, records } = await started({ idle: "30m", absolute: "12h" })
    for (let i = 0; i < 10; i++) {
      clock.advance(20 * minute)
      expect(await read()).toBe(1)
    }
    const cookie = tab.cookie
    clock.advance(30 * minute)
    expect(await read()).toBe(undefined)
    expect(tab.cookie).toBe(cookie)
    expect(events.at(-1)).toMatchObject({ type: "ended", why: "lapsed" })
    expect(await records()).toEqual([])
  })

  it("S4: use moves the end only when more than a tenth of it has gone", async () => {
    const { clock, read, calls, entry, created } = await started({ idle: "30m" })
    clock.advance(3 * minute)
    await read()
    expect(calls()).toBe("get 1")
    expect((await entry())?.expiresAt).toBe(created + 30 * minute)
    clock.advance(1)
    await read()
    expect(calls()).toBe("get 1, touch 1")
    expect((await entry())?.expiresAt).toBe(created + 33 * minute + 1)
    await read()
    expect(calls()).toBe("get 1")
  })

  it("a write moves it only when a touch would, and both in one call", async () => {
    const { clock, tab, calls, entry, created } = await started({ idle: "30m" })
    clock.advance(2 * minute)
    await tab.visit((session) => void session.data.count!++)
    expect((await entry())?.expiresAt).toBe(created + 30 * minute)
    clock.advance(2 * minute)
    await tab.visit((session) => session.update((data) => void data.count!++))
    expect((await entry())?.expiresAt).toBe(created + 34 * minute)
    expect(calls()).toBe("get 2, set 2")
  })

  it("a page that opens the session keeps it alive, whether it reads it or not", async () => {
    const { clock, tab, calls } = await started({ idle: "30m" })
    clock.advance(10 * minute)
    await tab.visit(() => {})
    expect(calls()).toBe("get 1, touch 1")
  })

  it("none: idleness ends nothing and nothing is touched", async () => {
    const { clock, read, calls } = await started({ idle: null, absolute: "30d" })
    clock.advance(29 * 24 * hour)
    expect(await read()).toBe(1)
    expect(calls()).toBe("get 1")
    clock.advance(24 * hour)
    expect(await read()).toBe(undefined)
  })
})

describe("S7, TMO-02: the absolute limit", () => {
  it("REG-05: ends even a session in constant use, and the record's own end never moves", async () => {
    const { clock, tab, entry, created } = await started({ preset: "aal2" })
    const ends = new Set<number>()
    while (clock.now() < created + 24 * hour - minute) {
      clock.advance(minute)
      const isAlive = await tab.visit((session) => session.data.count === 1)
      const now = await entry()
      if (!isAlive || !now) break
      ends.add(JSON.parse(now.value).ends)
      expect(now.expiresAt).toBeLessThanOrEqual(created + 24 * hour)
    }
    expect([...ends]).toEqual([created + 24 * hour])
    // Near the end too little is left to move for a write.
    expect(clock.now()).toBeGreaterThanOrEqual(created + 24 * hour - 6 * minute)
    clock.advance(2 * minute)
    expect(await tab.visit((session) => session.isNew)).toBe(true)
  })

  it("SES-08: the end in the record counts where the store knows none", async () => {
    const { clock, tab, inner, entry, events } = await started({ idle: "30m", absolute: "1h" })
    const { key, value } = (await entry())!
    await inner.set(key, value, { expiresAt: null })
    clock.advance(hour)
    const { session, end } = await tab.open()
    expect({ ...session.data }).toEqual({})
    expect(session.isNew).toBe(true)
    expect(await end()).toBe(null)
    expect(events.filter(({ type }) => type !== "loaded")).toMatchObject([{ type: "ended", why: "lapsed" }])
  })

  it("a write or a new id after the absolute end begins a new session, and takes nothing over", async () => {
    const { clock, tab, inner, entry } = await started({ idle: "30m", absolute: "1h" })
    const { key, value } = (await entry())!
    await inner.set(key, value, { expiresAt: null })
    clock.advance(hour)
    const before = tab.cookie
    await tab.visit(async (session) => {
      await session.regenerate()
      session.data.count = (session.data.count ?? 0) + 1
    })
    expect(tab.cookie).not.toBe(before)
    await tab.visit((session) => {
      expect(session.data.count).toBe(1)
      expect(session.createdAt).toBe(clock.now())
    })
  })

  it("a new id or a write does not begin the time again", async () => {
    const { clock, tab, created } = await started({ idle: "30m", absolute: "1h" })
    for (let i = 0; i < 5; i++) {
      clock.advance(10 * minute)
      await tab.visit(async (session) => {
        session.data.count!++
        await session.regenerate()
      })
    }
    await tab.visit((session) => {
      expect(session.createdAt).toBe(created)
      expect(session.expiresAt).toBe(created + hour)
    })
    clock.advance(10 * minute)
    expect(await tab.visit((session) => session.isNew)).toBe(true)
  })
})

describe("TMO-04: clocks that jump", () => {
  it("back: no end moves, nothing is written, the session lives no longer by that", async () => {
    const { clock, read, calls, entry, created } = await started({ idle: "30m", absolute: "12h" })
    clock.advance(10 * minute)
    await read()
    calls()
    clock.advance(-2 * hour)
    expect(await read()).toBe(1)
    expect(calls()).toBe("get 1")
    expect((await entry())?.expiresAt).toBe(created + 40 * minute)
    clock.advance(2 * hour + 30 * minute)
    expect(await read()).toBe(undefined)
  })

  it("far forward: the session counts as ended; back again, it is there, for no read removes it", async () => {
    const { clock, read } = await started()
    clock.advance(400 * 24 * hour)
    expect(await read()).toBe(undefined)
    clock.advance(-400 * 24 * hour)
    expect(await read()).toBe(1)
  })
})

describe("SES-06: a touch never brings back or overrules", () => {
  it("a session that ended meanwhile stays ended, and is told as gone", async () => {
    const { clock, tab, inner, entry, events, another } = await started()
    clock.advance(10 * minute)
    const { end } = await tab.open()
    const other = browser(another().sessions, { cookie: tab.cookie })
    await other.visit((session) => session.destroy())
    expect(await end()).toBe(null)
    expect(await entry()).toBe(undefined)
    expect(await inner.list()).toMatchObject({ entries: [] })
    expect(events.at(-1)).toMatchObject({ type: "ended", why: "gone" })
  })

  it("a session that was written meanwhile stays as it was written", async () => {
    const { clock, tab, entry, events, another } = await started()
    clock.advance(10 * minute)
    const { end } = await tab.open()
    await browser(another().sessions, { cookie: tab.cookie }).visit((session) => void (session.data.count = 2))
    const written = await entry()
    expect(await end()).toBe(null)
    expect(await entry()).toEqual(written)
    expect(events.map(({ type }) => type)).toEqual(["loaded"])
  })

  it("a touch that fails is told, and costs nobody their page", async () => {
    for (const fault of ["refused", "lost-request", "lost-reply"] as const) {
      const { clock, tab, faulty, events } = await started()
      clock.advance(10 * minute)
      faulty.inject(fault, { verb: "touch" })
      const { session, end } = await tab.open()
      expect(session.data.count).toBe(1)
      expect(await end()).toBe(null)
      const told = events.at(-1)
      expect(told).toMatchObject({ type: "touch-failed", handle: session.handle })
      expect((told as { error: unknown }).error).toBeInstanceOf(CoatcheckError)
      expect(faulty.struck).toBe(1)
    }
  })
})
