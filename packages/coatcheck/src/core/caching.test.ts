import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { appendVary, cacheControl, type HeaderValue } from "./caching.ts"

describe("Vary", () => {
  const cases: readonly [current: HeaderValue, expected: string][] = [
    [undefined, "Cookie"],
    [null, "Cookie"],
    ["", "Cookie"],
    ["Accept-Encoding", "Accept-Encoding, Cookie"],
    ["accept,  accept-language", "accept,  accept-language, Cookie"],
    ["cookie", "cookie"],
    ["Accept, COOKIE", "Accept, COOKIE"],
    [["Accept", "Accept-Language"], "Accept, Accept-Language, Cookie"],
    [["Accept", "cookie"], "Accept, cookie"],
    ["*", "*"],
    ["Accept, *", "Accept, *"],
    [["*"], "*"],
    ["Cookie-Consent", "Cookie-Consent, Cookie"],
  ]
  it.each(cases)("CCH-02, S13: %j with Cookie is %j", (current, expected) => {
    expect(appendVary(current, "Cookie")).toBe(expected)
    expect(appendVary(expected, "Cookie")).toBe(expected)
  })

  it("CSR-04: several names go in, each once", () => {
    expect(appendVary("origin", "Sec-Fetch-Site, Origin")).toBe("origin, Sec-Fetch-Site")
    expect(appendVary(appendVary("", "Sec-Fetch-Site, Origin"), "Cookie")).toBe("Sec-Fetch-Site, Origin, Cookie")
  })
})

describe("Cache-Control with our cookie", () => {
  const cases: readonly [current: HeaderValue, value: string, dropped: string | null][] = [
    [undefined, "no-store", null],
    ["", "no-store", null],
    ["no-store", "no-store", null],
    ["No-Store, Private", "No-Store, Private", null],
    ["no-cache, no-store, must-revalidate", "no-cache, no-store, must-revalidate", null],
    ["public", "no-store", "public"],
    ["PUBLIC, max-age=31536000, immutable", "no-store", "PUBLIC"],
    ["public, s-maxage=60, stale-while-revalidate=30", "no-store", "public, s-maxage=60"],
    ["private, max-age=60", "private, no-store", null],
    ["must-understand, no-store", "no-store", null],
    ['private="x-a, public", no-transform', "no-transform, no-store", null],
    [["public", "no-transform"], "no-transform, no-store", "public"],
    ["s-maxage = 5", "no-store", "s-maxage = 5"],
  ]
  it.each(cases)("CCH-01, REG-13, REG-14: %j becomes %j", (current, value, dropped) => {
    expect(cacheControl(current, true)).toEqual({ value, dropped })
  })
})

describe("Cache-Control without our cookie", () => {
  const cases: readonly [current: HeaderValue, value: string, dropped: string | null][] = [
    [undefined, "private", null],
    ["no-store", "no-store", null],
    ["private", "private", null],
    ["Private, max-age=60", "Private, max-age=60", null],
    ["max-age=60", "max-age=60, private", null],
    ["no-cache", "no-cache, private", null],
    ["public, max-age=60", "max-age=60, private", "public"],
    ["s-maxage=60", "private", "s-maxage=60"],
    ['private="set-cookie"', 'private="set-cookie", private', null],
    ['no-cache="a, public", max-age=1', 'no-cache="a, public", max-age=1, private', null],
  ]
  it.each(cases)("CCH-03, S13, REG-15: %j becomes %j", (current, value, dropped) => {
    expect(cacheControl(current, false)).toEqual({ value, dropped })
  })
})

it("CCH-01, CCH-03: whatever the application said, no shared cache may keep the page", () => {
  const sharing = ["public", "PUBLIC", " public ", "s-maxage=9", "S-MaxAge=9", 'no-cache="public, s-maxage=1"']
  const others = [
    "max-age=9",
    "no-cache",
    'private="a"',
    "private",
    "no-store",
    "immutable",
    "must-understand",
    "",
    '"',
  ]
  const directive = fc.constantFrom(...sharing, ...others)
  fc.assert(
    fc.property(fc.array(directive, { maxLength: 8 }), fc.boolean(), (directives, setsCookie) => {
      const { value } = cacheControl(directives.join(","), setsCookie)
      // A reader that knows no quotes sees the words of qualified forms too, so those are taken out first.
      const words = value
        .replace(/"[^"]*"/g, '""')
        .split(",")
        .map((word) => word.trim().toLowerCase())
      expect(words.some((word) => word === "public" || word.startsWith("s-maxage"))).toBe(false)
      expect(words.some((word) => word === "no-store" || (!setsCookie && word === "private"))).toBe(true)
      expect(cacheControl(value, setsCookie)).toEqual({ value, dropped: null })
    }),
  )
})
