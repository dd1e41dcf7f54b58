import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { CoatcheckError } from "../errors.ts"
import { mergeInto, type Rule, type Rules, rulesFrom } from "./merge.ts"
import type { SessionData } from "./record.ts"

const absent = Symbol("absent")

/** Data as records give it: without a prototype. */
function data(members: object): SessionData {
  return Object.assign(Object.create(null) as SessionData, members)
}

function merge(base: object, mine: object, theirs: object, rules: Rules): { result: SessionData; conflicts: string[] } {
  const result = data(theirs)
  return { result, conflicts: mergeInto(result, data(base), data(mine), rules) }
}

function by(rule: Rule): Rules {
  return { of: new Map([["key", rule]]), others: "mine" }
}

function at(members: SessionData, key: string): unknown {
  return Object.hasOwn(members, key) ? members[key] : absent
}

const keys = ["a", "b", "c", "__proto__", "constructor", "0"]
const values = fc.oneof(
  fc.constantFrom(null, true, "", "x", 0, 1),
  fc.array(fc.constantFrom(1, 2, "x"), { maxLength: 3 }),
  fc.dictionary(fc.constantFrom("p", "q"), fc.constantFrom(1, 2), { maxKeys: 2 }),
)
const members = fc
  .uniqueArray(fc.tuple(fc.constantFrom(...keys), values), { selector: ([key]) => key })
  .map((entries) => {
    const made = data({})
    for (const [key, value] of entries) made[key] = value
    return made
  })
const rules = fc.constantFrom<Rules["others"]>("mine", "theirs")

function same(a: unknown, b: unknown): boolean {
  return a === b || (a !== absent && b !== absent && canonical(a) === canonical(b))
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}

describe("merging one request's changes into newer data", () => {
  it("S11: no change that one side alone made is ever lost", () => {
    fc.assert(
      fc.property(members, members, members, rules, (base, mine, theirs, others) => {
        const { result } = merge(base, mine, theirs, { of: new Map(), others })
        for (const key of [...keys, "never there"]) {
          const [was, wanted, there] = [at(base, key), at(mine, key), at(theirs, key)]
          if (same(was, wanted)) expect(at(result, key)).toEqual(there)
          else if (same(was, there)) expect(at(result, key)).toEqual(wanted)
        }
      }),
    )
  })

  it("decides by the rule what both sides changed, and names exactly those keys", () => {
    fc.assert(
      fc.property(members, members, members, rules, (base, mine, theirs, others) => {
        const { result, conflicts } = merge(base, mine, theirs, { of: new Map(), others })
        const expected = keys.filter((key) => {
          const [was, wanted, there] = [at(base, key), at(mine, key), at(theirs, key)]
          return !same(was, wanted) && !same(was, there) && !same(wanted, there)
        })
        expect(conflicts.toSorted()).toEqual(expected.toSorted())
        for (const key of expected) expect(at(result, key)).toEqual(at(others === "mine" ? mine : theirs, key))
      }),
    )
  })

  it('fails as a whole where a rule is "error", and leaves the newer data as it was', () => {
    fc.assert(
      fc.property(members, members, members, (base, mine, theirs) => {
        const result = data(theirs)
        const mustFail = merge(base, mine, theirs, { of: new Map(), others: "mine" }).conflicts.length > 0
        let failure: unknown = null
        try {
          mergeInto(result, base, mine, { of: new Map(), others: "error" })
        } catch (error) {
          failure = error
        }
        expect(failure instanceof CoatcheckError && failure.code === "conflict").toBe(mustFail)
        if (mustFail) expect(result).toEqual(theirs)
      }),
    )
  })

  it("sees no conflict where both sides came to the same value, in whatever order its members are", () => {
    const outcome = merge({ key: 1 }, { key: { p: 1, q: [2] } }, { key: { q: [2], p: 1 } }, by("error"))
    expect(outcome).toEqual({ result: data({ key: { p: 1, q: [2] } }), conflicts: [] })
    expect(merge({ key: 1 }, {}, {}, by("error"))).toEqual({ result: data({}), conflicts: [] })
  })

  it("tells values of different kinds apart", () => {
    const pairs: [unknown, unknown][] = [
      [null, {}],
      [[], {}],
      [[1], { 0: 1 }],
      [0, "0"],
      [{ p: 1 }, { p: 1, q: 1 }],
      [{ p: 1, q: 1 }, { p: 1 }],
      [[1], [1, 1]],
      [{ p: 1 }, { q: 1 }],
      [false, null],
    ]
    for (const [mine, theirs] of pairs) {
      expect(merge({ key: "was" }, { key: mine }, { key: theirs }, by("mine")).conflicts).toEqual(["key"])
      // What only looks unchanged would be lost.
      expect(merge({ key: theirs }, { key: mine }, { key: theirs }, by("mine")).result).toEqual(data({ key: mine }))
    }
  })

  it("treats __proto__ as any other name and touches no prototype", () => {
    const hostile = data({})
    hostile["__proto__"] = { polluted: true }
    const { result } = merge({}, hostile, { key: 1 }, by("mine"))
    expect(Object.getPrototypeOf(result)).toBe(null)
    expect(Object.getOwnPropertyDescriptor(result, "__proto__")?.value).toEqual({ polluted: true })
    expect(({} as { polluted?: boolean }).polluted).toBe(undefined)
  })
})

