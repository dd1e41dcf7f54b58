import { parseSetCookie, parseCookie } from "cookie"
import * as fc from "fast-check"
import setCookieParser from "set-cookie-parser"
import { Cookie as ToughCookie } from "tough-cookie"
import { describe, expect, it } from "vitest"
import { CoatcheckError } from "../errors.ts"
import {
  type CookieOptions,
  clearCookie,
  cookieForm,
  cookieSettings,
  longestMaxAge,
  readCookies,
  serializeCookie,
} from "./cookie.ts"

const id = "8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5yA0"
const octets = [..."!#$%&'()*+-./0123456789:<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"]
const cookieValues = fc.string({ unit: fc.constantFrom(...octets), maxLength: 200 })

const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof CoatcheckError) return error.code
    throw error
  }
  return "no error"
}

describe("reading a Cookie field", () => {
  it("finds our value wherever it stands", () => {
    for (const header of [
      `sid=${id}`,
      `a=1; sid=${id}`,
      `sid=${id}; a=1`,
      `a=1;sid=${id};b=2`,
      `;;sid=${id};`,
      `\tsid=${id} \t; b`,
    ]) {
      expect(readCookies(header, "sid")).toEqual([id])
    }
    for (const header of [null, "", ";", "sid", "sidx=1", "xsid=1", "a=sid=1", "a=1; b"])
      expect(readCookies(header, "sid")).toEqual([])
  })

  it("CKI-04, REG-18, REG-19, REG-20, REG-21: a name that only resembles ours is another cookie", () => {
    const forgeries = [
      "%5F_Host-sid=evil",
      "\u00a0__Host-sid=evil",
      "\u3000__Host-sid=evil",
      "=__Host-sid=evil",
      "__HOST-sid=evil",
      "__host-sid=evil",
      "__Host-sid =evil",
      "__Host-sid\t=evil",
      "_[Host-sid=evil",
      "..Host-sid=evil",
      "__Host-sid[]=evil",
      "\u000b__Host-sid=evil",
      "__Host%2Dsid=evil",
      "$__Host-sid=evil",
      '"__Host-sid"=evil',
    ]
    for (const forgery of forgeries) {
      expect(readCookies(forgery, "__Host-sid")).toEqual([])
      expect(readCookies(`${forgery}; __Host-sid=${id}`, "__Host-sid")).toEqual([id])
      expect(readCookies(`__Host-sid=${id}; ${forgery}`, "__Host-sid")).toEqual([id])
    }
  })

  it("CKI-05, REG-22: quotes neither hide a cookie nor make one", () => {
    expect(readCookies('a="x; sid=evil; y"', "sid")).toEqual(["evil"])
    expect(readCookies(`a="x; sid=${id}; y"`, "sid")).toEqual([id])
    expect(readCookies(`a="; sid=${id}`, "sid")).toEqual([id])
    expect(readCookies(`sid="${id}"`, "sid")).toEqual([])
  })

  it("CKI-06: several values are told apart, in order, each once, at most four", () => {
    expect(readCookies("sid=a; sid=b", "sid")).toEqual(["a", "b"])
    expect(readCookies("sid=b; x=1; sid=a", "sid")).toEqual(["b", "a"])
    expect(readCookies("sid=a; sid=a", "sid")).toEqual(["a"])
    expect(readCookies("sid=; sid=a", "sid")).toEqual(["", "a"])
    expect(readCookies("sid=1; sid=2; sid=3; sid=4; sid=5", "sid")).toEqual(["1", "2", "3", "4"])
  })

  it("CKI-11: a value with an octet that no cookie holds is ignored, whatever the octet", () => {
    const allowed = new Set(octets.map((octet) => octet.charCodeAt(0)))
    for (let code = 0; code < 0x180; code++) {
      const octet = String.fromCharCode(code)
      const ignored = octet === ";" ? ["a"] : []
      const expected = allowed.has(code) ? [`a${octet}b`] : ignored
      expect(readCookies(`sid=a${octet}b`, "sid"), `octet ${code} in the value`).toEqual(expected)
      expect(readCookies(`s${octet}id=x`, "sid"), `octet ${code} in the name`).toEqual([])
      expect(readCookies(`s${octet}id=x; sid=y`, "sid")).toEqual(["y"])
    }
  })

  it("S10, PRS-06: what comes out is text of our pair alone, never decoded, never an object", () => {
    expect(readCookies('sid=j:{"a":1}', "sid")).toEqual([])
    expect(readCookies("sid[]=a; sid[0]=b", "sid")).toEqual([])
    expect(readCookies("sid=%2e%2e%2fx", "sid")).toEqual(["%2e%2e%2fx"])
    expect(readCookies("sid=../../x", "sid")).toEqual(["../../x"])
    expect(readCookies("__proto__=x", "__proto__")).toEqual(["x"])
  })

  it("PRS-04: at most 128 pairs are looked at", () => {
    expect(readCookies(`${"a=;".repeat(127)}sid=x`, "sid")).toEqual(["x"])
    expect(readCookies(`${"a=;".repeat(128)}sid=x`, "sid")).toEqual([])
  })

  it("PRS-04: at most 8 KiB are looked at, and a pair that is cut there is none", () => {
    const filler = (bytes: number): string => `a=${"x".repeat(bytes - 3)};`
    expect(readCookies(`${filler(8_187)}sid=x`, "sid")).toEqual(["x"])
    expect(readCookies(`${filler(8_188)}sid=x`, "sid")).toEqual([])
    expect(readCookies(`sid=x;${filler(16_000)}sid=y`, "sid")).toEqual(["x"])
    expect(readCookies(`sid=${"x".repeat(9_000)}`, "sid")).toEqual([])
  })

  it("PRS-04: hostile fields cost no more than their length", () => {
    /** The shortest time for a hundred reads, in ns. */
    const cost = (header: string): number => {
      const rounds = Array.from({ length: 7 }, () => {
        const start = process.hrtime.bigint()
        for (let i = 0; i < 100; i++) readCookies(header, "sid")
        return Number(process.hrtime.bigint() - start)
      })
      return Math.min(...rounds)
    }
    for (const part of ["a=;", '"', ";", "\\", " ", "\t", "sid=", "sid", "sid =;", "; sid", "sid=\u0000;", " ;sid=a"]) {
      const short = part.repeat(Math.ceil(16_384 / part.length))
      // Eight times the length costs eight times as much at the most; a quadratic reader would take sixty-four times as long.
      expect(cost(short.repeat(8)), JSON.stringify(part)).toBeLessThan(Math.max(24 * cost(short), 1_000_000))
    }
  })

  it("agrees with an independent parser wherever both accept", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom("sid", "a", "b"), cookieValues), { maxLength: 20 }), (pairs) => {
        const header = pairs.map(([name, value]) => `${name}=${value}`).join("; ")
        const theirs = parseCookie(header, { decode: (text) => text }).sid
        expect(readCookies(header, "sid")[0]).toBe(theirs)
      }),
    )
  })

  it("CKI-11: never throws, whatever the field", () => {
    const parts = fc.constantFrom(
      "a",
      "=",
      ";",
      " ",
      "\t",
      '"',
      "\\",
      ",",
      "b",
      "\0",
      "\u007f",
      "\u00a0",
      "\u00ff",
      "\ud800",
      "😀",
    )
    fc.assert(
      fc.property(fc.string({ unit: parts, maxLength: 60 }), (header) => {
        for (const value of readCookies(header, "a")) expect(value).toMatch(/^[\x21-\x7e]*$/)
      }),
    )
  })
})

