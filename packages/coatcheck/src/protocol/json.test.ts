import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { elements, jsonText, maxDepth, members, ownText, quote, readRaw, readString } from "./json.ts"

/** What JSON.parse says of a text, as the reader should: valid or not. */
function parses(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function accepts(text: string): boolean {
  try {
    jsonText(text)
    return true
  } catch (error) {
    expect(error).toMatchObject({ code: "invalid" })
    return false
  }
}

const space = fc.constantFrom("", " ", "\n", "\t", "\r\n", "  ")
const scalar = fc.oneof(
  fc.string({ unit: "binary" }).map((text) => JSON.stringify(text)),
  fc.constantFrom(
    "12345678901234567890",
    "1e21",
    "-0.0",
    "0",
    "-1",
    "1E+2",
    "1.50",
    "true",
    "false",
    "null",
    '"\\u0041\\/"',
  ),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => JSON.stringify(number)),
)
/** JSON text with every kind of white space between its tokens. */
const json: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    scalar,
    fc
      .tuple(fc.array(tie("value"), { maxLength: 4 }), space)
      .map(([items, gap]) => `[${gap}${items.join(`${gap},${gap}`)}${gap}]`),
    fc
      .tuple(fc.array(fc.tuple(fc.string({ unit: "binary" }), tie("value")), { maxLength: 4 }), space)
      .map(
        ([items, gap]) =>
          `{${gap}${items.map(([name, value]) => `${JSON.stringify(name)}${gap}:${gap}${value}`).join(`,${gap}`)}${gap}}`,
      ),
  ),
})).value

