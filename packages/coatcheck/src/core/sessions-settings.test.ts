import { describe, expect, it } from "vitest"
import { browser } from "../../../../test/support/sessions.ts"
import { memoryStore } from "../stores/memory.ts"
import { createSessions, type Json, type SessionsOptions } from "./sessions.ts"
import { type Store, storeVerbs } from "./store.ts"

const secret = "fS8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5"

describe("C14: a store that is none", () => {
  for (const verb of storeVerbs) {
    it(`without ${verb}: an error at start that names the method`, () => {
      const { [verb]: _removed, ...rest } = memoryStore()
      expect(() => createSessions({ store: rest as unknown as Store })).toThrow(TypeError)
      expect(() => createSessions({ store: rest as unknown as Store })).toThrow(`no method ${verb}()`)
    })
  }

  it("without info, or no store at all: says what to set", () => {
    expect(() => createSessions({ store: { ...memoryStore(), info: null as never } })).toThrow(/info/)
    for (const store of [undefined, null, "memory:", 5, Promise.resolve(memoryStore())]) {
      expect(() => createSessions({ store: store as never })).toThrow(TypeError)
    }
    expect(() => createSessions({})).toThrow(/openStore/)
  })
})

describe("settings that contradict each other or are none", () => {
  const wrong: [string, SessionsOptions, RegExp][] = [
    ["carrier", { carrier: "sealed" as never }, /carrier/],
    ["ids", { ids: "plain" as never }, /ids/],
    ["idle", { idle: "30 minutes" as never }, /idle/],
    ["idle over absolute", { idle: "2h", absolute: "1h" }, /idle/],
    ["absolute", { absolute: 0 }, /absolute/],
    ["preset", { preset: "aal9" as never }, /preset/],
    ["deadline", { deadline: "soon" as never }, /deadline/],
    ["onConflict", { onConflict: "union" as never }, /onConflict/],
    ["rules", { rules: { count: "sum" as never } }, /"count"/],
    ["cookie", { cookie: { sameSite: "none" } }, /sameSite/],
    ["cookie's name", { cookie: { name: "a b" } }, /name/],
    ["no secret for a carrier that signs", { carrier: "signed" }, /coatcheck secret/],
    ["a weak secret", { carrier: "signed", secret: "weak" }, /32 bytes/],
  ]
  for (const [name, options, message] of wrong) {
    it(`${name}: a TypeError at start`, () => {
      expect(() => createSessions({ store: memoryStore(), ...options })).toThrow(TypeError)
      expect(() => createSessions({ store: memoryStore(), ...options })).toThrow(message)
    })
  }

  it("a carrier that signs needs no store", () => {
    expect(() => createSessions({ carrier: "signed", secret })).not.toThrow()
  })
})

describe("what a person is told at start", () => {
  const warningsOf = (options: SessionsOptions): string[] => {
    const warnings: string[] = []
    createSessions({ store: memoryStore(), ...options, warn: (message) => warnings.push(message) })
    return warnings
  }

  it("nothing, when all is well", () => expect(warningsOf({})).toEqual([]))

  it("once, that a store which can't decide conditions loses updates", () => {
    const inner = memoryStore()
    const warnings = warningsOf({ store: { ...inner, info: { ...inner.info, name: "classic", atomic: false } } })
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(/classic store can't decide conditions/)
  })

  it("that browsers forget a persistent cookie before the session ends", () => {
    expect(warningsOf({ absolute: "500d", idle: null, cookie: { persistent: true } })[0]).toMatch(/400 days/)
  })
})

describe("the type of the data", () => {
  const store = memoryStore()

  it("is JSON: types that JSON loses are errors of the compiler", () => {
    // @ts-expect-error A Date comes back as a text.
    createSessions<{ since: Date }>({ store })
    // @ts-expect-error Deep inside as well.
    createSessions<{ user: { visits: { at: Date }[] } }>({ store })
    // @ts-expect-error A Map comes back empty.
    createSessions<{ cart: Map<string, number> }>({ store })
    // @ts-expect-error A Set as well.
    createSessions<{ tags?: Set<string> }>({ store })
    // @ts-expect-error JSON has no BigInt.
    createSessions<{ id: bigint }>({ store })
    // @ts-expect-error Functions are dropped.
    createSessions<{ greet: () => string }>({ store })
    // @ts-expect-error Symbols too.
    createSessions<{ kind: symbol }>({ store })
    // @ts-expect-error In one half of a union too.
    createSessions<{ when: string | Date }>({ store })
    expect(() => createSessions<{ since: string }>({ store })).not.toThrow()
  })

  it("may be anything that JSON keeps", () => {
    interface Line {
      sku: string
      n: number
    }
    interface Shape {
      name?: string
      lines: readonly Line[]
      pair: [number, string]
      nothing: null
      flag: boolean | undefined
      kind: "a" | "b"
      byName: Record<string, Line>
      anything: unknown
    }
    const sessions = createSessions<Shape>({ store, rules: { lines: "union" } })
    expect(sessions.cookieNames).toHaveLength(2)
    const same: Json<Shape> = {} as Shape
    expect(same).toEqual({})
  })

  it("rules are for its keys", () => {
    // @ts-expect-error There is no key of that name.
    createSessions<{ count: number }>({ store, rules: { counter: "add" } })
    expect(() => createSessions<{ count: number }>({ store, rules: { count: "add" } })).not.toThrow()
  })

  it("each key may be absent, since a session begins empty", async () => {
    const tab = browser(createSessions<{ count: number }>({ store: memoryStore() }))
    await tab.visit((session) => {
      // @ts-expect-error It may be undefined.
      const count: number = session.data.count
      expect(count).toBe(undefined)
      // @ts-expect-error It is a number.
      session.data.count = "1"
    })
  })
})