describe("settings", () => {
  it("CKI-01, CKI-02: by default, a prefixed host-only cookie that scripts can't see", () => {
    const settings = cookieSettings()
    expect(serializeCookie(settings, true, id, null)).toBe(
      `__Host-Http-session=${id}; Path=/; Secure; HttpOnly; SameSite=Lax`,
    )
    expect(clearCookie(settings, true)).toBe(
      "__Host-Http-session=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; Secure; HttpOnly; SameSite=Lax",
    )
    expect(settings.secure.prefixed).toBe(true)
    expect(settings.persistent).toBe(false)
  })

  it("on plain HTTP the default is named session and is not Secure", () => {
    const settings = cookieSettings()
    expect(serializeCookie(settings, false, id, null)).toBe(`session=${id}; Path=/; HttpOnly; SameSite=Lax`)
    expect(settings.plain?.prefixed).toBe(false)
  })

  it("S6: everything can be set", () => {
    const settings = cookieSettings({
      name: "SID",
      path: "/app",
      domain: "example.com",
      secure: true,
      httpOnly: false,
      sameSite: "none",
      partitioned: true,
    })
    expect(serializeCookie(settings, true, "v", 60)).toBe(
      "SID=v; Max-Age=60; Path=/app; Domain=example.com; Secure; SameSite=None; Partitioned",
    )
    expect(serializeCookie(cookieSettings({ name: "a", sameSite: "strict", secure: false }), true, "v", null)).toBe(
      "a=v; Path=/; HttpOnly; SameSite=Strict",
    )
  })

  it("CKI-16: a cookie for HTTPS only has no form on plain HTTP", () => {
    for (const options of [{ secure: true }, { name: "__Host-sid" }, { name: "__Secure-sid" }] as CookieOptions[]) {
      const settings = cookieSettings(options)
      expect(cookieForm(settings, false)).toBeNull()
      expect(codeOf(() => serializeCookie(settings, false, id, null))).toBe("invalid")
      expect(codeOf(() => clearCookie(settings, false))).toBe("invalid")
      expect(cookieForm(settings, true)?.attributes).toContain("; Secure")
    }
  })

  const refused: readonly [row: string, options: CookieOptions][] = [
    ["CKI-03", { name: "__Host-sid", domain: "example.com" }],
    ["CKI-03", { name: "__Host-sid", path: "/app" }],
    ["CKI-03", { name: "__Host-sid", secure: false }],
    ["CKI-03", { name: "__host-sid", secure: false }],
    ["CKI-03", { name: "__HOST-sid", domain: "example.com" }],
    ["CKI-03", { name: "__Secure-sid", secure: false }],
    ["CKI-03", { name: "__sEcUrE-sid", secure: false }],
    ["CKI-03", { name: "__Host-Http-sid", httpOnly: false }],
    ["CKI-03", { name: "__host-http-sid", path: "/app" }],
    ["CKI-03", { name: "__Http-sid", httpOnly: false }],
    ["CKI-03", { name: "__Http-sid", secure: false }],
    ["CKI-14", { name: "sid", sameSite: "none" }],
    ["CKI-14", { name: "sid", sameSite: "none", secure: false }],
    ["CKI-14", { sameSite: "none", secure: "auto" }],
    ["S6", { partitioned: true }],
    ["S6", { domain: "example.com" }],
    ["S6", { path: "/app" }],
    ["S6", { httpOnly: false }],
    ["S6", { name: "" }],
    ["S6", { name: "a b" }],
    ["S6", { name: "a=b" }],
    ["S6", { name: "a;b" }],
    ["S6", { name: "ünï" }],
    ["S6", { name: "x".repeat(1_025) }],
    ["S6", { name: "a", path: "app" }],
    ["S6", { name: "a", path: "/app; Domain=evil.test" }],
    ["S6", { name: "a", path: "/a\r\nSet-Cookie: b=c" }],
    ["S6", { name: "a", path: "/ünï" }],
    ["CKI-07", { name: "a", path: `/${"x".repeat(1_024)}` }],
    ["CKI-07", { name: "a", domain: `${"x".repeat(1_021)}.com` }],
    ["S6", { name: "a", domain: ".example.com" }],
    ["S6", { name: "a", domain: "example.com; Path=/" }],
    ["S6", { name: "a", domain: "" }],
    // What a caller without types may send.
    ["S6", { secure: "yes" as never }],
    ["S6", { sameSite: "Lax" as never }],
    ["S6", { sameSite: "toString" as never }],
    ["S6", { httpOnly: 1 as never }],
    ["S6", { persistent: "yes" as never }],
  ]
  it.each(refused)("%s: refuses %j", (_row, options) => {
    expect(() => cookieSettings(options)).toThrow(TypeError)
  })

  it("CKI-03: prefixes that are kept are accepted, in any case", () => {
    for (const name of ["__Host-sid", "__host-sid", "__Host-Http-sid", "__Http-sid", "__Secure-sid"]) {
      expect(cookieSettings({ name }).secure).toMatchObject({ name, prefixed: true })
    }
    expect(cookieSettings({ name: "__Secure-sid", domain: "example.com", path: "/app" }).secure.prefixed).toBe(true)
    expect(cookieSettings({ name: "__Http-sid", path: "/app" }).secure.prefixed).toBe(true)
    expect(cookieSettings({ name: "_Host-sid" }).secure.prefixed).toBe(false)
  })

  it("CKI-08: Max-Age never exceeds 400 days, and a longer life is told at start", () => {
    const twoYears = 730 * 86_400
    const settings = cookieSettings({ persistent: true }, twoYears * 1_000)
    expect(serializeCookie(settings, true, id, twoYears)).toContain("; Max-Age=34560000;")
    expect(settings.warning).toMatch(/400 days/)
    expect(cookieSettings({ persistent: true }, longestMaxAge * 1_000).warning).toBeNull()
    expect(cookieSettings({}, twoYears * 1_000).warning).toBeNull()
    expect(serializeCookie(settings, true, id, 12.9)).toContain("; Max-Age=12;")
    expect(serializeCookie(settings, true, id, -3)).toContain("; Max-Age=0;")
  })
})

