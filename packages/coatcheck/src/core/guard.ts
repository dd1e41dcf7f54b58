// The guard against other sites' requests (CSRF). A browser says itself where an unsafe request comes from: Sec-Fetch-Site, and
// from browsers too old for it Origin or Referer. No token, no state, no cost on safe methods. Tokens were left out as a default
// because they need every form to take part; a sibling domain can't forge these headers, while it can plant a cookie.
//
// The order: an origin on the list passes; a known Sec-Fetch-Site decides; else Origin; else Referer; else the policy for requests
// without any label, which by default lets them pass only when they carry no session cookie (then there is nothing to ride on).
// A value that is not known counts as absent, never as safe, and `Origin: null` is nobody.

import { checkOptions } from "./options.ts"

/** How unsafe requests from elsewhere are treated. */
export interface GuardOptions {
  /** Origins, such as "https://app.example.com", whose pages may call us although they are not ours. Default none. */
  readonly origins?: readonly string[]
  /** Whether sibling domains of one site (a.example.com, b.example.com) are trusted. Default false. */
  readonly sameSite?: boolean
  /** Unsafe requests that carry our session cookie but no label at all, as scripts and very old browsers send them. Default "refuse". */
  readonly unlabelled?: "refuse" | "allow"
}

/** What the guard looks at. */
export interface GuardedRequest {
  /** A request header by its lower-case name; null or undefined: absent. */
  header(name: "host" | "origin" | "referer" | "sec-fetch-site"): string | null | undefined
  /** Whether the user agent came over HTTPS. */
  readonly secure: boolean
  /** Whether it presents a cookie under our name, valid or not. */
  readonly presentsSession: boolean
}

/** Why a request was refused: its site, its Origin or Referer, or that it bears no label. */
export type Refusal = "site" | "origin" | "unlabelled"

/** Says why an unsafe request must be refused; null: it may pass. */
export type Guard = (request: GuardedRequest) => Refusal | null

/** What replies to guarded requests vary on, whether they passed or not. */
export const guardVary = "Sec-Fetch-Site, Origin"

/** Methods that change nothing and are not guarded. */
export function isSafeMethod(method: string | undefined): boolean {
  return method === "GET" || method === "HEAD" || method === "OPTIONS"
}

/**
 * A guard.
 *
 * @throws TypeError when a setting is none, or an origin is not of the form scheme://host or scheme://host:port.
 */
export function createGuard(options: GuardOptions = {}): Guard {
  checkOptions<GuardOptions>("guard", options, { origins: true, sameSite: true, unlabelled: true })
  const { origins = [], sameSite = false, unlabelled = "refuse" } = options
  if (typeof sameSite !== "boolean") throw new TypeError("guard.sameSite must be true or false")
  if (unlabelled !== "refuse" && unlabelled !== "allow")
    throw new TypeError(`guard.unlabelled must be "refuse" or "allow"`)
  if (!Array.isArray(origins)) throw badOrigins()
  const trusted = new Set(origins.map(trustedOrigin))
  return (request) => {
    const from = request.header("origin") ?? null
    const origin = from === null ? null : canonicalOrigin(from)
    if (origin !== null && trusted.has(origin)) return null
    const site = request.header("sec-fetch-site")
    if (site === "same-origin" || site === "none") return null
    if (site === "same-site") return sameSite ? null : "site"
    if (site === "cross-site") return "site"
    if (from !== null) return origin !== null && origin === ownOrigin(request) ? null : "origin"
    const referer = request.header("referer") ?? null
    if (referer !== null) {
      const page = originOfPage(referer)
      return page !== null && (trusted.has(page) || page === ownOrigin(request)) ? null : "origin"
    }
    return unlabelled === "allow" || !request.presentsSession ? null : "unlabelled"
  }
}

// A serialised origin (RFC 6454, 6.1) and nothing after it. A trailing dot makes another host, as it does to browsers.
const originForm = /^(https?):\/\/(\[[0-9a-f:.]+\]|[0-9a-z_-]+(?:\.[0-9a-z_-]+)*\.?)(?::([0-9]{1,5}))?$/i
const defaultPorts = { http: 80, https: 443 } as const

/** Lower case, without a default port; null when it is no origin (`null`, a path, credentials, two values). */
function canonicalOrigin(text: string): string | null {
  const match = originForm.exec(text)
  if (match === null) return null
  const scheme = match[1]?.toLowerCase() as "http" | "https" // the pattern allows no other
  const host = match[2]?.toLowerCase() ?? ""
  const port = match[3] === undefined ? defaultPorts[scheme] : Number(match[3])
  return port === defaultPorts[scheme] ? `${scheme}://${host}` : `${scheme}://${host}:${port}`
}

function ownOrigin(request: GuardedRequest): string | null {
  const host = request.header("host") ?? null
  return host === null ? null : canonicalOrigin(`${request.secure ? "https" : "http"}://${host}`)
}

function originOfPage(url: string): string | null {
  const end = url.slice(url.indexOf("://") + 3).search(/[/?#]/)
  return canonicalOrigin(end === -1 ? url : url.slice(0, url.indexOf("://") + 3 + end))
}

function trustedOrigin(text: unknown): string {
  const origin = typeof text === "string" ? canonicalOrigin(text) : null
  if (origin === null) throw badOrigins()
  return origin
}

function badOrigins(): TypeError {
  return new TypeError('guard.origins must be a list of origins such as "https://app.example.com", without a path')
}
