import { describe, expect, it } from "vitest"
import { secureCheck } from "./trusted-proxies.ts"

const claim = { "x-forwarded-proto": "https" }

describe("whether a request is secure", () => {
  it("TLS in this process is, whatever a header says", () => {
    expect(secureCheck()({ encrypted: true, remoteAddress: "203.0.113.9" }, {})).toBe(true)
    expect(secureCheck(["10.0.0.0/8"])({ encrypted: true }, { "x-forwarded-proto": "http" })).toBe(true)
  })

  it("CKI-16: X-Forwarded-Proto counts from nobody by default", () => {
    for (const remoteAddress of ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1"]) {
      expect(secureCheck()({ remoteAddress }, claim)).toBe(false)
    }
  })

  const proxies = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "::1", "::ffff:192.0.2.7"]
  const check = secureCheck(proxies)
  it.each(["127.0.0.1", "::ffff:127.0.0.1", "10.255.0.1", "::ffff:10.1.2.3", "2001:db8:1::5", "::1", "192.0.2.7"])(
    "CKI-16: it counts from the listed %s",
    (remoteAddress) => {
      expect(check({ remoteAddress }, claim)).toBe(true)
      expect(check({ remoteAddress }, { "x-forwarded-proto": "HTTPS" })).toBe(true)
      expect(check({ remoteAddress }, { "x-forwarded-proto": "https, https" })).toBe(true)
      expect(check({ remoteAddress }, {})).toBe(false)
    },
  )

  it.each([
    "127.0.0.2",
    "11.0.0.1",
    "::ffff:11.0.0.1",
    "2001:db9::1",
    "fe80::1",
    "192.0.2.8",
    "",
    undefined,
    "localhost",
  ])("CKI-16: it does not count from %s", (remoteAddress) => {
    expect(check({ remoteAddress }, claim)).toBe(false)
  })

  it("CKI-16: what a stranger wrote in front of the proxy's word does not help him", () => {
    for (const value of ["https, http", "https,http", "http, https", "wss", "https;", "httpsx", "", ","]) {
      expect(check({ remoteAddress: "10.0.0.1" }, { "x-forwarded-proto": value })).toBe(false)
    }
    expect(check({ remoteAddress: "10.0.0.1" }, { "x-forwarded-proto": ["https", "http"] })).toBe(false)
    expect(check({ remoteAddress: "10.0.0.1" }, { forwarded: "proto=https" })).toBe(false)
  })

  it("refuses what is no address and no block", () => {
    const wrong: readonly unknown[] = [
      "proxy.internal",
      "10.0.0.0/33",
      "::/129",
      "10.0.0.0/",
      "10.0.0/8",
      "10.0.0.0/8/8",
      "",
      7,
      null,
      "10.0.0.0/-1",
      "loopback",
    ]
    for (const proxy of wrong) expect(() => secureCheck([proxy as string])).toThrow(TypeError)
    expect(() => secureCheck("10.0.0.1" as never)).toThrow(TypeError)
  })
})
