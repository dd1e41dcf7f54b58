import { CookieJar as ToughJar } from "tough-cookie"
import { describe, expect, it } from "vitest"
import { cookieJar } from "./cookie-jar.ts"
import { fakeClock } from "./fake-clock.ts"

const site = "https://app.shop.com/a/b"

/** What a jar sends to a URL after it took one field from the site. */
function sends(field: string, to: string = site): string | null {
  const jar = cookieJar()
  jar.take(site, [field])
  return jar.header(to)
}

describe("the cookie jar", () => {
  const rows: readonly [field: string, to: string, sent: string | null][] = [
    ["a=1", site, "a=1"],
    ["a=1; Path=/", "https://app.shop.com/", "a=1"],
    ["a=1", "https://app.shop.com/a/c", "a=1"],
    ["a=1", "https://app.shop.com/", null],
    ["a=1; Path=/a/b", "https://app.shop.com/a/bc", null],
    ["a=1; Path=/a", "https://app.shop.com/a/bc", "a=1"],
    ["a=1; Path=/", "https://sub.app.shop.com/", null],
    ["a=1; Path=/; Domain=app.shop.com", "https://sub.app.shop.com/", "a=1"],
    ["a=1; Path=/; Domain=shop.com", "https://other.shop.com/", "a=1"],
    ["a=1; Path=/; Domain=other.shop.com", site, null],
    ["a=1; Path=/; Secure", "http://app.shop.com/", null],
    ["a=1; Path=/; Max-Age=0", site, null],
    ["a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", site, null],
    ["a=1; Path=/; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", site, "a=1"],
    ["=1; Path=/", site, null],
    ["a=b=c; Path=/", site, "a=b=c"],
    [" a = 1 ; Path=/", site, "a=1"],
  ]
  it.each(rows)("%s, sent to %s: %s", (field, to, sent) => {
    expect(sends(field, to)).toBe(sent)
    // An independent jar agrees, where it does not ask for more than RFC 6265.
    const tough = new ToughJar(undefined, { rejectPublicSuffixes: false })
    tough.setCookieSync(field, site, { ignoreError: true })
    expect(tough.getCookieStringSync(to) || null).toBe(sent)
  })

  const refused = [
    "__Host-a=1; Path=/",
    "__Host-a=1; Secure",
    "__Host-a=1; Secure; Path=/a",
    "__host-a=1; Secure; Path=/; Domain=app.shop.com",
    "__Secure-a=1; Path=/",
    "__Host-Http-a=1; Secure; Path=/",
    "__Http-a=1; Secure",
    "a=1; SameSite=None",
    "a=1; Partitioned",
    "a=1\u0001",
    `a=${"x".repeat(4_096)}`,
  ]
  it.each(refused)("CKI-02, CKI-03, CKI-07: drops %.40s", (field) => {
    expect(sends(field)).toBeNull()
  })

  it("CKI-03, CKI-07: keeps what keeps its promise", () => {
    expect(sends("__Host-Http-a=1; Secure; Path=/; HttpOnly")).toBe("__Host-Http-a=1")
    expect(sends("__Secure-a=1; Secure; Domain=app.shop.com; Path=/")).toBe("__Secure-a=1")
    expect(sends(`a=${"x".repeat(4_095)}; Path=/`)).toHaveLength(4_097)
  })

  it("a Secure cookie can't come from a plain page", () => {
    const jar = cookieJar()
    jar.take("http://app.shop.com/", ["a=1; Secure; Path=/"])
    expect(jar.cookies()).toEqual([])
  })

  it("the clock decides, up to 400 days", () => {
    const clock = fakeClock()
    const jar = cookieJar({ clock })
    jar.take(site, ["a=1; Path=/; Max-Age=10", "b=2; Path=/; Max-Age=99999999"])
    clock.advance(9_999)
    expect(jar.header(site)).toBe("a=1; b=2")
    clock.advance(1)
    expect(jar.header(site)).toBe("b=2")
    clock.advance(400 * 86_400_000)
    expect(jar.header(site)).toBeNull()
  })

  it("CKI-12: the same name, domain and path replace and delete; another path is another cookie", () => {
    const jar = cookieJar()
    jar.take(site, ["a=1; Path=/", "a=2; Path=/a", "a=3; Path=/"])
    expect(jar.header(site)).toBe("a=2; a=3")
    jar.take(site, ["a=; Path=/; Max-Age=0"])
    expect(jar.cookies()).toMatchObject([{ name: "a", value: "2", path: "/a", hostOnly: true, expiresAt: null }])
  })
})