describe('the rule "add"', () => {
  // Requests begin with what stands then, add their share to it, and end in any order: the start and end of each are two places
  // in one sequence.
  const interleavings = fc
    .array(fc.integer({ min: -1_000, max: 1_000 }), { minLength: 1, maxLength: 12 })
    .chain((shares) =>
      fc
        .shuffledSubarray(
          shares.flatMap((_, request) => [request, request]),
          { minLength: shares.length * 2, maxLength: shares.length * 2 },
        )
        .map((order) => ({ shares, order })),
    )

  it("S11: counts every difference once, however requests interleave", () => {
    fc.assert(
      fc.property(interleavings, fc.option(fc.integer({ min: -9, max: 9 })), ({ shares, order }, start) => {
        const standing = start === null ? data({}) : data({ key: start })
        const begun = new Map<number, SessionData>()
        for (const request of order) {
          const base = begun.get(request)
          if (!base) begun.set(request, data(standing))
          else mergeInto(standing, base, data({ key: ((base.key as number) ?? 0) + shares[request]! }), by("add"))
        }
        const total = shares.reduce((sum, share) => sum + share, start ?? 0)
        expect(standing.key ?? 0).toBe(total)
      }),
    )
  })

  it("counts both differences when they are the same", () => {
    expect(merge({ key: 3 }, { key: 4 }, { key: 4 }, by("add"))).toEqual({ result: data({ key: 5 }), conflicts: [] })
  })

  it("tells of the keys that it decided", () => {
    expect(merge({ key: 3 }, { key: 4 }, { key: 6 }, by("add"))).toEqual({
      result: data({ key: 7 }),
      conflicts: ["key"],
    })
  })

  it("begins at 0 where the key was absent", () => {
    expect(merge({}, { key: 2 }, { key: 5 }, by("add")).result).toEqual(data({ key: 7 }))
  })

  it("leaves what is no number to the rule of all other keys", () => {
    const others = (base: object, mine: object, theirs: object, rule: Rules["others"]) =>
      merge(base, mine, theirs, { of: new Map([["key", "add" as const]]), others: rule }).result
    expect(others({ key: 1 }, {}, { key: 5 }, "mine")).toEqual(data({}))
    expect(others({ key: 1 }, {}, { key: 5 }, "theirs")).toEqual(data({ key: 5 }))
    expect(others({ key: "1" }, { key: 2 }, { key: 5 }, "theirs")).toEqual(data({ key: 5 }))
    expect(() => others({ key: 1 }, { key: "2" }, { key: 5 }, "error")).toThrow(CoatcheckError)
  })
})

