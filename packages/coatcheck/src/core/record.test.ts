import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { CoatcheckError } from "../errors.ts"
import { newRecord, parseRecord, recordText, type SessionRecord, textUnlessSame } from "./record.ts"

const created = 1_790_000_000_000
const ends = created + 43_200_000
const forbidden = ["__proto__", "constructor", "prototype"]

function around(data: string, rest = ""): string {
  return `{"v":1,"created":${created},"ends":${ends},"owner":null,"marks":{}${rest},"data":${data}}`
}

function withData(members: object): SessionRecord {
  const record = newRecord(created, ends)
  Object.assign(record.data, members)
  return record
}

function refusal(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error instanceof CoatcheckError ? error.code : error
  }
  return "no error"
}

/** JSON data without the names that records refuse. */
const json = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false),
    fc.double({ noNaN: true, noDefaultInfinity: true }).filter((number) => !Object.is(number, -0)),
    fc.string({ unit: "binary" }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(
      fc.string().filter((name) => !forbidden.includes(name)),
      tie("value"),
      { maxKeys: 4 },
    ),
  ),
})).value
const jsonData = fc.dictionary(
  fc.string({ unit: "binary" }).filter((name) => !forbidden.includes(name)),
  json,
  { maxKeys: 5 },
)

describe("a record as text", () => {
  it("C9: is readable JSON, system fields apart from data", () => {
    expect(recordText(withData({ count: 3 }))).toBe(
      '{"v":1,"created":1790000000000,"ends":1790043200000,"owner":null,"marks":{},"data":{"count":3}}',
    )
  })

  it("comes back as it was written", () => {
    fc.assert(
      fc.property(jsonData, (members) => {
        const text = recordText(withData(members))
        const record = parseRecord(text)
        expect(record && { ...record.data }).toEqual({ ...members })
        expect(record && recordText(record)).toBe(text)
      }),
    )
  })

  it("keeps fields that a newer version of us added", () => {
    const text = around('{"count":1}', ',"agent":{"name":"Firefox"}')
    const record = parseRecord(text)!
    record.data.count = 2
    expect(recordText(record)).toBe(text.replace('"count":1', '"count":2'))
  })

  it("S5: differs when anything deep inside changed, and is null when nothing did", () => {
    const text = around('{"cart":{"lines":[{"sku":"a","n":1}]}}')
    const record = parseRecord(text)!
    expect(textUnlessSame(record, text)).toBe(null)
    ;(record.data.cart as { lines: { n: number }[] }).lines[0]!.n = 2
    expect(textUnlessSame(record, text)).toBe(text.replace('"n":1', '"n":2'))
  })
})

