// Where a service is, as a person types it: localhost:5100, :5100, http://host/, with a trailing slash or without, with credentials
// in it or not. `name` is what messages may say; the credentials go into one header and nowhere else.
//
// A token in the URL is visible to everybody who can list processes and stays in the shell's history. The old clients' spelling is
// understood all the same, with a warning; COATCHECK_TOKEN is the way without one.

import { UsageError } from "./fail.ts"

/** A service's URL, taken apart. */
export interface ServiceUrl {
  /** For messages: scheme, host and port, and the path if there is one. No credentials. */
  readonly name: string
  readonly secure: boolean
  /** A name or an address, IPv6 without brackets. */
  readonly host: string
  readonly port: number
  /** What stands before every path of the wire: empty, or a path without a slash at its end. */
  readonly base: string
  /** The Authorization field, or null: no credentials. */
  readonly authorization: string | null
  /** The credentials came out of the URL, where others can see them. */
  readonly secretInUrl: boolean
  /** `?wire=classic`: don't try the strict wire. */
  readonly classic: boolean
}

/**
 * Reads a service's URL.
 *
 * @param token - goes out as a Bearer token where the URL has no credentials of its own
 * @throws UsageError when it is no URL of a service; the message never repeats what was given, which may hold a secret
 */
export function parseServiceUrl(given: string, token?: string): ServiceUrl {
  const text = given.trim()
  if (!/^https?:\/\//i.test(text) && hasScheme(text)) {
    throw new UsageError("the URL must be that of a service: http://HOST:PORT or https://HOST:PORT")
  }
  const url = parse(withScheme(text))
  const classic = url.searchParams.get("wire") === "classic"
  const known = new Set(["wire", "lossy"]) // lossy belongs to writers; a shared STORE_URL may carry it
  if ([...url.searchParams.keys()].some((name) => !known.has(name))) {
    throw new UsageError(
      "the URL has a query: it takes ?wire=classic and nothing else (for a prefix there is --prefix)",
    )
  }
  const secure = url.protocol === "https:"
  const base = url.pathname.replace(/\/+$/, "")
  return {
    name: `${url.protocol}//${url.host}${base}`,
    secure,
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(url.port) || (secure ? 443 : 80),
    base,
    authorization: authorization(url, token),
    secretInUrl: url.password !== "",
    classic,
  }
}

/** localhost:5100 has none, sqlite:./x.db has one: a port is a number. */
function hasScheme(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:(?!\d{1,5}(?:[/?#]|$))/i.test(text) && !/^[^/?#]*@/.test(text)
}

function withScheme(text: string): string {
  if (/^https?:\/\//i.test(text)) return text
  return `http://${text.startsWith(":") ? "localhost" : ""}${text.replace(/^\/+/, "")}`
}

function parse(text: string): URL {
  if (!URL.canParse(text)) {
    throw new UsageError("the URL can't be read: write http://HOST:PORT, such as http://localhost:5100")
  }
  return new URL(text)
}

/** Basic for what stands in the URL, as clients always sent it; else the token as Bearer. */
function authorization(url: URL, token: string | undefined): string | null {
  if (url.password !== "") {
    return `Basic ${Buffer.from(`${decode(url.username)}:${decode(url.password)}`).toString("base64")}`
  }
  if (url.username !== "") throw new UsageError("a token in a URL is written name:token@host")
  if (!token) return null
  if (!/^[\x21-\x7e]{1,4096}$/.test(token))
    throw new UsageError("COATCHECK_TOKEN must be printable ASCII without spaces")
  return `Bearer ${token}`
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new UsageError("the credentials in the URL are not percent-encoded", { cause })
  }
}