describe("the JSON reader", () => {
  it("K12: keeps the text of every value, numbers too", () => {
    const text = ' { "a" : 12345678901234567890 , "b":[1e21, -0.0 ] ,"c":"\\u00e9" } '
    expect([...members(text)]).toEqual([
      ["a", "12345678901234567890"],
      ["b", "[1e21, -0.0 ]"],
      ["c", '"\\u00e9"'],
    ])
    expect(elements("[1e21,-0.0, 12345678901234567890]")).toEqual(["1e21", "-0.0", "12345678901234567890"])
  })

  it("K11: __proto__ is a name like any other", () => {
    const found = members('{"__proto__":{"polluted":true},"constructor":1,"a":2}')
    expect([...found.keys()]).toEqual(["__proto__", "constructor", "a"])
    expect("polluted" in {}).toBe(false)
  })

  it("takes the last of a name that comes twice, as JSON.parse does", () => {
    expect(members('{"a":1,"a":2,"\\u0061":3}').get("a")).toBe("3")
  })

  it("finds any JSON value valid, and cuts off the white space around it", () => {
    fc.assert(
      fc.property(json, space, space, (text, before, after) => {
        expect(parses(text)).toBe(true)
        expect(jsonText(before + text + after)).toBe(text)
      }),
    )
  })

  it("agrees with JSON.parse on texts with a character changed, added or removed", () => {
    const edit = fc.record({
      text: json,
      at: fc.nat(),
      removed: fc.nat(2),
      added: fc.oneof(fc.constantFrom(...'{}[]",:\\/ \n\u00010123456789eE+-.tfnu', ""), fc.string({ maxLength: 2 })),
    })
    fc.assert(
      fc.property(edit, ({ text, at, removed, added }) => {
        const place = at % (text.length + 1)
        const edited = text.slice(0, place) + added + text.slice(place + removed)
        expect(accepts(edited)).toBe(parses(edited))
      }),
      { numRuns: 3_000 },
    )
  })

  it("agrees with JSON.parse on rubbish made of JSON's own characters", () => {
    const rubbish = fc.string({ unit: fc.constantFrom(...'{}[]",:\\ 01.-+eEtruefalsn'), maxLength: 12 })
    fc.assert(
      fc.property(rubbish, (text) => {
        expect(accepts(text)).toBe(parses(text))
      }),
      { numRuns: 5_000 },
    )
  })

  it("splits objects and arrays as JSON.parse does", () => {
    fc.assert(
      fc.property(json, (text) => {
        const value: unknown = JSON.parse(text)
        if (Array.isArray(value)) expect(elements(text).map((item) => JSON.parse(item))).toEqual(value)
        else if (typeof value === "object" && value !== null) {
          const found = [...members(text)].map(([name, raw]) => [name, JSON.parse(raw)])
          expect(new Map(found as [string, unknown][])).toEqual(new Map(Object.entries(value)))
        }
      }),
    )
  })

  it("K9: says where a text stops being JSON, and repeats nothing of it", () => {
    expect(() => members('{"secret": oops}')).toThrow("Not valid JSON: expected a value at character 11")
    expect(() => members("[1]")).toThrow("expected an object at character 0")
    expect(() => members('{"a":1} x')).toThrow("expected the end at character 8")
    expect(() => members('{"a":1,}')).toThrow("expected a string at character 7")
    expect(() => elements("[1 2]")).toThrow("expected , or ] at character 3")
    expect(() => jsonText('"\u0001"')).toThrow("at character 1")
    expect(() => jsonText("")).toThrow("expected a value at character 0")
  })

  it("PRS-05: bounds the depth, in objects and arrays, instead of overflowing the stack", () => {
    const deep = (levels: number): string => "[".repeat(levels) + "]".repeat(levels)
    expect(jsonText(deep(maxDepth))).toHaveLength(2 * maxDepth)
    expect(() => jsonText(deep(maxDepth + 1))).toThrow(`deeper than ${maxDepth}`)
    expect(() => jsonText("[".repeat(1_000_000))).toThrow(`deeper than ${maxDepth}`)
    expect(() => jsonText('{"a":'.repeat(1_000_000))).toThrow(`deeper than ${maxDepth}`)
  })

  it("needs time in proportion to the text, however hostile it is", () => {
    const hostile: Record<string, (size: number) => string> = {
      quotes: (size) => '"'.repeat(size),
      backslashes: (size) => `"${"\\".repeat(size)}`,
      spaces: (size) => `[${" ".repeat(size)}`,
      digits: (size) => `${"1".repeat(size)}x`,
      names: (size) => `{${'"a":1,'.repeat(size / 6)}`,
      pairs: (size) => `[${"[],".repeat(size / 3)}`,
    }
    for (const [name, make] of Object.entries(hostile)) {
      const text = make(3_000_000)
      const start = performance.now()
      accepts(text)
      // Some 10 ms; a reader that looks back would need hours.
      expect(performance.now() - start, name).toBeLessThan(3_000)
    }
  })
})

describe("the parts of the reader", () => {
  it("reads strings with their escapes, and quotes any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const cursor = { text: ` ${quote(text)},`, at: 0 }
        expect(readString(cursor)).toBe(text)
        expect(cursor.text.slice(cursor.at)).toBe(",")
        expect(JSON.parse(quote(text))).toBe(text)
      }),
    )
  })

  it("leaves the cursor behind what it read", () => {
    const cursor = { text: '  {"a":[1]} , 2', at: 0 }
    expect(readRaw(cursor)).toBe('{"a":[1]}')
    expect(cursor.at).toBe(11)
  })

  it("X3: a text of its own does not hold the text that it was cut from", () => {
    setFlagsFromString("--expose-gc")
    const collect = runInNewContext("gc") as () => void
    const kept: string[] = []
    collect()
    const before = process.memoryUsage().heapUsed
    for (let run = 0; run < 20; run++) {
      const whole = Buffer.alloc(1_000_000, 97 + run).toString("latin1")
      kept.push(ownText(whole.slice(1_000, 1_300)))
    }
    collect()
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(5_000_000) // 20 MB where the slices share
    expect(kept.every((text, run) => text === String.fromCharCode(97 + run).repeat(300))).toBe(true)
  })
})