describe("PRS-05, REG-28, REG-29: what stands in the store is not trusted", () => {
  const hostile: Record<string, string> = {
    "no text": "",
    "no JSON": "{",
    "half a record": around('{"count":1}').slice(0, -2),
    "more after the record": `${around("{}")}{}`,
    null: "null",
    "a number": "1",
    "a text": '"v"',
    "a list": "[]",
    "a list of a record": `[${around("{}")}]`,
    "an object of another kind": '{"count":1}',
    "a record of the future": around("{}").replace('"v":1', '"v":2'),
    "a version that only looks right": around("{}").replace('"v":1', '"v":"1"'),
    "a time of creation that is none": around("{}").replace(`"created":${created}`, '"created":"now"'),
    "a time of creation with a fraction": around("{}").replace(`"created":${created}`, '"created":1.5'),
    "an end that is none": around("{}").replace(`"ends":${ends}`, '"ends":null'),
    "an end beyond all numbers": around("{}").replace(`"ends":${ends}`, '"ends":1e400'),
    "an owner that is an object": around("{}").replace('"owner":null', '"owner":{}'),
    "an owner that is absent": around("{}").replace('"owner":null,', ""),
    "marks that are a list": around("{}").replace('"marks":{}', '"marks":[]'),
    "data that is a list": around("[]"),
    "data that is null": around("null"),
    "data that is a text": around('"{}"'),
    "no data": around("{}").replace(',"data":{}', ""),
    "100,000 levels of lists": around(`{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`),
    "100,000 levels of objects": around(`{"a":${'{"a":'.repeat(100_000)}1${"}".repeat(100_001)}`),
    "brackets that never close": "[".repeat(1_000_000),
    "objects that never close": '{"a":'.repeat(200_000),
    "100,000 members": around(`{${Array.from({ length: 100_000 }, (_, i) => `"k${i}":${i}`).join(",")}}`),
    "100,000 empty lists": around(`{"a":[${"[],".repeat(100_000)}1]}`),
    "few commas and very many lists": around(`{"a":[${`${"[".repeat(400)}${"]".repeat(400)},`.repeat(1_000)}1]}`),
    "constructors as types": '{"@type":"java.lang.Runtime","exec":"id"}',
    "a text that never ends": `{"v":1,"data":"${"a".repeat(100_000)}`,
  }
  for (const [name, text] of Object.entries(hostile)) {
    it(`${name}: no record`, () => expect(parseRecord(text)).toBe(null))
  }

  const spellings = (name: string): string[] => [
    `"${name}"`,
    `"${name}" `,
    `"\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}"`,
    `"${[...name].map((letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0").toUpperCase()}`).join("")}"`,
  ]
  for (const name of forbidden) {
    it(`drops members named ${name} at every depth and in every spelling`, () => {
      for (const spelt of spellings(name)) {
        const evil = `${spelt}:{"polluted":true}`
        for (const data of [
          `{${evil},"x":1}`,
          `{"x":1,"in":{${evil},"y":[{${evil}}]}}`,
          `{${evil},"__proto__":{"polluted":true},"x":1}`,
        ]) {
          const record = parseRecord(around(data))!
          expect(record.data.x).toBe(1)
          expect(JSON.stringify(record)).not.toContain("polluted")
          expect((record.data as { polluted?: boolean }).polluted).toBe(undefined)
          expect(((record.data.in ?? {}) as { polluted?: boolean }).polluted).toBe(undefined)
        }
        // Among the system's own fields too.
        expect(JSON.stringify(parseRecord(around("{}", `,${evil}`)))).not.toContain("polluted")
      }
      expect(({} as { polluted?: boolean }).polluted).toBe(undefined)
    })
  }

  it("gives data that inherits nothing, so that no name is there that nobody wrote", () => {
    const { data } = parseRecord(around('{"x":1}'))!
    const prototype: object = Object.getPrototypeOf(data)
    expect(Reflect.ownKeys(prototype)).toEqual([])
    expect(Object.isFrozen(prototype)).toBe(true)
    expect(Object.getPrototypeOf(prototype)).toBe(null)
    for (const name of ["toString", "constructor", "hasOwnProperty", "__proto__"]) expect(name in data).toBe(false)
    expect(["toString", "constructor", "hasOwnProperty", "__proto__"].filter((name) => name in data)).toEqual([])
  })

  it("lets values say what names may not", () => {
    const members = { text: '"__proto__": 1', other: "constructor", list: ["prototype"], "a\u0001b": "\u0001" }
    expect({ ...parseRecord(recordText(withData(members)))!.data }).toEqual(members)
  })

  it("any text is a record or none, and never an error", () => {
    const pieces = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      '"',
      "\\",
      "\\u",
      ",",
      ":",
      "1",
      "null",
      '"data"',
      '"__proto__":',
      " ",
      "\u0000",
    )
    const mutated = fc.tuple(fc.array(pieces, { maxLength: 8 }), fc.nat(), fc.nat(12)).map(([parts, at, gone]) => {
      const text = around('{"a":{"b":[1,"\\u0061"]}}')
      const from = at % text.length
      return text.slice(0, from) + parts.join("") + text.slice(from + gone)
    })
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), mutated), (text) => {
        const record = parseRecord(text)
        if (record === null) return
        expect(record.v).toBe(1)
        expect(typeof record.data).toBe("object")
        expect(parseRecord(recordText(record))).toEqual(record)
      }),
      { numRuns: 2_000 },
    )
  })

  it("judges a megabyte in a moment, whatever it is made of", () => {
    const megabyte = (unit: string): string => unit.repeat(Math.floor(1_048_576 / unit.length))
    const texts = ["[", "{", '"', "\\", '\\"', '"\\', "\\u", ",", '"constructor" ', '"__proto__"\n', '{"a":['].flatMap(
      (unit) => [megabyte(unit), around(`{"a":"${megabyte(unit)}"}`), around(`{"a":${megabyte(unit)}}`)],
    )
    const began = performance.now()
    for (const text of texts) parseRecord(text)
    // A look at each character takes milliseconds; one at each pair of them would take hours.
    expect(performance.now() - began).toBeLessThan(5_000)
  })
})

describe("what would not come back is not written", () => {
  it("no cycles, no BigInt, no forbidden name", () => {
    const cycle: Record<string, unknown> = {}
    cycle.self = cycle
    expect(refusal(() => recordText(withData({ cycle })))).toBe("invalid")
    expect(refusal(() => recordText(withData({ big: 1n })))).toBe("invalid")
    for (const name of forbidden) {
      const inner = Object.defineProperty({}, name, { value: 1, enumerable: true })
      expect(refusal(() => recordText(withData({ deep: [{ inner }] })))).toBe("invalid")
    }
  })

  it("exactly as many levels and values as are read back", () => {
    const levels = (count: number): SessionRecord => {
      let value: unknown = "x".repeat(2_000) // long enough to be counted
      for (let level = 2; level < count; level++) value = [value]
      return withData({ value })
    }
    const wide = (count: number): SessionRecord =>
      withData({ list: Array.from({ length: count }, () => "a longer text") })
    for (const fits of [levels(512), wide(9_990)]) {
      expect(parseRecord(recordText(fits))).toEqual(fits)
    }
    for (const over of [levels(513), wide(10_000)]) {
      expect(refusal(() => recordText(over))).toBe("invalid")
      expect(parseRecord(JSON.stringify(over))).toBe(null)
    }
  })

  it("every text that is written is read, and the other way round", () => {
    const depths = fc.tuple(fc.integer({ min: 490, max: 530 }), fc.constantFrom("list", "object"))
    fc.assert(
      fc.property(depths, ([depth, kind]) => {
        let value: unknown = "x".repeat(1_100)
        for (let level = 0; level < depth; level++) value = kind === "list" ? [value] : { value }
        const record = withData({ value })
        const isWritten = refusal(() => recordText(record)) === "no error"
        expect(parseRecord(JSON.stringify(record)) !== null).toBe(isWritten)
      }),
    )
  })

  it("says nothing of the data", () => {
    const error = (() => {
      try {
        return recordText(withData({ secret: { deep: 1n, password: "hunter2" } }))
      } catch (caught) {
        return caught as Error
      }
    })() as Error
    expect(error.message).not.toContain("hunter2")
  })
})
