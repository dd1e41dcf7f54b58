// The URL of a service, taken apart once: where to connect, what stands before each path, which wire is spoken, and the
// credentials, which from here on are a header field and appear in no message. Mistakes are TypeErrors when the store is made; an
// unknown parameter is one of them, because a mistyped `lossy` or `wire` would change what is promised.

import type { Clock } from "../../core/clock.ts"

/** Where a service is and how it is spoken to. */
export interface HttpAddress {
  /** For messages: scheme, host and port, without credentials. */
  readonly origin: string
  readonly secure: boolean
  /** A name, or an address without brackets. */
  readonly host: string
  readonly port: number
  /** What stands before each path: "" or such as "/kv". */
  readonly base: string
  readonly wire: "strict" | "classic"
  /** On the classic wire: drop what it can't do instead of throwing `unsupported`. */
  readonly lossy: boolean
  /** The Authorization field; null: none. */
  readonly authorization: string | null
}

/** The settings of a store with their defaults filled in. */
export interface HttpSettings {
  readonly clock: Clock
  /** ms */
  readonly deadline: number
  readonly maxValueBytes: number
  readonly inFlight: number
  readonly maxQueued: number
}

const form = 'an http store is made of a URL such as "http://localhost:5100"'

/**
 * Takes the URL of a service apart: `http(s)://[name:token@]host[:port][/base][?wire=classic[&lossy=1]]`.
 *
 * A token in the URL is used before the one that is passed beside it. The strict wire sends it as Bearer; the classic one as
 * Basic with its name, as clients of that wire always did.
 *
 * @throws TypeError when it is anything else. The message does not repeat the URL, which may hold a token.
 */
export function httpAddress(text: string, token: string | undefined): HttpAddress {
  const url = parse(text)
  const { wire, lossy } = parameters(url)
  return {
    origin: url.origin,
    secure: url.protocol === "https:",
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(url.port) || (url.protocol === "https:" ? 443 : 80),
    base: url.pathname.replace(/\/+$/, ""),
    wire,
    lossy,
    authorization: authorization(url, token, wire),
  }
}

function parse(text: string): URL {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw new TypeError(`Not a URL: ${form}`) // the parser's own error repeats the text
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw new TypeError(`Neither http: nor https: – ${form}`)
  if (url.hash !== "") throw new TypeError(`A URL with a # in it: ${form}`)
  return url
}

function parameters(url: URL): { wire: "strict" | "classic"; lossy: boolean } {
  let wire: "strict" | "classic" = "strict"
  let lossy = false
  for (const [name, value] of url.searchParams) {
    if (name === "wire" && (value === "strict" || value === "classic")) wire = value
    else if (name === "lossy" && value === "1") lossy = true
    else throw new TypeError('The URL of an http store takes "wire=classic" and, with it, "lossy=1", and nothing else')
  }
  if (lossy && wire === "strict")
    throw new TypeError('"lossy=1" belongs to "wire=classic": the strict wire loses nothing')
  return { wire, lossy }
}

function authorization(url: URL, token: string | undefined, wire: "strict" | "classic"): string | null {
  const inUrl = url.password !== ""
  if (url.username !== "" && !inUrl) throw new TypeError("A token in a URL is written name:token@host")
  const secret = inUrl ? decoded(url.password) : token
  if (secret === undefined) return null
  if (!/^[\x21-\x7e]{1,4096}$/.test(secret)) throw new TypeError("A token is printable ASCII without spaces")
  if (inUrl && wire === "classic")
    return `Basic ${Buffer.from(`${decoded(url.username)}:${secret}`).toString("base64")}`
  return `Bearer ${secret}`
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new TypeError("The name and the token in a URL are percent-encoded UTF-8")
  }
}