describe("writing a Set-Cookie field", () => {
  it("CKI-07, C7: name and value of 4,096 bytes pass, one more is an error", () => {
    const settings = cookieSettings({ name: "sid" })
    expect(serializeCookie(settings, true, "x".repeat(4_093), null).length).toBeGreaterThan(4_096)
    expect(codeOf(() => serializeCookie(settings, true, "x".repeat(4_094), null))).toBe("too-large")
  })

  it("CKI-12: clearing repeats name, Path, Domain, Secure and Partitioned of what was set", () => {
    const all: CookieOptions[] = [
      {},
      { name: "a" },
      { name: "a", path: "/x", domain: "example.com", secure: true, sameSite: "none", partitioned: true },
      { name: "__Secure-a", domain: "example.com", httpOnly: false },
    ]
    for (const options of all) {
      const settings = cookieSettings(options)
      const [set, cleared] = [serializeCookie(settings, true, id, null), clearCookie(settings, true)].map((field) =>
        parseSetCookie(field, { decode: (text) => text }),
      )
      expect(cleared).toEqual({ ...set, value: "", maxAge: 0, expires: new Date(0) })
    }
  })

  it("REG-17: what three independent parsers read is what was written, or nothing was written", () => {
    const options = fc.record(
      {
        name: fc.oneof(
          fc.string({ unit: "binary-ascii", maxLength: 12 }),
          fc.constantFrom("__Host-a", "__Secure-a", "sid"),
        ),
        path: fc.oneof(
          fc.constant("/"),
          fc.string({ unit: "binary-ascii", maxLength: 12 }).map((text) => `/${text}`),
        ),
        domain: fc.oneof(fc.constant("example.com"), fc.string({ unit: "binary-ascii", maxLength: 12 })),
        secure: fc.constantFrom(true, false, "auto" as const),
        httpOnly: fc.boolean(),
        sameSite: fc.constantFrom("lax" as const, "strict" as const, "none" as const),
        partitioned: fc.boolean(),
      },
      { requiredKeys: ["name"] },
    )
    const values = fc.oneof(cookieValues, fc.string({ unit: "binary-ascii", maxLength: 30 }))
    let written = 0
    fc.assert(
      fc.property(options, values, fc.option(fc.nat(longestMaxAge)), (chosen, value, maxAge) => {
        // set-cookie-parser drops names that are on every object, as a matter of its own.
        fc.pre(!(chosen.name in {}))
        let field: string
        try {
          field = serializeCookie(cookieSettings(chosen), true, value, maxAge)
        } catch (error) {
          expect(error instanceof TypeError || error instanceof CoatcheckError).toBe(true)
          return
        }
        written++
        const isSecure = chosen.secure !== false
        const expected = { name: chosen.name, value, path: chosen.path ?? "/", domain: chosen.domain ?? null }
        const ours = { ...expected, secure: isSecure, httpOnly: chosen.httpOnly ?? true, maxAge }

        const first = parseSetCookie(field, { decode: (text) => text })
        expect({ ...ours, domain: first.domain ?? null, maxAge: first.maxAge ?? null }).toEqual({
          name: first.name,
          value: first.value,
          path: first.path,
          domain: chosen.domain ?? null,
          secure: first.secure ?? false,
          httpOnly: first.httpOnly ?? false,
          maxAge,
        })

        const [second, ...more] = setCookieParser.parse([field], { decodeValues: false })
        expect(more).toEqual([])
        expect(second).toMatchObject({ name: chosen.name, value, path: expected.path })
        expect([second?.domain ?? null, second?.maxAge ?? null]).toEqual([chosen.domain ?? null, maxAge])

        const third = ToughCookie.parse(field)
        expect([third?.key, third?.value, third?.path, third?.secure, third?.httpOnly]).toEqual([
          chosen.name,
          value,
          expected.path,
          isSecure,
          ours.httpOnly,
        ])
        expect(third?.sameSite).toBe(chosen.sameSite ?? "lax")
      }),
      { numRuns: 2_000 },
    )
    expect(written).toBeGreaterThan(50)
  })

  it("REG-23, REG-24: what looks encoded stays as it is", () => {
    expect(serializeCookie(cookieSettings({ name: "a" }), true, "%0d%0aX:%20y", null)).toMatch(/^a=%0d%0aX:%20y;/)
    expect(codeOf(() => serializeCookie(cookieSettings({ name: "a" }), true, "x\r\nSet-Cookie: b=c", null))).toBe(
      "invalid",
    )
    expect(codeOf(() => serializeCookie(cookieSettings({ name: "a" }), true, "x; Domain=evil.test", null))).toBe(
      "invalid",
    )
  })
})
