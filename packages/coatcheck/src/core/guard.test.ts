import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { createGuard, type GuardOptions, isSafeMethod, type Refusal } from "./guard.ts"

interface Labels {
  readonly site?: string
  readonly origin?: string
  readonly referer?: string
  readonly host?: string | null
  readonly secure?: boolean
  readonly session?: boolean
}

function verdict(labels: Labels, options: GuardOptions = {}): Refusal | null {
  const { site, origin, referer, host = "app.example", secure = true, session = true } = labels
  const headers = { host, origin, referer, "sec-fetch-site": site }
  return createGuard(options)({ header: (name) => headers[name], secure, presentsSession: session })
}

describe("the guard", () => {
  it("CSR-01: only methods that change nothing go by unseen", () => {
    for (const method of ["GET", "HEAD", "OPTIONS"]) expect(isSafeMethod(method)).toBe(true)
    for (const method of ["POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "get", "", undefined]) {
      expect(isSafeMethod(method)).toBe(false)
    }
  })

  it("CSR-01: the four values of Sec-Fetch-Site", () => {
    expect(verdict({ site: "same-origin" })).toBeNull()
    expect(verdict({ site: "none" })).toBeNull()
    expect(verdict({ site: "same-site" })).toBe("site")
    expect(verdict({ site: "same-site" }, { sameSite: true })).toBeNull()
    expect(verdict({ site: "cross-site" })).toBe("site")
    expect(verdict({ site: "cross-site" }, { sameSite: true })).toBe("site")
  })

  it("CSR-01: a known value decides, whatever the weaker labels say", () => {
    expect(verdict({ site: "cross-site", origin: "https://app.example", referer: "https://app.example/x" })).toBe(
      "site",
    )
    expect(verdict({ site: "cross-site", session: false }, { unlabelled: "allow" })).toBe("site")
    expect(verdict({ site: "same-origin", origin: "null" })).toBeNull()
  })

  it("CSR-01: a listed origin passes although it is another site", () => {
    const options = { origins: ["https://Admin.Example:443", "http://localhost:5000"] }
    expect(verdict({ site: "cross-site", origin: "https://admin.example" }, options)).toBeNull()
    expect(verdict({ origin: "http://localhost:5000" }, options)).toBeNull()
    expect(verdict({ site: "cross-site", origin: "https://admin.example.evil" }, options)).toBe("site")
    expect(verdict({ site: "cross-site", referer: "https://admin.example/" }, options)).toBe("site")
  })

  it("CSR-03: a value that nobody knows is no value", () => {
    for (const site of ["banana", "", "Same-Origin", "same-origin, cross-site", "same-origin ", "none;q=1"]) {
      expect(verdict({ site, origin: "https://evil.example" })).toBe("origin")
      expect(verdict({ site, origin: "https://app.example" })).toBeNull()
      expect(verdict({ site })).toBe("unlabelled")
    }
  })

  const own: readonly [origin: string, labels: Labels][] = [
    ["https://app.example", {}],
    ["https://APP.example", {}],
    ["HTTPS://app.example", {}],
    ["https://app.example:443", {}],
    ["https://app.example", { host: "App.Example:443" }],
    ["http://app.example", { secure: false }],
    ["http://app.example:80", { secure: false, host: "app.example" }],
    ["http://127.0.0.1:5000", { secure: false, host: "127.0.0.1:5000" }],
    ["http://[::1]:5000", { secure: false, host: "[::1]:5000" }],
    ["https://app.example.", { host: "app.example." }],
  ]
  it.each(own)("CSR-02: %s is our own origin (%j)", (origin, labels) => {
    expect(verdict({ ...labels, origin })).toBeNull()
    expect(verdict({ ...labels, referer: `${origin}/a?b#c` })).toBeNull()
    expect(verdict({ ...labels, referer: origin })).toBeNull()
  })

  const foreign = [
    "null",
    "",
    "https://app.example.evil",
    "https://evil-app.example",
    "https://app.example@evil.test",
    "https://user:app.example@evil.test",
    "https://app.example:8443",
    "https://app.example:443.evil.test",
    "http://app.example",
    "https://app.example.",
    "https://app.example..",
    "https://sub.app.example",
    "//app.example",
    "app.example",
    "ftp://app.example",
    "https://app.example, https://evil.test",
    "https://app.example https://evil.test",
    "https://xn--pp-xia.example",
    "https://аpp.example",
    "https://app.example\\.evil.test",
    "https://app.example:",
    "https://app.example:99999999999",
  ]
  it.each(foreign)("CSR-02: %j is not", (origin) => {
    expect(verdict({ origin })).toBe("origin")
    expect(verdict({ origin, session: false })).toBe("origin")
    expect(verdict({ origin }, { origins: ["https://app.example"] })).toBe("origin")
    expect(verdict({ referer: `${origin}/page` })).toBe("origin")
    expect(verdict({ referer: origin === "" ? "/" : origin })).toBe("origin")
  })

  it("CSR-02: Origin: null is nobody's, even when the Referer is ours", () => {
    expect(verdict({ origin: "null", referer: "https://app.example/" })).toBe("origin")
    expect(verdict({ origin: "null", host: "null" })).toBe("origin")
  })

  it("CSR-02: without any label, what carries a session is refused, and what carries none has nothing to ride on", () => {
    expect(verdict({})).toBe("unlabelled")
    expect(verdict({ session: false })).toBeNull()
    expect(verdict({}, { unlabelled: "allow" })).toBeNull()
  })

  it("CSR-02: without a Host nothing is our own, and listed origins still pass", () => {
    expect(verdict({ host: null, origin: "https://app.example" })).toBe("origin")
    expect(verdict({ host: "", origin: "https://" })).toBe("origin")
    expect(verdict({ host: null, origin: "https://a.test" }, { origins: ["https://a.test"] })).toBeNull()
    expect(verdict({ host: null, referer: "https://a.test/x" }, { origins: ["https://a.test"] })).toBeNull()
  })

  it("CSR-02: only the exact origin passes, whatever else is sent", () => {
    const words = [
      "https://",
      "http://",
      "//",
      "HTTPS://",
      "app",
      "App",
      ".",
      "example",
      "evil.test",
      ":443",
      ":0443",
      ":",
      "8",
      "/",
      "@",
    ]
    const origins = fc.array(fc.constantFrom(...words, "null", " ", ",", "\t", "\u0000", "%2e", "аpp"), {
      maxLength: 6,
    })
    const own = fc.constant(["https://", "app", ".", "example"])
    fc.assert(
      fc.property(
        fc.oneof(
          origins,
          fc.tuple(own, origins).map((both) => both.flat()),
        ),
        (parts) => {
          const origin = parts.join("")
          expect(verdict({ origin }) === null).toBe(/^https:\/\/app\.example(:0*443)?$/i.test(origin))
        },
      ),
      { numRuns: 500 },
    )
  })

  it("refuses options that could never match", () => {
    const wrong: readonly unknown[] = [
      "https://a.test/",
      "a.test",
      "null",
      "*",
      "https://*.a.test",
      "",
      7,
      "https://a.test/x",
    ]
    for (const origin of wrong) expect(() => createGuard({ origins: [origin as string] })).toThrow(TypeError)
    expect(() => createGuard({ sameSite: "yes" as never })).toThrow(TypeError)
    expect(() => createGuard({ unlabelled: "maybe" as never })).toThrow(TypeError)
  })
})
