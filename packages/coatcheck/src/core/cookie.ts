// Cookies, both directions, as pure functions: what a Cookie field offers under our name, which settings contradict each other,
// and the Set-Cookie field that we send.
//
// Reading is strict on purpose. Names are compared byte for byte, with no percent-decoding, no case folding and no trimming
// beyond SP and HTAB around a pair: each leniency of that kind has let somebody forge a prefixed cookie in some framework.
// Quotes group nothing, so nobody can hide a cookie in, or swallow one by, another one's quotes. A general parser that builds an
// object of all cookies was rejected: it costs a microsecond for one name, and keys chosen by strangers don't belong on objects.
//
// Writing refuses what a browser would drop without a word (a broken promise of a prefix, 4,097 bytes), because a cookie that is
// dropped is a session that is lost. All that doesn't change from reply to reply is put together once, when settings are checked.

import { CoatcheckError } from "../errors.ts"
import { checkOptions } from "./options.ts"

/** How a session's cookie is named and fenced in. Contradictions are a TypeError when sessions are created. */
export interface CookieOptions {
  /**
   * An RFC 9110 token. Default: `__Host-Http-session` on HTTPS and `session` on plain HTTP; a secure request then reads the
   * prefixed one only. The prefixes `__Host-`, `__Secure-`, `__Host-Http-` and `__Http-` make browsers hold us to what they promise.
   */
  readonly name?: string
  /** Default "/". Another path needs a name of its own. */
  readonly path?: string
  /** The domain whose subdomains share the cookie. Default: none, this host alone. Needs a name of its own. */
  readonly domain?: string
  /** "auto" (default): Secure when the request is; true: HTTPS or no session at all; false: never. */
  readonly secure?: boolean | "auto"
  /** Whether scripts are kept out. Default true. */
  readonly httpOnly?: boolean
  /** Default "lax". "none" needs `secure: true`. */
  readonly sameSite?: "lax" | "strict" | "none"
  /** One jar per top-level site, for pages embedded elsewhere. Default false. Needs `secure: true`. */
  readonly partitioned?: boolean
  /** true: the browser keeps the cookie until the session's absolute end, over restarts. Default false. */
  readonly persistent?: boolean
}

/** The cookie on one kind of request, ready to be written. */
export interface CookieForm {
  readonly name: string
  /** The name has a prefix: a good browser can't hold two of them for one request, so a second one means tampering. */
  readonly prefixed: boolean
  /** `; Path=/; HttpOnly; …`, the same on every reply. */
  readonly attributes: string
  /** The whole field that makes a browser forget the cookie. */
  readonly clearing: string
}

/** Settings that were checked. */
export interface CookieSettings {
  /** On requests that came over HTTPS. */
  readonly secure: CookieForm
  /** On plain HTTP. null: this cookie is for HTTPS only, so a plain request has no session. */
  readonly plain: CookieForm | null
  readonly persistent: boolean
  /** A sentence that a person should read at start; null: nothing to say. */
  readonly warning: string | null
}

/** The longest Max-Age that browsers keep, in seconds: 400 days (RFC 6265bis, 5.5). */
export const longestMaxAge = 34_560_000

const bounds = { pairs: 128, headerBytes: 8_192, candidates: 4, pairBytes: 4_096, attributeBytes: 1_024 } as const
const none: readonly string[] = []

/**
 * The values that a Cookie field offers under exactly this name: in order, each once, at most 4.
 *
 * Looks at the first 128 pairs that end within the first 8 KiB. A value with an octet outside RFC 6265's `cookie-octet` (control
 * characters, spaces, quotes, commas, backslashes, non-ASCII) is no candidate; an empty one is. More than one value under a
 * prefixed name can't come from a good browser.
 */
export function readCookies(header: string | null, name: string): readonly string[] {
  if (header === null) return none
  let found: string[] | null = null
  let start = 0
  for (let pair = 0; pair < bounds.pairs && start < header.length; pair++) {
    let stop = header.indexOf(";", start)
    if (stop === -1) stop = header.length
    if (stop > bounds.headerBytes) break
    let from = start
    while (from < stop && isBlank(header.charCodeAt(from))) from++
    // A name holds no ";", so what begins with name and "=" here is inside this pair.
    if (header.startsWith(name, from) && header.charCodeAt(from + name.length) === EQUALS) {
      const value = cookieValue(header, from + name.length + 1, stop)
      if (value !== null) found = offer(found, value)
      if (found?.length === bounds.candidates) break
    }
    start = stop + 1
  }
  return found ?? none
}

