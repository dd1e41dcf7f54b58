import { describe, expect, it } from "vitest"
import { browser, rejection, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import type { Fault, StoreVerb } from "../testing/faulty-store.ts"
import { randomText } from "./crypto.ts"

interface Data {
  count: number
  name: string
  tags: string[]
}

function codeOf(error: unknown): string {
  return error instanceof CoatcheckError ? error.code : String(error)
}

async function started(data: Partial<Data> = { count: 1 }, options: Parameters<typeof sessionBench<Data>>[0] = {}) {
  const bench = sessionBench<Data>(options)
  const tab = browser(bench.sessions)
  await tab.visit((session) => void (session.data = data))
  bench.calls()
  bench.events.length = 0
  const stored = async (): Promise<Partial<Data>[]> => (await bench.records()).map((text) => JSON.parse(text).data)
  /** What a request with this cookie sees, by a process without faults. */
  const seen = (cookie: string | null): Promise<Partial<Data> | null> =>
    browser(bench.another().sessions, { cookie }).visit((session) => (session.isNew ? null : { ...session.data }))
  const other = browser(bench.another().sessions, { cookie: tab.cookie })
  return { ...bench, tab, other, stored, seen }
}

describe("S8: regenerate", () => {
  it("gives a new id; the old one is dead at once; the data stays", async () => {
    const { tab, seen, stored, events, calls } = await started()
    const old = tab.cookie
    const { session, end } = await tab.open()
    const from = session.handle
    await session.regenerate()
    expect(await seen(old)).toBe(null)
    expect(session.handle).not.toBe(from)
    expect(await end()).toMatch(/^session=[A-Za-z0-9_-]{43}; Path/)
    expect(tab.cookie).not.toBe(old)
    expect(await seen(tab.cookie)).toEqual({ count: 1 })
    expect(await stored()).toEqual([{ count: 1 }])
    expect(events.slice(1)).toEqual([{ type: "rotated", handle: session.handle, from }])
    expect(calls()).toBe("get 1, set 1, delete 1")
  })

  it("takes what the handler changed along, before and after", async () => {
    const { tab, stored } = await started()
    await tab.visit(async (session) => {
      session.data.count = 2
      await session.regenerate()
      session.data.name = "after"
      await session.regenerate()
    })
    expect(await stored()).toEqual([{ count: 2, name: "after" }])
    expect(await tab.visit(({ data }) => data.name)).toBe("after")
  })

  it("has nothing to do before there is a session: that one gets a new id anyway", async () => {
    const bench = sessionBench<Data>()
    const tab = browser(bench.sessions)
    await tab.visit(async (session) => {
      session.data.count = 1
      await session.regenerate()
    })
    expect(bench.calls()).toBe("set 1")
    expect(bench.events.map(({ type }) => type)).toEqual(["created"])
  })

  it("keeps owner, time of creation and end", async () => {
    const { tab, clock, inner } = await started()
    const before = (await inner.list()).entries[0]!
    await inner.set(before.key, before.value.replace('"owner":null', '"owner":"alice"'), { owner: "alice" })
    clock.advance(60_000)
    await tab.visit((session) => session.regenerate())
    const after = (await inner.list()).entries[0]!
    expect(after.owner).toBe("alice")
    expect(after.expiresAt).toBe(before.expiresAt)
    expect(JSON.parse(after.value)).toEqual({ ...JSON.parse(before.value), owner: "alice" })
    expect(after.key).not.toBe(before.key)
  })

  it("a handler that does not wait for it gets its cookie all the same", async () => {
    const { tab, seen, faulty } = await started()
    const old = tab.cookie
    const { session, end } = await tab.open()
    faulty.inject("held-request", { verb: "delete" })
    const rotating = session.regenerate()
    const ending = end()
    await faulty.whenHeld()
    await faulty.release()
    await rotating
    expect(await ending).toMatch(/^session=/)
    expect(tab.cookie).not.toBe(old)
    expect(await seen(tab.cookie)).toEqual({ count: 1 })
  })

  it("several at once in one request are several, one after the other", async () => {
    const { tab, stored, seen } = await started()
    await tab.visit(async (session) => {
      await Promise.all([session.regenerate(), session.update((data) => void data.count!++), session.regenerate()])
    })
    expect(await stored()).toEqual([{ count: 2 }])
    expect(await seen(tab.cookie)).toEqual({ count: 2 })
  })
})

describe("S8 against others", () => {
  it("what somebody wrote between its two steps is carried over, by the rules", async () => {
    const { tab, other, faulty, stored, events } = await started({ count: 1, tags: [] }, { rules: { count: "add" } })
    const { session, end } = await tab.open()
    session.data.count! += 1
    faulty.inject("held-request", { verb: "delete" })
    const rotating = session.regenerate()
    await faulty.whenHeld()
    await other.visit(async (one) => {
      one.data.tags!.push("theirs")
      await one.update((data) => void (data.count! += 10))
    })
    await faulty.release()
    await rotating
    expect({ ...session.data }).toEqual({ count: 12, tags: ["theirs"] })
    const calls = { ...faulty.calls }
    await end()
    expect(faulty.calls).toEqual(calls)
    expect(await stored()).toEqual([{ count: 12, tags: ["theirs"] }])
    expect(events.map(({ type }) => type)).toContain("conflict")
  })

  it("REL-11: who ends the session between its two steps ends the new one too", async () => {
    const { tab, other, faulty, stored, seen, events } = await started()
    const before = tab.cookie
    const { session, end } = await tab.open()
    faulty.inject("held-request", { verb: "delete" })
    const rotating = session.regenerate()
    await faulty.whenHeld()
    await other.visit((one) => one.destroy())
    await faulty.release()
    expect(codeOf(await rejection(rotating))).toBe("ended")
    expect(await end()).toBe(null)
    expect(await stored()).toEqual([])
    expect(await seen(before)).toBe(null)
    expect(events.at(-1)).toMatchObject({ type: "ended", why: "gone" })
  })

  it("of two requests that do it at once one wins, and one session is left", async () => {
    const { tab, other, stored, seen } = await started()
    const [a, b] = [await tab.open(), await other.open()]
    const results = await Promise.allSettled([a.session.regenerate(), b.session.regenerate()])
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"])
    await a.end()
    await b.end()
    expect(await stored()).toEqual([{ count: 1 }])
    const alive = await Promise.all([seen(tab.cookie), seen(other.cookie)])
    expect(alive.filter((data) => data !== null)).toHaveLength(1)
  })

  it("S16: a slow request on the old id changes nothing any more and sets no cookie", async () => {
    const { tab, other, stored, events } = await started()
    const slow = await Promise.all(Array.from({ length: 20 }, () => other.open()))
    await tab.visit((session) => session.regenerate())
    const fresh = tab.cookie
    for (const [i, { session, end }] of slow.entries()) {
      if (i % 3 === 0) session.data.count = 99
      else if (i % 3 === 1)
        expect(codeOf(await rejection(session.update((data) => void (data.count = 99))))).toBe("ended")
      expect(await end()).toBe(null)
    }
    expect(await stored()).toEqual([{ count: 1 }])
    expect(tab.cookie).toBe(fresh)
    expect(events.filter(({ type }) => type === "created")).toEqual([])
  })

  it("a rule that refuses fails it: the session is as it was, and no second record stays", async () => {
    const { tab, other, faulty, stored, seen } = await started({ count: 1 }, { rules: { count: "error" } })
    const before = tab.cookie
    const { session } = await tab.open()
    session.data.count = 2
    faulty.inject("held-request", { verb: "delete" })
    const rotating = session.regenerate()
    await faulty.whenHeld()
    await other.visit((one) => void (one.data.count = 3))
    await faulty.release()
    expect(codeOf(await rejection(rotating))).toBe("conflict")
    expect(await stored()).toEqual([{ count: 3 }])
    expect(await seen(before)).toEqual({ count: 3 })
  })

  it("gives up with `conflict` when others change the session without end", async () => {
    const bench = await started({ count: 1 }, { deadline: "2s" })
    const { inner, clock } = bench
    const store = {
      ...inner,
      delete: async (...call: Parameters<typeof inner.delete>) => {
        clock.advance(100)
        const current = await inner.get(call[0])
        if (current) await inner.set(call[0], current.value)
        return inner.delete(...call)
      },
    }
    const contested = bench.another({ store })
    for (const act of ["regenerate", "destroy"] as const) {
      const { session, end } = await browser(contested.sessions, { cookie: bench.tab.cookie }).open()
      const began = clock.now()
      expect(codeOf(await rejection(session[act]()))).toBe("conflict")
      expect(clock.now() - began).toBeLessThan(2_500)
      expect(await end()).toBe(null)
      if (act === "destroy") expect(await bench.seen(bench.tab.cookie)).toEqual({ count: 1 })
    }
  })
})

describe("SES-15, REG-40: ids that are taken", () => {
  /** Gives these ids first, then true random ones; versions are always random. */
  function stubbed(...ids: string[]): (bytes: number) => string {
    return (bytes) => (bytes === 32 ? (ids.shift() ?? randomText(32)) : randomText(bytes))
  }
  const taken = "8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5yA0"

  it("a new session is inserted, never put over another one: it gets the next id", async () => {
    const bench = sessionBench<Data>({ random: stubbed(taken, taken, taken) })
    const [first, second] = [browser(bench.sessions), browser(bench.sessions)]
    await first.visit((session) => void (session.data.name = "first"))
    const before = (await bench.inner.list()).entries[0]!
    await second.visit((session) => void (session.data.name = "second"))
    expect(first.cookie).toBe(`session=${taken}`)
    expect(second.cookie).not.toBe(first.cookie)
    expect(await bench.inner.get(before.key)).toEqual(before)
    expect(await first.visit(({ data }) => data.name)).toBe("first")
    expect(await second.visit(({ data }) => data.name)).toBe("second")
  })

  it("a rotation as well", async () => {
    const bench = sessionBench<Data>({ random: stubbed(taken, randomText(32), taken) })
    const [first, second] = [browser(bench.sessions), browser(bench.sessions)]
    await first.visit((session) => void (session.data.name = "first"))
    await second.visit((session) => void (session.data.name = "second"))
    await second.visit((session) => session.regenerate())
    expect(second.cookie).not.toContain(taken)
    expect(await first.visit(({ data }) => data.name)).toBe("first")
    expect(await second.visit(({ data }) => data.name)).toBe("second")
    expect(await bench.records()).toHaveLength(2)
  })

  it("a source that repeats itself without end is an error, and the first record stays untouched", async () => {
    const bench = sessionBench<Data>({ random: (bytes) => (bytes === 32 ? taken : randomText(bytes)) })
    await browser(bench.sessions).visit((session) => void (session.data.name = "first"))
    const before = await bench.inner.list()
    const { session, end } = await browser(bench.sessions).open()
    session.data.name = "second"
    expect(codeOf(await rejection(end()))).toBe("conflict")
    expect(await bench.inner.list()).toEqual(before)
  })
})

describe("REL-03, REL-04: a fault at each call of a rotation in turn", () => {
  const faults: Fault[] = ["refused", "lost-request", "lost-reply", "late", "held-request", "held-reply"]
  const verbs: StoreVerb[] = ["set", "delete", "get"]

  /** One rotation whose n-th call of a verb suffers; the session must be as it was, rotated, or (if unknown) ended. */
  async function rotateWith(fault: Fault, verb: StoreVerb, nth: number, times: number): Promise<number> {
    const { tab, faulty, stored, seen } = await started()
    const old = tab.cookie
    const { session, end } = await tab.open()
    session.data.name = "mine"
    faulty.inject(fault, { verb, nth, times })
    let outcome = "pending"
    const rotating = session.regenerate().then(
      () => "done",
      (error: unknown) => codeOf(error),
    )
    const watching = rotating.then((how) => (outcome = how))
    while (outcome === "pending") {
      await new Promise((resolve) => setImmediate(resolve))
      if (fault.startsWith("held")) await faulty.release()
    }
    await watching
    faulty.clear()
    const { struck } = faulty
    const label = `${fault} ${verb} ${nth}: ${outcome}`
    if (outcome === "done") {
      expect(await end(), label).toMatch(/^session=/)
      expect(await seen(tab.cookie), label).toEqual({ count: 1, name: "mine" })
      await faulty.release()
      expect(await seen(old), label).toBe(null)
      expect(await seen(tab.cookie), label).toEqual({ count: 1, name: "mine" })
    } else {
      expect(["unavailable", "unknown-outcome"], label).toContain(outcome)
      const before = await seen(old)
      if (outcome === "unavailable") expect(before, label).toEqual({ count: 1 })
      // The reply gives out no id, and keeps the change if the session is there.
      expect(await end(), label).toBe(null)
      expect(await seen(old), label).toEqual(before && { count: 1, name: "mine" })
      await faulty.release()
    }
    // What a failed clean-up or three late inserts leave behind are records that nobody has the id of.
    expect((await stored()).length, label).toBeLessThanOrEqual(1 + 3)
    return struck
  }

  for (const fault of faults) {
    it(`${fault}: never two sessions, never an old id that lives on beside the new one`, async () => {
      let positions = 0
      for (const verb of verbs) {
        for (let nth = 1; (await rotateWith(fault, verb, nth, 1)) > 0; nth++) positions++
        for (let nth = 1; nth <= 3; nth++) await rotateWith(fault, verb, nth, 5)
      }
      expect(positions).toBeGreaterThanOrEqual(2)
    })
  }

  it("where nobody can tell who removed the old id, the session ends: rather none than two", async () => {
    const { tab, faulty, stored, seen } = await started()
    const old = tab.cookie
    const { session, end } = await tab.open()
    faulty.inject("lost-reply", { verb: "delete" })
    expect(codeOf(await rejection(session.regenerate()))).toBe("unknown-outcome")
    expect(await end()).toBe(null)
    expect(await seen(old)).toBe(null)
    expect(await stored()).toEqual([])
  })
})
