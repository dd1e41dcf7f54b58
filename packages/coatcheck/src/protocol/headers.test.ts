import fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  formatOwner,
  formatTag,
  formatTtl,
  parseOwner,
  parseTags,
  parseTtl,
  remaining,
  strongMatch,
  weakMatch,
} from "./headers.ts"

const text = fc.string({ unit: "grapheme", minLength: 1 })

describe("entity tags", () => {
  it("KVS-01: any version makes the round trip through a strong tag", () => {
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), (versions) => {
        const field = versions.map(formatTag).join(", ")
        expect(field).toMatch(/^[\x20-\x7e]+$/)
        expect(parseTags(field)).toEqual(versions.map((version) => ({ version, weak: false })))
      }),
    )
    expect(formatTag("aB3-_")).toBe('"aB3-_"')
  })

  it("reads lists, weak tags and the star, with any white space", () => {
    expect(parseTags(" * ")).toBe("*")
    expect(parseTags('"a",W/"b" ,\t"c"')).toEqual([
      { version: "a", weak: false },
      { version: "b", weak: true },
      { version: "c", weak: false },
    ])
    expect(parseTags('"a,b"')).toEqual([{ version: "a,b", weak: false }])
  })

  it("refuses malformed conditions, which would else let a write through", () => {
    for (const field of [
      "",
      " ",
      "a",
      '"a',
      '"a" "b"',
      '"a",',
      ',"a"',
      '"a",,"b"',
      'w/"a"',
      "**",
      '*,"a"',
      '"a\u0007"',
      '"%ff"',
      '"é"',
    ]) {
      expect(() => parseTags(field), field).toThrow(expect.objectContaining({ code: "invalid" }))
    }
  })

  it("KVS-02: If-Match compares strongly, and never matches what is absent", () => {
    expect(strongMatch(parseTags('"a", "b"'), "b")).toBe(true)
    expect(strongMatch(parseTags('W/"b"'), "b")).toBe(false)
    expect(strongMatch("*", "b")).toBe(true)
    expect(strongMatch("*", null)).toBe(false)
    expect(strongMatch(parseTags('"a"'), null)).toBe(false)
  })

  it("KVS-04: If-None-Match compares weakly", () => {
    expect(weakMatch(parseTags('W/"b"'), "b")).toBe(true)
    expect(weakMatch(parseTags('"a"'), "b")).toBe(false)
    expect(weakMatch("*", "b")).toBe(true)
    expect(weakMatch("*", null)).toBe(false)
  })

  it("reads a hostile condition in a moment", () => {
    for (const field of [
      '"'.repeat(1_000_000),
      ",".repeat(1_000_000),
      `"a"${" ".repeat(1_000_000)}x`,
      '"a",'.repeat(250_000),
    ]) {
      const start = performance.now()
      expect(() => parseTags(field)).toThrow("A condition is")
      expect(performance.now() - start).toBeLessThan(3_000) // some ms; quadratic time would be hours
    }
  })
})

describe("ends", () => {
  it("what is left makes the round trip, to the millisecond", () => {
    fc.assert(
      fc.property(fc.option(fc.nat()), fc.nat(), fc.integer({ min: -1e9, max: 1e9 }), (left, now, skew) => {
        const expiresAt = left === null ? null : now + left
        const ttl = parseTtl(formatTtl(remaining(expiresAt, now)))
        expect(ttl).toBe(left)
        const there = ttl === null ? null : now + skew + ttl // the other machine's clock is another
        expect(remaining(there, now + skew)).toBe(left)
      }),
    )
  })

  it("what has ended has nothing left", () => {
    expect(remaining(5, 10)).toBe(0)
    expect(remaining(null, 10)).toBe(null)
  })

  it("refuses what is no whole number of ms", () => {
    for (const field of ["", "-1", "1.5", "1e3", "None", "0x1", " 1", "9".repeat(16)]) {
      expect(() => parseTtl(field), field).toThrow(expect.objectContaining({ code: "invalid" }))
    }
  })
})

describe("owners", () => {
  it("any owner makes the round trip through an ASCII field; the empty field is nobody", () => {
    fc.assert(
      fc.property(text, (owner) => {
        expect(formatOwner(owner)).toMatch(/^[\x21-\x7e]+$/)
        expect(parseOwner(formatOwner(owner))).toBe(owner)
      }),
    )
    expect(parseOwner(formatOwner(null))).toBe(null)
    // Bytes as they are, which node:http reads as Latin-1, and two fields, which it joins, would be somebody else's name.
    for (const field of ["%ff", "\u00c3\u00bc", "a, b", "a,b", "a b"]) {
      expect(() => parseOwner(field), field).toThrow(expect.objectContaining({ code: "invalid" }))
    }
  })
})