function offer(found: string[] | null, value: string): string[] {
  if (found === null) return [value]
  if (!found.includes(value)) found.push(value)
  return found
}

const EQUALS = 0x3d
const isBlank = (code: number): boolean => code === 0x20 || code === 0x09

// What is no cookie-octet of RFC 6265, 4.1.1. A test by one class is twice as fast here as a loop over char codes.
const foreignOctet = /[^\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]/

function cookieValue(text: string, from: number, to: number): string | null {
  let end = to
  while (end > from && isBlank(text.charCodeAt(end - 1))) end--
  const value = text.slice(from, end)
  return foreignOctet.test(value) ? null : value
}

/**
 * Checks a session's cookie settings and puts together what is the same on every reply.
 *
 * @param absoluteMs the session's absolute limit; says whether a persistent cookie outlives what browsers keep.
 * @throws TypeError for anything that browsers would drop or read as something else, saying what to change.
 */
export function cookieSettings(options: CookieOptions = {}, absoluteMs: number | null = null): CookieSettings {
  checkOptions<CookieOptions>("cookie", options, {
    name: true,
    path: true,
    domain: true,
    secure: true,
    httpOnly: true,
    sameSite: true,
    partitioned: true,
    persistent: true,
  })
  const { name, path = "/", domain, secure = "auto", httpOnly = true, sameSite = "lax" } = options
  const { partitioned = false, persistent = false } = options
  for (const [key, value] of Object.entries({ httpOnly, partitioned, persistent })) {
    if (typeof value !== "boolean") throw new TypeError(`cookie.${key} must be true or false`)
  }
  if (secure !== "auto" && typeof secure !== "boolean")
    throw new TypeError(`cookie.secure must be "auto", true or false`)
  if (!Object.hasOwn(sameSiteNames, sameSite)) throw new TypeError(`cookie.sameSite must be "lax", "strict" or "none"`)
  checkAttribute("path", path, pathForm, "must begin with a slash and hold visible ASCII without semicolons")
  if (domain !== undefined) checkAttribute("domain", domain, hostName, "must be a host name such as example.com")
  const promise = name === undefined ? null : checkName(name)
  if (promise) keepPromise(promise, { path, domain, secure, httpOnly })
  const alwaysSecure = secure === true || promise !== null
  if (sameSite === "none" && !alwaysSecure)
    throw new TypeError(`cookie.sameSite "none" needs secure: true; browsers drop it otherwise`)
  if (partitioned && !alwaysSecure)
    throw new TypeError("cookie.partitioned needs secure: true; browsers drop it otherwise")
  if (name === undefined && (domain !== undefined || path !== "/" || !httpOnly)) {
    throw new TypeError(
      "cookie.domain, another cookie.path and httpOnly: false need a cookie.name of your own, for the default one promises otherwise",
    )
  }
  const common = {
    head: domain === undefined ? `; Path=${path}` : `; Path=${path}; Domain=${domain}`,
    tail: `${httpOnly ? "; HttpOnly" : ""}; SameSite=${sameSiteNames[sameSite]}${partitioned ? "; Partitioned" : ""}`,
  }
  const form = (isSecure: boolean): CookieForm => {
    const own = name ?? (isSecure ? "__Host-Http-session" : "session")
    const attributes = `${common.head}${isSecure ? "; Secure" : ""}${common.tail}`
    const clearing = `${own}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT${attributes}`
    return { name: own, prefixed: prefixOf(own) !== null, attributes, clearing }
  }
  return {
    secure: form(secure !== false),
    plain: alwaysSecure ? null : form(false),
    persistent,
    warning:
      persistent && absoluteMs !== null && absoluteMs > longestMaxAge * 1_000
        ? "Browsers keep a cookie for 400 days at most: sessions that live longer lose theirs then."
        : null,
  }
}

/** The cookie's form on this kind of request; null: it is for HTTPS only and the request is not secure. */
export function cookieForm(settings: CookieSettings, secure: boolean): CookieForm | null {
  return secure ? settings.secure : settings.plain
}

/**
 * A Set-Cookie field.
 *
 * @param maxAgeSeconds until the browser forgets it, cut to whole seconds, 0 to 400 days; null: until the browser is closed.
 * @throws CoatcheckError `too-large` when name and value are over 4,096 bytes; `invalid` when the value holds an octet that no
 * cookie may hold, or when the cookie is for HTTPS only and the request is not secure.
 */
