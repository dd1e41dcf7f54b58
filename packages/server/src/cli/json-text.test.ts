import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { decodeString, mapStrings, oneLine, stringEnd } from "./json-text.ts"
import { maskJson, maskText } from "./mask.ts"

describe("JSON text", () => {
  it("stringEnd and decodeString find a string with more behind it", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string(), (text, rest) => {
        const token = JSON.stringify(text)
        const end = stringEnd(`[${token}${rest}`, 1)
        expect(end).toBe(token.length + 1)
        expect(decodeString(token)).toBe(text)
      }),
    )
  })

  it.each(['"', '"a', '"a\\"', "a", ""])("stringEnd refuses what does not end: %s", (text) => {
    expect(() => stringEnd(text, 0)).toThrow(SyntaxError)
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
