import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { decodeString, mapStrings, members, oneLine, valueEnd } from "./json-text.ts"
import { maskJson, maskText } from "./mask.ts"

describe("members", () => {
  it("K12: cuts values out as they were written", () => {
    const text = '{"a":12345678901234567890, "b" : [1e21,{"x":"}"}] ,"c":-0.0,"d":"q\\"\\\\"}'
    expect(members(text).map((member) => [member.name, member.value])).toEqual([
      ["a", "12345678901234567890"],
      ["b", '[1e21,{"x":"}"}]'],
      ["c", "-0.0"],
      ["d", '"q\\"\\\\"'],
    ])
  })

  it("finds the members of any object", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue()),
        fc.constantFrom(0, 2),
        (object, indent) => {
          const found = members(JSON.stringify(object, null, indent))
          expect(found.map(({ name }) => name)).toEqual(Object.keys(object))
          expect(found.map(({ token }) => decodeString(token))).toEqual(Object.keys(object))
          expect(found.map(({ value }) => JSON.parse(value))).toEqual(
            Object.values(object).map((value) => JSON.parse(JSON.stringify(value))),
          )
        },
      ),
    )
  })

  it.each([
    "",
    "[]",
    '"a"',
    '{"a":1',
    '{"a" 1}',
    '{"a":1,}',
    '{"a":1}x',
    '{"a":}',
    "{a:1}",
    '{"a":"',
    '{"a":[1}',
    '{"a":1 "b":2}',
  ])("refuses %s", (text) => {
    expect(() => {
      for (const { value } of members(text)) JSON.parse(value)
    }).toThrow(SyntaxError)
  })
})

describe("the rest", () => {
  it("valueEnd finds the end of a value with more behind it", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(",", "}", "]", " "), (value, next) => {
        const json = JSON.stringify(value)
        expect(valueEnd(`${json}${next}"x"`, 0)).toBe(json.length)
      }),
    )
  })

  it("oneLine keeps the meaning and drops the line breaks", () => {
    expect(oneLine('{\n  "a": 1,\r\n  "b": 2\n}')).toBe('{   "a": 1,   "b": 2 }')
    expect(oneLine('{"a":1}')).toBe('{"a":1}')
  })

  it("mapStrings touches strings only", () => {
    expect(mapStrings('{"a":["b\\"",1,null]}', (token) => token.toUpperCase())).toBe('{"A":["B\\"",1,null]}')
  })
})

describe("masking", () => {
  it("D6: cuts ids in keys to six characters", () => {
    expect(maskText("session:3kXf9dQ1x_-AbCdEfGhIjKlMnOpQrStUvWxYz012345")).toBe("session:3kXf9d…")
    expect(maskText("0d8f7a34-1c6b-4a63-9a55-6f0a4a3b2c1d")).toBe("0d8f7a…")
    expect(maskText("twitter")).toBe("twitter")
  })

  it("D6: cuts ids in values, leaves numbers and escapes whole", () => {
    expect(
      maskJson(
        '{"n":123456789012345678901234567890,"next":"\\u00e9bcdefghijklmnopqrstuv","t":"\\naaaaaaaaaaaaaaaaaaaaaaaa"}',
      ),
    ).toBe('{"n":123456789012345678901234567890,"next":"\\u00e9b…","t":"\\naaaaa…"}')
  })

  it("D6: what is masked is still JSON", () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: "binary" }), fc.stringMatching(/^[\w-]{20,40}$/), (value, id) => {
        const masked = maskJson(JSON.stringify({ id: `\n${id}`, [`é${id}`]: value }))
        expect(masked).not.toContain(id)
        expect(() => JSON.parse(masked) as unknown).not.toThrow()
      }),
    )
  })
})
