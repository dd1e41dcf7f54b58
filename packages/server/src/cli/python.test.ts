import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { pythonLiteral, pythonString } from "./python.ts"

describe("pythonString", () => {
  // Left: the text; right: what Python 3.11's repr() prints for it.
  it.each([
    ["x", "'x'"],
    ["", "''"],
    ["it's", `"it's"`],
    ['say "hi"', `'say "hi"'`],
    [`it's "both"`, `'it\\'s "both"'`],
    ["a\nb\tc\rd", "'a\\nb\\tc\\rd'"],
    ["\\", "'\\\\'"],
    ["\\'", `"\\\\'"`],
    ["\0\x1b\x7f\x80\x9b\xa0\xad", "'\\x00\\x1b\\x7f\\x80\\x9b\\xa0\\xad'"],
    ["ünï café 日本 😀", "'ünï café 日本 😀'"],
    ["\u200b\u2028\u202e\ufeff\u3000\ue000\u0378", "'\\u200b\\u2028\\u202e\\ufeff\\u3000\\ue000\\u0378'"],
    ["\ud800", "'\\ud800'"],
    ["\u{e0001}", "'\\U000e0001'"],
  ])("D1: prints %j as Python does", (text, literal) => {
    expect(pythonString(text)).toBe(literal)
  })
})

describe("pythonLiteral", () => {
  it.each([
    ['{"b":{"c":[null,true,false]}}', "{'b': {'c': [None, True, False]}}"],
    ["[]", "[]"],
    ["{}", "{}"],
    ["null", "None"],
    ['{\n  "a": 1,\r\n\t"b": [ 1 , 2 ]\n}', "{'a': 1, 'b': [1, 2]}"],
    ['"a\\u0041\\n\\"\\/"', `'aA\\n"/'`],
    ['"\\ud83d\\ude00"', "'😀'"],
    ['{"twitter":"https://twitter.com/ProfAvery"}', "{'twitter': 'https://twitter.com/ProfAvery'}"],
  ])("D1: %j", (json, literal) => {
    expect(pythonLiteral(json)).toBe(literal)
  })

  it.each(["12345678901234567890", "1e21", "-0.0", "1E400", "0.10", "-17"])(
    "D1: the number %s keeps its text",
    (number) => {
      expect(pythonLiteral(`{"n":[${number}]}`)).toBe(`{'n': [${number}]}`)
    },
  )

  it("takes any depth", () => {
    const deep = "[".repeat(200_000) + "]".repeat(200_000)
    expect(pythonLiteral(deep)).toBe(deep)
  })

  it.each(["{'a': 1}", "undefined", "nul", '"open', "[1; 2]", "True"])("refuses what is not JSON: %s", (text) => {
    expect(() => pythonLiteral(text)).toThrow(SyntaxError)
  })

  it("reads back as the same value, on one line, whatever the value", () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: "binary", maxDepth: 4 }), (value) => {
        const json = JSON.stringify(value)
        const literal = pythonLiteral(json)
        expect(literal).not.toMatch(/[\p{Cc}\u2028\u2029]/u)
        expect(readPython(literal)).toEqual(JSON.parse(json))
      }),
    )
  })
})

/** A reader of Python literals that shares nothing with the printer: turns the literal into JSON by its tokens. */
function readPython(literal: string): unknown {
  const tokens = literal.match(/'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|None|True|False|[^'"NTF]+/gsu) ?? []
  const words: Record<string, string> = { None: "null", True: "true", False: "false" }
  return JSON.parse(tokens.map((token) => (/^['"]/.test(token) ? string(token) : (words[token] ?? token))).join(""))
}

function string(token: string): string {
  const named: Record<string, string> = { n: "\n", r: "\r", t: "\t" }
  const text = token
    .slice(1, -1)
    .replace(/\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))/gsu, (_, x, u, long, char) =>
      char === undefined ? String.fromCodePoint(Number.parseInt(x ?? u ?? long, 16)) : (named[char] ?? char),
    )
  return JSON.stringify(text)
}
