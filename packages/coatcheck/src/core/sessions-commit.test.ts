import { describe, expect, it } from "vitest"
import { browser, hastyClock, rejection, request, sessionBench } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { memoryStore } from "../stores/memory.ts"
import { createSessions } from "./sessions.ts"

interface Data {
  count: number
  name: string
  cart: { lines: { sku: string; n: number }[] }
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
  const stored = async (): Promise<Partial<Data>> => JSON.parse((await bench.records())[0]!).data
  const other = browser(bench.another().sessions, { cookie: tab.cookie })
  return { ...bench, tab, other, stored }
}

describe("S5: what counts as a change", () => {
  it("one deep inside is stored", async () => {
    const { tab, stored } = await started({ cart: { lines: [{ sku: "a", n: 1 }] } })
    await tab.visit((session) => void session.data.cart!.lines[0]!.n++)
    expect(await stored()).toEqual({ cart: { lines: [{ sku: "a", n: 2 }] } })
    await tab.visit((session) => void session.data.cart!.lines.push({ sku: "b", n: 1 }))
    await tab.visit((session) => void session.data.cart!.lines.shift())
    expect((await stored()).cart!.lines).toEqual([{ sku: "b", n: 1 }])
  })

  const ways: Record<string, (data: Partial<Data>) => Data["cart"] | undefined> = {
    "its name": (data) => data.cart,
    destructuring: ({ cart }) => cart,
    "a copy of the top level": (data) => ({ ...data }).cart,
    "Object.assign": (data) => Object.assign({} as Partial<Data>, data).cart,
    "Object.values": (data) => Object.values(data)[1] as Data["cart"],
    "Object.entries": (data) => Object.entries(data)[1]![1] as Data["cart"],
    "a descriptor": (data) => Object.getOwnPropertyDescriptor(data, "cart")!.value as Data["cart"],
    "all descriptors": (data) => Object.getOwnPropertyDescriptors(data).cart!.value,
    "Reflect.get": (data) => Reflect.get(data, "cart"),
    inheritance: (data) => (Object.create(data) as Partial<Data>).cart,
  }
  for (const [way, reach] of Object.entries(ways)) {
    it(`one deep inside is stored when it was reached by ${way}`, async () => {
      const { tab, stored } = await started({ count: 1, cart: { lines: [{ sku: "a", n: 1 }] } })
      await tab.visit((session) => void reach(session.data)!.lines[0]!.n++)
      expect(await stored()).toEqual({ count: 1, cart: { lines: [{ sku: "a", n: 2 }] } })
    })
  }

  it("one by any other means than assignment is stored", async () => {
    const { tab, stored } = await started({ count: 1 })
    await tab.visit((session) =>
      Object.defineProperty(session.data, "count", { value: 2, enumerable: true, configurable: true, writable: true }),
    )
    expect(await stored()).toEqual({ count: 2 })
    await tab.visit((session) => Reflect.set(session.data, "count", 3))
    expect(await stored()).toEqual({ count: 3 })
    await tab.visit((session) => Object.assign(session.data, { name: "x" }))
    await tab.visit((session) => Reflect.deleteProperty(session.data, "count"))
    expect(await stored()).toEqual({ name: "x" })
  })

  it("data behaves as an object: keys, membership, JSON, equality of what it holds", async () => {
    const { tab } = await started({ count: 1, tags: ["a"] })
    await tab.visit((session) => {
      const { data } = session
      expect(session.data).toBe(data)
      expect(Object.keys(data)).toEqual(["count", "tags"])
      expect("count" in data && !("name" in data)).toBe(true)
      expect(JSON.stringify(data)).toBe('{"count":1,"tags":["a"]}')
      expect(data).toEqual({ count: 1, tags: ["a"] })
      expect(data.tags).toBe(data.tags)
    })
  })

  it("a key taken away, and all of them", async () => {
    const { tab, stored } = await started({ count: 1, name: "x" })
    await tab.visit((session) => delete session.data.name)
    expect(await stored()).toEqual({ count: 1 })
    await tab.visit((session) => void (session.data = {}))
    expect(await stored()).toEqual({})
    expect(await tab.visit((session) => session.isNew)).toBe(false)
  })

  it("a value that JSON writes the same way is none", async () => {
    const { tab, calls } = await started({ count: 0, tags: [] })
    await tab.visit((session) => {
      session.data.count = -0
      session.data.name = undefined as never
      session.data.tags = [...session.data.tags!]
    })
    expect(calls()).toBe("get 1")
  })

  it("a record that somebody else formatted is not written for that", async () => {
    const { tab, inner, calls } = await started()
    const { key, value } = (await inner.list()).entries[0]!
    const pretty = JSON.stringify(JSON.parse(value), null, 2)
    await inner.set(key, pretty)
    expect(await tab.visit((session) => session.handle !== null)).toBe(true)
    expect(calls()).toBe("get 1")
    expect((await inner.get(key))?.value).toBe(pretty)
  })
})