export function serializeCookie(
  settings: CookieSettings,
  secure: boolean,
  value: string,
  maxAgeSeconds: number | null,
): string {
  const form = formOrThrow(settings, secure)
  // Only ASCII gets past this, so length is bytes.
  if (foreignOctet.test(value)) {
    throw new CoatcheckError(
      "invalid",
      "a cookie's value must be made of visible ASCII without quotes, commas, semicolons and backslashes",
    )
  }
  if (form.name.length + value.length > bounds.pairBytes) {
    throw new CoatcheckError(
      "too-large",
      `the session does not fit its cookie (${bounds.pairBytes} bytes with the name): keep less in it, or keep it in a store`,
    )
  }
  if (maxAgeSeconds === null) return `${form.name}=${value}${form.attributes}`
  const maxAge = Math.min(Math.max(Math.floor(maxAgeSeconds), 0), longestMaxAge)
  return `${form.name}=${value}; Max-Age=${maxAge}${form.attributes}`
}

/**
 * The Set-Cookie field that makes the browser forget the cookie: same name, Path, Domain, Secure and Partitioned, for otherwise
 * it would forget another one.
 *
 * @throws CoatcheckError `invalid` when the cookie is for HTTPS only and the request is not secure.
 */
export function clearCookie(settings: CookieSettings, secure: boolean): string {
  return formOrThrow(settings, secure).clearing
}

/** A reply's Set-Cookie fields with this one added, in place of any other of the same name: one name, one field. */
export function replaceCookie(current: string | readonly string[] | undefined, field: string): string | string[] {
  if (current === undefined) return field
  const name = fieldName(field)
  const others = (typeof current === "string" ? [current] : current).filter((other) => fieldName(other) !== name)
  return others.length === 0 ? field : [...others, field]
}

// Browsers trim the name before they compare it.
const fieldName = (field: string): string => field.slice(0, Math.max(field.search(/[=;]/), 0)).trim()

function formOrThrow(settings: CookieSettings, secure: boolean): CookieForm {
  const form = cookieForm(settings, secure)
  if (form !== null) return form
  throw new CoatcheckError(
    "invalid",
    "the session's cookie is for HTTPS only and this request is not: serve HTTPS, or list the proxy that ends TLS in trustProxies",
  )
}

const sameSiteNames = { lax: "Lax", strict: "Strict", none: "None" } as const
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const pathForm = /^\/[\x21-\x3a\x3c-\x7e]*$/
const hostName = /^[0-9a-z](?:[0-9a-z-]*[0-9a-z])?(?:\.[0-9a-z](?:[0-9a-z-]*[0-9a-z])?)*$/i

/** What a browser checks before it believes a name's prefix. Longer prefixes first. */
const prefixes = [
  { prefix: "__Host-Http-", hostOnly: true, httpOnly: true },
  { prefix: "__Host-", hostOnly: true, httpOnly: false },
  { prefix: "__Http-", hostOnly: false, httpOnly: true },
  { prefix: "__Secure-", hostOnly: false, httpOnly: false },
] as const

type Prefix = (typeof prefixes)[number]

// Browsers compare prefixes without regard to case, so that `__host-x` is held to the promise as well (RFC 6265bis, 5.7).
function prefixOf(name: string): Prefix | null {
  const lower = name.toLowerCase()
  return prefixes.find(({ prefix }) => lower.startsWith(prefix.toLowerCase())) ?? null
}

function checkName(name: string): Prefix | null {
  if (typeof name !== "string" || !token.test(name))
    throw new TypeError("cookie.name must be a token: letters, digits, and any of - _ . ~ and the like")
  if (name.length > bounds.attributeBytes)
    throw new TypeError(`cookie.name must be at most ${bounds.attributeBytes} bytes`)
  return prefixOf(name)
}

function keepPromise(
  { prefix, hostOnly, httpOnly }: Prefix,
  options: { path: string; domain: string | undefined; secure: boolean | "auto"; httpOnly: boolean },
): void {
  if (options.secure === false) throw new TypeError(`a cookie named ${prefix}… must be Secure: leave out secure: false`)
  if (hostOnly && options.domain !== undefined) throw new TypeError(`a cookie named ${prefix}… can't have a domain`)
  if (hostOnly && options.path !== "/") throw new TypeError(`a cookie named ${prefix}… must have the path "/"`)
  if (httpOnly && !options.httpOnly) throw new TypeError(`a cookie named ${prefix}… must be HttpOnly`)
}

function checkAttribute(key: string, value: string, form: RegExp, rule: string): void {
  if (typeof value !== "string" || !form.test(value)) throw new TypeError(`cookie.${key} ${rule}`)
  if (value.length > bounds.attributeBytes)
    throw new TypeError(`cookie.${key} must be at most ${bounds.attributeBytes} bytes`)
}
