import { describe, expect, it } from "vitest"
import { browser, hastyClock, rejection, request, sessionBench, thenable } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { memoryStore } from "../stores/memory.ts"
import { createSessions } from "./sessions.ts"

interface Data {
  count: number
  name: string
  tags: string[]
}

const increment = (data: Partial<Data>): void => {
  data.count = (data.count ?? 0) + 1
}

function codeOf(error: unknown): string {
  return error instanceof CoatcheckError ? error.code : String(error)
}

async function started(data: Partial<Data> = { count: 0 }, options: Parameters<typeof sessionBench<Data>>[0] = {}) {
  const bench = sessionBench<Data>(options)
  const tab = browser(bench.sessions)
  await tab.visit((session) => void (session.data = data))
  bench.calls()
  bench.events.length = 0
  const stored = async (): Promise<Partial<Data>> => JSON.parse((await bench.records())[0]!).data
  const other = browser(bench.another().sessions, { cookie: tab.cookie })
  return { ...bench, tab, other, stored }
}

describe("S11: update is exact", () => {
  for (const instances of [1, 2]) {
    it(`100 in parallel are 100 more on ${instances === 1 ? "one instance" : "two instances over one store"}`, async () => {
      const clock = hastyClock()
      const store = memoryStore({ clock })
      const systems = Array.from({ length: instances }, () => createSessions<Data>({ store, clock }))
      const first = browser(systems[0]!)
      await first.visit((session) => void (session.data.count = 0))
      await Promise.all(
        Array.from({ length: 100 }, (_, i) =>
          browser(systems[i % instances]!, { cookie: first.cookie }).visit((session) => session.update(increment)),
        ),
      )
      expect(await first.visit((session) => session.data.count)).toBe(100)
    })
  }

  it("each of 100 parallel updates gets the result of its own change, as whoever draws numbers needs", async () => {
    const { tab, sessions } = await started()
    const draw = () => browser(sessions, { cookie: tab.cookie }).visit((session) => session.update(increment))
    const numbers = (await Promise.all(Array.from({ length: 100 }, draw))).map(({ count }) => count)
    expect(numbers.toSorted((a = 0, b = 0) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
  })

  it("a burst of 200 in one process costs a few calls", async () => {
    const { tab, sessions, calls, stored } = await started()
    const visits = await Promise.all(
      Array.from({ length: 200 }, () => browser(sessions, { cookie: tab.cookie }).open()),
    )
    calls()
    await Promise.all(visits.map(({ session }) => session.update(increment)))
    expect(await stored()).toEqual({ count: 200 })
    const made = calls()
    expect(made).toMatch(/^set \d+$/)
    expect(Number(made.slice(4))).toBeLessThanOrEqual(20)
  })

  it("many at once in one request are as exact", async () => {
    const { tab, stored, calls } = await started()
    await tab.visit(async (session) => {
      const results = await Promise.all(Array.from({ length: 100 }, () => session.update(increment)))
      expect(new Set(results.map(({ count }) => count)).size).toBe(100)
      expect(session.data.count).toBe(100)
    })
    expect(await stored()).toEqual({ count: 100 })
    expect(calls()).toBe("get 1, set 2")
  })

  it("works on the newest data, not on what this request has read", async () => {
    const { tab, other, stored } = await started({ count: 5 })
    const { session, end } = await tab.open()
    expect(session.data.count).toBe(5)
    await other.visit((one) => void (one.data = { count: 40, name: "x" }))
    const data = await session.update((newest) => void (newest.count! += 2))
    expect(data.count).toBe(42)
    expect({ ...session.data }).toEqual({ count: 42, name: "x" })
    await end()
    expect(await stored()).toEqual({ count: 42, name: "x" })
  })

  it("also where it decides to change nothing", async () => {
    const { tab, other } = await started({ count: 5 })
    const { session } = await tab.open()
    expect(session.data.count).toBe(5)
    await other.visit((one) => void (one.data.count = 6))
    let seen: number | undefined
    await session.update((data) => {
      seen = data.count
    })
    expect(seen).toBe(6)
    expect(session.data.count).toBe(6)
    await other.visit((one) => one.destroy())
    expect(codeOf(await rejection(session.update(() => {})))).toBe("ended")
  })

  it("gives the change a copy, so that what it keeps of it changes nothing", async () => {
    const { tab, stored } = await started({ tags: ["a"] })
    await tab.visit(async (session) => {
      let kept: Partial<Data> = {}
      await session.update((data) => {
        kept = data
        data.count = 1
      })
      kept.tags!.push("b")
      kept.name = "no"
    })
    expect(await stored()).toEqual({ tags: ["a"], count: 1 })
  })

  it("is asked again on a conflict, and counts once", async () => {
    const { tab, other, faulty, stored } = await started()
    const { session } = await tab.open()
    faulty.inject("held-request", { verb: "set" })
    const seen: number[] = []
    const updating = session.update((data) => {
      seen.push(data.count!)
      increment(data)
    })
    await faulty.whenHeld()
    await other.visit((one) => one.update((data) => void (data.count = 10)))
    await faulty.release()
    await updating
    expect(seen).toEqual([0, 10])
    expect(await stored()).toEqual({ count: 11 })
  })
})

describe("update and what the handler changed itself", () => {
  it("its own changes come first, and leave in the same write", async () => {
    const { tab, stored, calls } = await started({ count: 1 })
    await tab.visit(async (session) => {
      session.data.count = 10
      session.data.name = "x"
      const data = await session.update(increment)
      expect({ ...data }).toEqual({ count: 11, name: "x" })
    })
    expect(await stored()).toEqual({ count: 11, name: "x" })
    expect(calls()).toBe("get 1, set 1")
  })

  for (const rule of ["mine", "add"] as const) {
    it(`also before the session exists, under the rule "${rule}"`, async () => {
      const bench = sessionBench<Data>({ rules: { count: rule } })
      const tab = browser(bench.sessions)
      await tab.visit(async (session) => {
        session.data.count = 1
        session.data.name = "x"
        await session.update(increment)
        expect({ ...session.data }).toEqual({ count: 2, name: "x" })
      })
      expect({ ...(await tab.visit(({ data }) => data)) }).toEqual({ count: 2, name: "x" })
      expect(bench.calls()).toBe("get 1, set 1")
    })
  }

  it("a change that throws fails alone: the handler's own changes stay, also for other updates under way", async () => {
    const { tab, stored } = await started()
    const failure = new RangeError("no")
    await tab.visit(async (session) => {
      session.data.name = "mine"
      const [bad, good] = await Promise.allSettled([
        session.update(() => {
          throw failure
        }),
        session.update((data) => void (data.tags = [`after ${data.name}`])),
      ])
      expect(bad).toMatchObject({ status: "rejected", reason: failure })
      expect(good.status).toBe("fulfilled")
    })
    expect(await stored()).toEqual({ count: 0, name: "mine", tags: ["after mine"] })
  })

  it("changes made while an update is under way are kept, each once", async () => {
    const { tab, faulty, stored } = await started({ count: 0 }, { rules: { count: "add" } })
    const { session, end } = await tab.open()
    faulty.inject("held-reply", { verb: "set" })
    const { data } = session
    const updating = session.update(increment)
    await faulty.whenHeld()
    data.count = (data.count ?? 0) + 10
    data.name = "meanwhile"
    await faulty.release()
    await updating
    // The reference from before still is the session's data.
    expect(session.data).toBe(data)
    expect({ ...data }).toEqual({ count: 11, name: "meanwhile" })
    await end()
    expect(await stored()).toEqual({ count: 11, name: "meanwhile" })
  })

  it("what another request wrote shows after an update, and is not written again", async () => {
    const { tab, other, stored, calls } = await started({ count: 0 })
    const { session, end } = await tab.open()
    session.data.name = "mine"
    await other.visit((one) => void (one.data.tags = ["theirs"]))
    await session.update(increment)
    expect({ ...session.data }).toEqual({ count: 1, name: "mine", tags: ["theirs"] })
    calls()
    await end()
    expect(calls()).toBe("")
    expect(await stored()).toEqual({ count: 1, name: "mine", tags: ["theirs"] })
  })

  it("each of several updates in a row sees the one before", async () => {
    const { tab, faulty, stored } = await started()
    const { session, end } = await tab.open()
    faulty.inject("held-request", { verb: "set", times: 2 })
    const first = session.update((data) => void (data.count = 1))
    await faulty.whenHeld()
    session.data.name = "between"
    const second = session.update((data) => void (data.tags = [`${data.count} ${data.name}`]))
    const seen = first.then(() => ({ ...session.data }))
    await faulty.release()
    await faulty.whenHeld()
    await new Promise((resolve) => setImmediate(resolve)) // the first one has landed and is through
    // `data` never shows a state without what this request has changed meanwhile.
    expect(session.data.name).toBe("between")
    await faulty.release()
    expect((await first).count).toBe(1)
    expect(await seen).toEqual({ count: 1, name: "between", tags: ["1 between"] })
    expect((await second).tags).toEqual(["1 between"])
    await end()
    expect(await stored()).toEqual({ count: 1, name: "between", tags: ["1 between"] })
  })

  it('under the rule "error" own changes that don\'t fit fail the update, which then did not happen, and the commit', async () => {
    const { tab, other, stored } = await started({ count: 0, name: "x" }, { rules: { name: "error" } })
    const { session, end } = await tab.open()
    session.data.name = "mine"
    await other.visit((one) => void (one.data.name = "theirs"))
    const [first, second] = await Promise.allSettled([session.update(increment), session.update(increment)])
    expect(codeOf((first as PromiseRejectedResult).reason)).toBe("conflict")
    expect(codeOf((second as PromiseRejectedResult).reason)).toBe("conflict")
    expect(await stored()).toEqual({ count: 0, name: "theirs" })
    expect(codeOf(await rejection(session.update(increment)))).toBe("conflict")
    expect(codeOf(await rejection(Promise.resolve().then(end)))).toBe("conflict")
    expect(await stored()).toEqual({ count: 0, name: "theirs" })
  })

  it("an update that landed is told as done, although a later own change fits nowhere: that fails the commit", async () => {
    const { tab, other, faulty, stored } = await started({ count: 0, name: "x" }, { rules: { name: "error" } })
    const { session, end } = await tab.open()
    await other.visit((one) => void (one.data.name = "theirs"))
    faulty.inject("held-reply", { verb: "set", nth: 2 })
    const updating = session.update(increment)
    await faulty.whenHeld()
    session.data.name = "mine"
    await faulty.release()
    await updating
    expect(await stored()).toEqual({ count: 1, name: "theirs" })
    expect(codeOf(await rejection(Promise.resolve().then(end)))).toBe("conflict")
    expect(await stored()).toEqual({ count: 1, name: "theirs" })
  })
})

describe("update before the session exists", () => {
  it("creates it, and has it kept when it resolves", async () => {
    const bench = sessionBench<Data>()
    const tab = browser(bench.sessions)
    const { session, end } = await tab.open()
    expect((await session.update(increment)).count).toBe(1)
    expect((await bench.records()).map((text) => JSON.parse(text).data)).toEqual([{ count: 1 }])
    expect(session.isNew).toBe(true)
    expect(await end()).toMatch(/^session=/)
    expect(bench.calls()).toBe("set 1")
    expect(bench.events.map(({ type }) => type)).toEqual(["created"])
  })

  it("several at once create one session, and each is kept when it resolves", async () => {
    const bench = sessionBench<Data>()
    const { session } = await browser(bench.sessions).open()
    await Promise.all(
      Array.from({ length: 10 }, async (_, i) => {
        const data = await session.update(increment)
        expect(data.count).toBeGreaterThan(i)
      }),
    )
    expect((await bench.records()).map((text) => JSON.parse(text).data)).toEqual([{ count: 10 }])
  })

  it("changes that the handler makes meanwhile are kept too", async () => {
    const bench = sessionBench<Data>()
    const { session, end } = await browser(bench.sessions).open()
    bench.faulty.inject("held-request", { verb: "set" })
    const updating = session.update(increment)
    await bench.faulty.whenHeld()
    session.data.name = "meanwhile"
    await bench.faulty.release()
    await updating
    await end()
    expect(JSON.parse((await bench.records())[0]!).data).toEqual({ count: 1, name: "meanwhile" })
  })

  it("REL-04: one that failed has left nothing behind, so it may be tried again", async () => {
    const bench = sessionBench<Data>()
    const { session, end } = await browser(bench.sessions).open()
    bench.faulty.inject("refused", { verb: "set" })
    expect(codeOf(await rejection(session.update(increment)))).toBe("unavailable")
    expect({ ...session.data }).toEqual({})
    expect((await session.update(increment)).count).toBe(1)
    await end()
    expect((await bench.records()).map((text) => JSON.parse(text).data)).toEqual([{ count: 1 }])
  })

  it("one that throws creates nothing", async () => {
    const bench = sessionBench<Data>()
    const { session, end } = await browser(bench.sessions).open()
    const failure = new RangeError("no")
    expect(
      await rejection(
        session.update(() => {
          throw failure
        }),
      ),
    ).toBe(failure)
    expect(await end()).toBe(null)
    expect(bench.calls()).toBe("")
  })

  it("one that changes nothing makes a session all the same, since it was asked for", async () => {
    const bench = sessionBench<Data>()
    await browser(bench.sessions).visit((session) => session.update(() => {}))
    expect(await bench.records()).toHaveLength(1)
  })
})

describe("update after the reply", () => {
  it("works on a session that was kept by then", async () => {
    const { tab, stored } = await started()
    const { session, end } = await tab.open()
    session.data.count = 5
    await end()
    const data = await session.update(increment)
    expect(data.count).toBe(6)
    expect(await stored()).toEqual({ count: 6 })
    data.count = 9 // a copy, which nobody keeps
    expect(() => (session.data.count = 9)).toThrow(/on its way/)
    await Promise.all([session.update(increment), session.update(increment)])
    expect(session.data.count).toBe(8)
  })

  it("also on one that this very reply created", async () => {
    const bench = sessionBench<Data>()
    const { session, end } = await browser(bench.sessions).open()
    session.data.count = 1
    await end()
    expect((await session.update(increment)).count).toBe(2)
  })

  it("waits for the commit that is under way", async () => {
    const { tab, faulty, stored } = await started()
    const { session, end } = await tab.open()
    session.data.count = 5
    faulty.inject("held-request", { verb: "set" })
    const ending = end()
    await faulty.whenHeld()
    const updating = session.update(increment)
    await faulty.release()
    await ending
    await updating
    expect(await stored()).toEqual({ count: 6 })
  })

  it("is refused where the reply created none, was the end of it, or failed", async () => {
    const { tab, sessions, faulty } = await started()
    const none = await browser(sessions).open()
    await none.end()
    expect(codeOf(await rejection(none.session.update(increment)))).toBe("committed")

    const failed = await tab.open()
    failed.session.data.count = 9
    faulty.inject("refused", { verb: "set" })
    await rejection(failed.end())
    expect(codeOf(await rejection(failed.session.update(increment)))).toBe("unavailable")

    const ended = await tab.open()
    await ended.session.destroy()
    await ended.end()
    expect(codeOf(await rejection(ended.session.update(increment)))).toBe("ended")
  })

  it("keeps the session alive", async () => {
    const { tab, clock, inner } = await started({ count: 0 }, { idle: "30m" })
    const { session, end } = await tab.open()
    await end()
    clock.advance(10 * 60_000)
    await session.update(increment)
    expect((await inner.list()).entries[0]!.expiresAt).toBe(clock.now() + 30 * 60_000)
  })
})

describe("an update that a handler did not wait for", () => {
  it("is kept before the reply leaves", async () => {
    const kept = await started()
    const fresh = sessionBench<Data>()
    for (const { bench, tab } of [
      { bench: kept, tab: kept.tab },
      { bench: fresh, tab: browser(fresh.sessions) },
    ]) {
      const { session, end } = await tab.open()
      bench.faulty.inject("held-request", { verb: "set" })
      const updating = session.update(increment)
      let isReplied = false
      const ending = end().finally(() => (isReplied = true))
      await bench.faulty.whenHeld()
      expect(isReplied).toBe(false)
      await bench.faulty.release()
      await ending
      await updating
      expect(JSON.parse((await bench.records())[0]!).data).toEqual({ count: 1 })
      expect(tab.cookie).not.toBe(null)
    }
  })

  it("a late one stands behind a new id", async () => {
    const { tab, faulty, stored } = await started()
    const { session, end } = await tab.open()
    faulty.inject("held-request", { verb: "set" })
    const updating = session.update(increment)
    await faulty.whenHeld()
    const rotating = session.regenerate()
    const late = session.update(increment)
    await faulty.release()
    await Promise.all([updating, rotating, late])
    await end()
    expect(await stored()).toEqual({ count: 2 })
    expect(await tab.visit((one) => one.data.count)).toBe(2)
  })
})

describe("update refuses", () => {
  it("a function that is async, and lets nothing of it through", async () => {
    const { tab, stored, sessions } = await started()
    for (const one of [tab, browser(sessions)]) {
      await one.visit(async (session) => {
        const changes = [
          async (data: Partial<Data>) => increment(data),
          () => Promise.reject(new Error("later")),
          (data: Partial<Data>) => thenable(() => increment(data)),
        ]
        for (const change of changes) {
          const error = await rejection(session.update(change))
          expect(error).toBeInstanceOf(TypeError)
          expect(String(error)).toContain("synchronous")
        }
      })
    }
    expect(await stored()).toEqual({ count: 0 })
  })

  it("data that is no JSON or too large, alone", async () => {
    const { tab, stored } = await started()
    await tab.visit(async (session) => {
      expect(codeOf(await rejection(session.update((data) => void (data.count = 1n as never))))).toBe("invalid")
      expect(codeOf(await rejection(session.update((data) => void (data.name = "x".repeat(1_100_000)))))).toBe(
        "too-large",
      )
      await session.update(increment)
    })
    expect(await stored()).toEqual({ count: 1 })
  })

  it("changes that come when it has ended, and that end is told once", async () => {
    const { tab, other, events } = await started()
    const { session, end } = await tab.open()
    await other.visit((one) => one.destroy())
    const results = await Promise.allSettled([1, 2, 3].map(() => session.update(increment)))
    expect(results.map((result) => (result.status === "rejected" ? codeOf(result.reason) : "kept"))).toEqual([
      "ended",
      "ended",
      "ended",
    ])
    await end()
    expect(events.filter((event) => event.type === "ended")).toHaveLength(1)
  })

  it("a session that was ended, by this request or by somebody else", async () => {
    const { tab, other } = await started()
    const mine = await tab.open()
    const theirs = await other.open()
    await mine.session.destroy()
    expect(codeOf(await rejection(mine.session.update(increment)))).toBe("ended")
    expect(codeOf(await rejection(theirs.session.update(increment)))).toBe("ended")
    expect(await theirs.end()).toBe(null)
  })

  it("what the store refuses, and the page goes on", async () => {
    const { tab, faulty, stored } = await started()
    const { session, end } = await tab.open()
    faulty.inject("refused", { verb: "set" })
    expect(codeOf(await rejection(session.update(increment)))).toBe("unavailable")
    expect(session.data.count).toBe(0)
    await session.update(increment)
    await end()
    expect(await stored()).toEqual({ count: 1 })
  })

  it("leaves lists and objects inside that nobody else changed to those who hold them", async () => {
    const { tab, other, stored } = await started({ count: 0, tags: ["a"], name: "x" })
    await tab.visit(async (session) => {
      const { tags } = session.data
      await session.update(increment)
      tags!.push("b")
      await other.visit((foreign) => void (foreign.data.name = "y"))
      await session.update(increment)
      tags!.push("c")
    })
    expect(await stored()).toEqual({ count: 2, tags: ["a", "b", "c"], name: "y" })
  })

  it("with own changes on board the page does not go on: they may not be lost in silence", async () => {
    const { tab, faulty, stored } = await started()
    const { session, end } = await tab.open()
    session.data.name = "mine"
    faulty.inject("refused", { verb: "set" })
    expect(codeOf(await rejection(session.update(increment)))).toBe("unavailable")
    expect(codeOf(await rejection(Promise.resolve().then(end)))).toBe("unavailable")
    expect(await stored()).toEqual({ count: 0 })
  })

  it("an update too many: `conflict` when its time is up", async () => {
    const clock = hastyClock()
    const inner = memoryStore({ clock })
    const store = {
      ...inner,
      set: async (...call: Parameters<typeof inner.set>) => {
        const [key, value] = call
        const current = await inner.get(key)
        if (current) await inner.set(key, value.replace(/"count":\d+/, '"count":99'))
        return inner.set(...call)
      },
    }
    const sessions = createSessions<Data>({ store, clock, deadline: "300ms" })
    const tab = browser(sessions)
    await tab.visit((session) => void (session.data.count = 0))
    const { exchange } = request({ cookie: tab.cookie })
    const session = await sessions.open(exchange)
    const began = clock.now()
    expect(codeOf(await rejection(session.update(increment)))).toBe("conflict")
    expect(clock.now() - began).toBeLessThan(350)
  })
})