describe('the rule "union"', () => {
  const lists = fc.uniqueArray(fc.constantFrom("a", "b", "c", "d", { e: 1 }, [1]), {
    selector: (one) => JSON.stringify(one),
  })
  const texts = (list: unknown): string[] => (list as unknown[]).map((one) => JSON.stringify(one))

  it("keeps what either side added, drops what either side removed, and repeats nothing", () => {
    fc.assert(
      fc.property(fc.option(lists, { nil: undefined }), lists, lists, (base, mine, theirs) => {
        fc.pre(!same(base ?? absent, mine) && !same(base ?? absent, theirs))
        const result = merge(base ? { key: base } : {}, { key: mine }, { key: theirs }, by("union")).result.key
        const [was, wanted, there] = [texts(base ?? []), texts(mine), texts(theirs)]
        const expected = new Set(
          [...there, ...wanted].filter((one) => !was.includes(one) || (there.includes(one) && wanted.includes(one))),
        )
        expect(new Set(texts(result))).toEqual(expected)
        expect(texts(result)).toHaveLength(expected.size)
      }),
    )
  })

  it("leaves the earlier writer's order alone and puts what was added last at the end", () => {
    const { result } = merge({ key: ["a", "b"] }, { key: ["x", "a"] }, { key: ["c", "b", "a"] }, by("union"))
    expect(result).toEqual(data({ key: ["c", "a", "x"] }))
  })

  it("leaves what is no list to the rule of all other keys", () => {
    expect(merge({}, { key: ["a"] }, { key: "b" }, by("union")).result).toEqual(data({ key: ["a"] }))
    expect(merge({ key: ["a"] }, {}, { key: ["b"] }, by("union")).result).toEqual(data({}))
  })
})

describe("a rule that is a function", () => {
  it("gets all three values, undefined where the key is absent, and its result stands", () => {
    const calls: unknown[][] = []
    const rule: Rule = (...given) => {
      calls.push(given)
      return "decided"
    }
    expect(merge({}, { key: 1 }, { key: 2 }, by(rule)).result).toEqual(data({ key: "decided" }))
    expect(merge({ key: 1 }, {}, { key: 2 }, by(rule)).result).toEqual(data({ key: "decided" }))
    expect(merge({ key: 1 }, { key: 2 }, {}, by(rule)).result).toEqual(data({ key: "decided" }))
    expect(calls).toEqual([
      [undefined, 1, 2],
      [1, undefined, 2],
      [1, 2, undefined],
    ])
  })

  it("removes the key by undefined", () => {
    expect(
      "key" in
        merge(
          {},
          { key: 1 },
          { key: 2 },
          by(() => undefined),
        ).result,
    ).toBe(false)
  })

  it("is also asked where both sides came to the same value, but never where one side alone changed", () => {
    const max: Rule = (_, mine, theirs) => Number(mine) + Number(theirs)
    expect(merge({ key: 1 }, { key: 2 }, { key: 2 }, by(max))).toEqual({ result: data({ key: 4 }), conflicts: [] })
    expect(merge({ key: 1 }, { key: 2 }, { key: 1 }, by(max)).result).toEqual(data({ key: 2 }))
    expect(merge({ key: 1 }, { key: 1 }, { key: 2 }, by(max)).result).toEqual(data({ key: 2 }))
  })

  it("leaves everything as it was when it throws, also what came before it", () => {
    const failing = by(() => {
      throw new RangeError("no")
    })
    const theirs = data({ first: 1, key: 2 })
    expect(() => mergeInto(theirs, data({ first: 0 }), data({ first: 5, key: 3 }), failing)).toThrow(RangeError)
    expect(theirs).toEqual(data({ first: 1, key: 2 }))
  })
})

describe("rules from settings", () => {
  it('are "mine" unless something else is said', () => {
    expect(rulesFrom(undefined, undefined)).toEqual({ of: new Map(), others: "mine" })
    expect(rulesFrom("error", { a: "add", b: undefined })).toEqual({ of: new Map([["a", "add"]]), others: "error" })
  })

  it("are refused when they are none, by name", () => {
    expect(() => rulesFrom("add" as never, undefined)).toThrow(TypeError)
    expect(() => rulesFrom((() => 1) as never, undefined)).toThrow(TypeError)
    expect(() => rulesFrom(undefined, { cart: "join" as never })).toThrow(/"cart"/)
    expect(() => rulesFrom(undefined, { cart: null as never })).toThrow(/"cart"/)
  })
})