describe("data that is assigned as a whole", () => {
  it("is copied, so that an object of the application never takes in somebody's data", async () => {
    const bench = sessionBench<Data>()
    const defaults = { count: 0, tags: ["new"] }
    const alice = browser(bench.sessions)
    await alice.visit(async (session) => {
      session.data = defaults
      session.data.name = "alice"
      session.data.tags!.push("hers")
      await session.update((data) => void (data.count! += 1))
      session.data.count = 5
    })
    expect(defaults).toEqual({ count: 0, tags: ["new"] })
    expect(Object.isFrozen(defaults)).toBe(false)
    const bob = browser(bench.sessions)
    await bob.visit((session) => void (session.data = defaults))
    expect({ ...(await bob.visit(({ data }) => data)) }).toEqual({ count: 0, tags: ["new"] })
  })

  it("may be frozen, and be updated all the same", async () => {
    const { tab, stored } = await started()
    await tab.visit(async (session) => {
      session.data = Object.freeze({ count: 5 })
      await session.update((data) => void data.count!++)
      session.data.name = "x"
    })
    expect(await stored()).toEqual({ count: 6, name: "x" })
  })

  it("is refused when it is no object of JSON, at once", async () => {
    const { tab, stored } = await started()
    await tab.visit((session) => {
      for (const wrong of [null, undefined, 5, "text", [1], new Date(0), () => 1]) {
        expect(() => (session.data = wrong as never)).toThrow(TypeError)
      }
      for (const wrong of [{ big: 1n }, { a: { prototype: 1 } }]) {
        expect(() => (session.data = wrong as never)).toThrow(CoatcheckError)
      }
    })
    expect(await stored()).toEqual({ count: 1 })
  })
})

describe("parallel requests on one session", () => {
  it("S11: changes of different keys all stay, whoever comes last", async () => {
    const { tab, other, stored } = await started({ count: 1, name: "x" })
    const [a, b] = [await tab.open(), await other.open()]
    a.session.data.count = 2
    b.session.data.tags = ["b"]
    delete b.session.data.name
    await b.end()
    await a.end()
    expect(await stored()).toEqual({ count: 2, tags: ["b"] })
  })

  it("of the same key the later writer's stays, and that is told", async () => {
    const { tab, other, stored, events } = await started()
    const [a, b] = [await tab.open(), await other.open()]
    a.session.data.count = 2
    b.session.data.count = 3
    await b.end()
    await a.end()
    expect(await stored()).toEqual({ count: 2 })
    expect(events.filter(({ type }) => type === "conflict")).toEqual([
      { type: "conflict", handle: a.session.handle, keys: ["count"] },
    ])
  })

  it('unless the rule says "theirs", for all keys or for one', async () => {
    for (const options of [{ onConflict: "theirs" }, { rules: { count: "theirs" } }] as const) {
      const { tab, other, stored } = await started({ count: 1 }, options)
      const [a, b] = [await tab.open(), await other.open()]
      a.session.data.count = 2
      b.session.data.count = 3
      await b.end()
      await a.end()
      expect(await stored()).toEqual({ count: 3 })
    }
  })

  it('"error": the later commit fails with `conflict`, and none of its changes is kept', async () => {
    const { tab, other, stored } = await started({ count: 1 }, { onConflict: "error", rules: { tags: "union" } })
    const [a, b] = [await tab.open(), await other.open()]
    a.session.data.count = 2
    a.session.data.name = "a"
    b.session.data.count = 3
    await b.end()
    expect(codeOf(await rejection(a.end()))).toBe("conflict")
    expect(await stored()).toEqual({ count: 3 })
    // What others changed elsewhere is no conflict.
    const [c, d] = [await tab.open(), await other.open()]
    c.session.data.name = "c"
    d.session.data.count = 4
    await d.end()
    await c.end()
    expect(await stored()).toEqual({ count: 4, name: "c" })
  })

  it('"union" and a function of both sides', async () => {
    const { tab, other, stored } = await started(
      { tags: ["x"], count: 5 },
      { rules: { tags: "union", count: (_base, mine, theirs) => Math.max(Number(mine), Number(theirs)) } },
    )
    const [a, b] = [await tab.open(), await other.open()]
    a.session.data.tags = ["a"]
    b.session.data.tags!.push("b")
    a.session.data.count = 7
    b.session.data.count = 9
    await b.end()
    await a.end()
    expect(await stored()).toEqual({ tags: ["b", "a"], count: 9 })
  })

  it("a rule that throws fails the commit with its own error", async () => {
    const failure = new RangeError("no")
    const rules = {
      count: () => {
        throw failure
      },
    }
    const { tab, other, stored } = await started({ count: 1 }, { rules })
    const [a, b] = [await tab.open(), await other.open()]
    a.session.data.count = 2
    b.session.data.count = 3
    await b.end()
    expect(await rejection(a.end())).toBe(failure)
    expect(await stored()).toEqual({ count: 3 })
  })

  it("a conflict costs one call more and no read", async () => {
    const { tab, other, calls } = await started()
    const a = await tab.open()
    await other.visit((session) => void (session.data.name = "b"))
    a.session.data.count = 2
    await a.end()
    expect(calls()).toBe("get 1, set 2")
  })

  it("F-CONC-3: a writer that slept between its read and its write overwrites nothing", async () => {
    const { tab, other, stored, faulty, events } = await started({ count: 1 }, { rules: { count: "add" } })
    const sleeper = await tab.open()
    sleeper.session.data.count!++
    faulty.inject("held-request", { verb: "set" })
    const ending = sleeper.end()
    await faulty.whenHeld()
    await other.visit((session) => {
      session.data.count! += 10
      session.data.name = "awake"
    })
    await faulty.release()
    await ending
    expect(await stored()).toEqual({ count: 12, name: "awake" })
    expect(events.map(({ type }) => type)).toContain("conflict")
  })
})

