// A cookie jar for tests that talk to a server: keeps what a careful browser would keep (RFC 6265bis) and drops what it would
// drop without a word, so that a test sees a lost cookie as a browser would. It knows no public suffixes, and it does not care
// which site a request comes from; tests of SameSite need a real browser.

import { type Clock, systemClock } from "../core/clock.ts"
import { checkOptions } from "../core/options.ts"

/** A cookie as a jar keeps it. */
export interface JarCookie {
  readonly name: string
  readonly value: string
  readonly domain: string
  /** Sent to that very host only, not to its subdomains. */
  readonly hostOnly: boolean
  readonly path: string
  readonly secure: boolean
  readonly httpOnly: boolean
  /** As written: "Lax", "Strict", "None", or null. */
  readonly sameSite: string | null
  /** Epoch ms; null: until the browser is closed. */
  readonly expiresAt: number | null
}

/** What one browser holds, for one test. */
export interface CookieJar {
  /** Takes in the Set-Cookie fields of a reply from this URL. */
  take(url: string | URL, setCookies: readonly string[]): void
  /** The Cookie field of a request to this URL, longest path first; null: none. */
  header(url: string | URL): string | null
  /** What the jar holds now. */
  cookies(): JarCookie[]
}

/** An empty jar. Its clock, the machine's by default, decides what has expired. */
export function cookieJar(options: { readonly clock?: Clock } = {}): CookieJar {
  checkOptions<typeof options>("cookieJar", options, { clock: true })
  const { clock = systemClock } = options
  let held: JarCookie[] = []
  const alive = (cookie: JarCookie): boolean => cookie.expiresAt === null || cookie.expiresAt > clock.now()

  return {
    take(url, setCookies) {
      for (const field of setCookies) {
        const cookie = readSetCookie(new URL(url), field, clock.now())
        if (cookie === null) continue
        const same = (other: JarCookie): boolean =>
          other.name === cookie.name && other.domain === cookie.domain && other.path === cookie.path
        held = [...held.filter((other) => !same(other)), cookie].filter(alive)
      }
    },
    header(url) {
      const { protocol, hostname, pathname } = new URL(url)
      const sent = held.filter(
        (cookie) =>
          alive(cookie) &&
          (cookie.hostOnly ? hostname === cookie.domain : domainMatches(hostname, cookie.domain)) &&
          pathMatches(pathname, cookie.path) &&
          (!cookie.secure || protocol === "https:"),
      )
      if (sent.length === 0) return null
      return sent
        .toSorted((a, b) => b.path.length - a.path.length)
        .map(({ name, value }) => `${name}=${value}`)
        .join("; ")
    },
    cookies: () => held.filter(alive),
  }
}

const LONGEST_MS = 400 * 86_400_000

/** The cookie that a field asks to keep; null when a browser would not. One that has expired deletes. */
function readSetCookie(url: URL, field: string, now: number): JarCookie | null {
  const [pair = "", ...parts] = field.split(";")
  const equals = pair.indexOf("=")
  if (equals < 1) return null
  const name = trim(pair.slice(0, equals))
  const value = trim(pair.slice(equals + 1))
  if (name.length + value.length > 4_096 || hasControls(field)) return null
  const attributes = new Map(parts.map((part) => attribute(part)))
  const domain = (attributes.get("domain") ?? "").toLowerCase().replace(/^\./, "")
  if (domain !== "" && !domainMatches(url.hostname, domain)) return null
  const path = attributes.get("path")
  const cookie: JarCookie = {
    name,
    value,
    domain: domain === "" ? url.hostname : domain,
    hostOnly: domain === "",
    path: path?.startsWith("/") ? path : defaultPath(url.pathname),
    secure: attributes.has("secure"),
    httpOnly: attributes.has("httponly"),
    sameSite: attributes.get("samesite") ?? null,
    expiresAt: endOf(attributes, now),
  }
  const needsSecure = cookie.sameSite?.toLowerCase() === "none" || attributes.has("partitioned")
  if ((cookie.secure && url.protocol !== "https:") || (needsSecure && !cookie.secure)) return null
  return keepsPromise(cookie, path) ? cookie : null
}

function endOf(attributes: ReadonlyMap<string, string>, now: number): number | null {
  const maxAge = attributes.get("max-age")
  if (maxAge !== undefined && /^-?\d+$/.test(maxAge))
    return now + Math.min(Math.max(Number(maxAge) * 1_000, 0), LONGEST_MS)
  const expires = Date.parse(attributes.get("expires") ?? "")
  return Number.isNaN(expires) ? null : Math.min(expires, now + LONGEST_MS)
}

/** Whether a prefixed name has what its prefix promises. */
function keepsPromise({ name, secure, httpOnly, hostOnly }: JarCookie, path: string | undefined): boolean {
  const prefix = /^__(secure|host-http|host|http)-/i.exec(name)?.[1]?.toLowerCase()
  if (prefix === undefined) return true
  if (!secure || (prefix.endsWith("http") && !httpOnly)) return false
  return !prefix.startsWith("host") || (hostOnly && path === "/")
}

function attribute(text: string): [name: string, value: string] {
  const equals = text.indexOf("=")
  const name = equals === -1 ? text : text.slice(0, equals)
  return [trim(name).toLowerCase(), equals === -1 ? "" : trim(text.slice(equals + 1))]
}

const trim = (text: string): string => text.replace(/^[ \t]+|[ \t]+$/g, "")

// Browsers refuse the whole field for any control character but the tab.
function hasControls(text: string): boolean {
  return [...text].some((character) => character !== "\t" && (character < " " || character === "\u007f"))
}

function defaultPath(pathname: string): string {
  const last = pathname.lastIndexOf("/")
  return last < 1 ? "/" : pathname.slice(0, last)
}

function domainMatches(host: string, domain: string): boolean {
  return host === domain || (host.endsWith(`.${domain}`) && !/^[\d.]+$|:/.test(host))
}

function pathMatches(pathname: string, path: string): boolean {
  return pathname === path || (pathname.startsWith(path) && (path.endsWith("/") || pathname[path.length] === "/"))
}