describe('S11: 100 parallel increments by assignment, under the rule "add"', () => {
  for (const instances of [1, 2]) {
    it(`are exactly 100 more on ${instances === 1 ? "one instance" : "two instances over one store"}`, async () => {
      const clock = hastyClock()
      const store = memoryStore({ clock })
      const systems = Array.from({ length: instances }, () =>
        createSessions<{ count: number }>({ store, clock, rules: { count: "add" } }),
      )
      const first = browser(systems[0]!)
      await first.visit((session) => void (session.data.count = 0))
      await Promise.all(
        Array.from({ length: 100 }, async (_, i) => {
          const tab = browser(systems[i % instances]!, { cookie: first.cookie })
          const { session, end } = await tab.open()
          for (let turn = 0; turn < i % 7; turn++) await Promise.resolve()
          session.data.count = (session.data.count ?? 0) + 1
          await end()
        }),
      )
      expect(await first.visit((session) => session.data.count)).toBe(100)
    })
  }
})

describe("after the commit", () => {
  it("a second commit is the first one", async () => {
    const { tab, calls } = await started()
    const { session, end } = await tab.open()
    session.data.count = 2
    const [one, two] = [session.commit(), session.commit()]
    expect(two).toBe(one)
    await end()
    expect(calls()).toBe("get 1, set 1")
  })

  it("a handler may commit by itself, and sees what the reply will say", async () => {
    const bench = sessionBench<Data>()
    const { exchange, end } = request()
    const session = await bench.sessions.open(exchange)
    session.data.count = 1
    expect((await session.commit()).setCookie).toMatch(/^session=/)
    expect(session.handle).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(await end()).toMatch(/^session=/)
    expect(bench.calls()).toBe("set 1")
  })

  for (const [name, change] of [
    ["changed", true],
    ["only read", false],
  ] as const) {
    it(`data that was ${name} is read-only at every depth, and says why`, async () => {
      const { tab, stored } = await started({ count: 1, cart: { lines: [{ sku: "a", n: 1 }] } })
      const { session, end } = await tab.open()
      const held = session.data
      if (change) session.data.count = 2
      await end()
      const before = await stored()
      const attempts: (() => unknown)[] = [
        () => (session.data.count = 3),
        () => (session.data.name = "new"),
        () => delete session.data.count,
        () => (session.data.cart!.lines[0]!.n = 3),
        () => session.data.cart!.lines.push({ sku: "b", n: 1 }),
        () => Object.defineProperty(session.data, "count", { value: 3 }),
        () => Object.setPrototypeOf(session.data, {}),
        () => (session.data = { count: 3 }),
      ]
      for (const attempt of attempts) expect(attempt).toThrow(/on its way/)
      // Reading goes on, lists are lists.
      expect(session.data.cart!.lines.map(({ sku }) => sku)).toEqual(["a"])
      expect(Array.isArray(session.data.cart!.lines)).toBe(true)
      expect(JSON.stringify(session.data)).toBe(JSON.stringify(before))
      // A reference from before takes no change that nobody would write.
      expect(() => (held.count = 9)).toThrow(/on its way/)
      expect(() => delete held.count).toThrow(/on its way/)
      expect(await stored()).toEqual(before)
    })
  }

  it("id and cookie can't change any more", async () => {
    const { tab } = await started()
    const { session, end } = await tab.open()
    await end()
    expect(codeOf(await rejection(session.regenerate()))).toBe("committed")
    expect(codeOf(await rejection(session.destroy()))).toBe("committed")
  })
})

describe("a commit that fails", () => {
  it("S14: rejects with the store's error, keeps nothing, and gives no cookie", async () => {
    const bench = sessionBench<Data>()
    const tab = browser(bench.sessions)
    bench.faulty.inject("refused", { verb: "set", times: 2 })
    const first = await tab.open()
    first.session.data.count = 1
    expect(codeOf(await rejection(first.end()))).toBe("unavailable")
    expect(tab.cookie).toBe(null)
    expect(await bench.records()).toEqual([])

    bench.faulty.clear()
    await tab.visit((session) => void (session.data.count = 1))
    bench.faulty.inject("refused", { verb: "set" })
    const second = await tab.open()
    second.session.data.count = 2
    expect(codeOf(await rejection(second.end()))).toBe("unavailable")
    expect(JSON.parse((await bench.records())[0]!).data).toEqual({ count: 1 })
    expect(await tab.visit((session) => session.data.count)).toBe(1)
  })

  it("C7: data over the store's limit is a clear error before the reply", async () => {
    const { tab, stored, inner } = await started()
    const { session, end } = await tab.open()
    session.data.name = "x".repeat(1_100_000)
    const error = await rejection(end())
    expect(codeOf(error)).toBe("too-large")
    expect(await stored()).toEqual({ count: 1 })
    expect((await inner.list()).entries).toHaveLength(1)
  })

  it("data that is no JSON is an error before the reply, of a new session and of one that is kept", async () => {
    const { tab, sessions, stored } = await started()
    for (const one of [tab, browser(sessions)]) {
      const { session, end } = await one.open()
      session.data.count = 1n as never
      expect(codeOf(await rejection(end()))).toBe("invalid")
      // The same again: a commit has one outcome.
      expect(codeOf(await rejection(Promise.resolve().then(() => session.commit())))).toBe("invalid")
    }
    expect(await stored()).toEqual({ count: 1 })
  })

  it("an unknown outcome is settled by one look: what landed counts", async () => {
    for (const fault of ["lost-reply", "lost-request"] as const) {
      const { tab, stored, faulty, calls } = await started()
      faulty.inject(fault, { verb: "set" })
      await tab.visit((session) => void (session.data.count = 2))
      expect(await stored()).toEqual({ count: 2 })
      expect(calls()).toBe(fault === "lost-reply" ? "get 2, set 1" : "get 2, set 2")
      expect(faulty.struck).toBe(1)
    }
  })

  it("REL-03, REL-04: a fault at each call of a creation in turn: a cookie leads to a session, and without one nobody has it", async () => {
    let positions = 0
    for (const fault of ["refused", "lost-request", "lost-reply", "late"] as const) {
      for (const times of [1, 2, 9]) {
        for (const verb of ["set", "get"] as const) {
          for (let nth = 1; ; nth++) {
            const bench = sessionBench<Data>()
            const tab = browser(bench.sessions)
            const { session, end } = await tab.open()
            session.data.count = 1
            if (verb === "get") bench.faulty.inject("lost-reply", { verb: "set" })
            const before = bench.faulty.struck
            bench.faulty.inject(fault, { verb, nth, times })
            const outcome = await end().then(() => "done", codeOf)
            bench.faulty.clear()
            await bench.faulty.release()
            const label = `${fault} ${verb} ${nth} x ${times}: ${outcome}`
            expect(["done", "unavailable", "unknown-outcome"], label).toContain(outcome)
            expect(tab.cookie !== null, label).toBe(outcome === "done")
            if (outcome === "done") expect(await tab.visit(({ data }) => data.count), label).toBe(1)
            if (outcome === "unavailable") expect(await bench.records(), label).toEqual([])
            if (bench.faulty.struck - before <= (verb === "get" ? 1 : 0)) break
            positions++
          }
        }
      }
    }
    expect(positions).toBeGreaterThan(12)
  })

  it("REL-04: an outcome that stays unknown is told as that", async () => {
    const { tab, faulty } = await started()
    const { session, end } = await tab.open()
    session.data.count = 2
    faulty.inject("lost-reply", { verb: "set" })
    faulty.inject("refused", { verb: "get" })
    expect(codeOf(await rejection(end()))).toBe("unknown-outcome")
  })
})
