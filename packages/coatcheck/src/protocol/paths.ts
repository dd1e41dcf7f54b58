// Where things are on the wire. A key in a path is decoded exactly once, and nothing is ever normalised: `..`, `%2E%2E`, `a/b` and
// `__proto__` are keys, not directions. What is reserved is compared with the raw path, before decoding, so that no spelling
// of a key can turn into another door: /-/health is the service's, /-%2Fhealth is a key.
//
// A client that rewrites paths (`fetch` turns /records/%2E%2E into /) can't reach a key of dots this way; the batch can.

import { type ListQuery, limits } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"

/** The paths of the strict wire and of the service itself. */
export const paths = {
  /** GET: a page of records. A record is below it, see {@link recordPath}. */
  records: "/-/v1/records",
  /** POST: many operations in one request. */
  batch: "/-/v1/batch",
  /** GET: changes as they happen. */
  events: "/-/v1/events",
  health: "/-/health",
  ready: "/-/ready",
  metrics: "/-/metrics",
  openapi: "/-/openapi.json",
  console: "/-/console",
} as const

/** What a path means, by {@link route}. */
export type Route =
  /** `/`: all keys, or several writes, on the classic wire. */
  | { readonly kind: "root" }
  /** `/<key>`: one key on the classic wire. */
  | { readonly kind: "key"; readonly key: string }
  /** `/-/v1/records/<key>`. */
  | { readonly kind: "record"; readonly key: string }
  /** One of {@link paths}; for "console" also everything below it. */
  | { readonly kind: keyof typeof paths }
  /** Reserved, and nothing is there. */
  | { readonly kind: "nothing" }

const byPath = new Map<string, Route>(
  Object.keys(paths).map((kind) => [paths[kind as keyof typeof paths], { kind: kind as keyof typeof paths }]), // the literal's own keys
)
const recordPrefix = `${paths.records}/`
const root: Route = { kind: "root" }
const nothing: Route = { kind: "nothing" }

/** The path of one record on the strict wire. */
export function recordPath(key: string): string {
  return recordPrefix + encodeSegment(key)
}

/** The path of one key on the classic wire. */
export function keyPath(key: string): string {
  return `/${encodeSegment(key)}`
}

/**
 * What a request's path (without the query, exactly as it was sent) means. Slashes before a classic key are dropped, because
 * clients join a base URL that ends in a slash with a path that begins with one; a key that begins with a slash is asked for by `%2F`.
 *
 * @throws CoatcheckError `invalid` when the key in it is empty, or its percent-encoding is not that of UTF-8.
 */
export function route(path: string): Route {
  if (!path.startsWith("/-/")) {
    const rest = path.replace(/^\/+/, "")
    return rest === "" ? root : { kind: "key", key: decodeKey(rest) }
  }
  const reserved = byPath.get(path)
  if (reserved) return reserved
  if (path.startsWith(recordPrefix)) return { kind: "record", key: decodeKey(path.slice(recordPrefix.length)) }
  if (path.startsWith(`${paths.console}/`)) return { kind: "console" }
  if (path === "/-/v1" || path.startsWith("/-/v1/")) return nothing
  return { kind: "key", key: decodeKey(path.slice(1)) }
}

/** The path and query that ask for a page. */
export function listPath(query: ListQuery = {}): string {
  const fields = new URLSearchParams()
  if (query.prefix !== undefined && query.prefix !== "") fields.set("prefix", query.prefix)
  if (query.owner !== undefined) fields.set("owner", query.owner)
  if (query.cursor !== undefined) fields.set("cursor", query.cursor)
  if (query.limit !== undefined) fields.set("limit", String(query.limit))
  if (query.values === false) fields.set("values", "false")
  return fields.size === 0 ? paths.records : `${paths.records}?${fields}`
}

/**
 * The page that a query string (without its `?`) asks for.
 *
 * @throws CoatcheckError `invalid` when a field is unknown, comes twice or is malformed, naming the field.
 */
export function parseListQuery(search: string): ListQuery {
  const query: { -readonly [name in keyof ListQuery]: ListQuery[name] } = {}
  const seen = new Set<string>()
  for (const [name, text] of new URLSearchParams(search)) {
    if (seen.has(name)) throw malformed(`${name}, given twice`)
    seen.add(name)
    if (name === "prefix" || name === "owner" || name === "cursor") query[name] = text
    else if (name === "limit") query.limit = parseLimit(text)
    else if (name === "values") query.values = parseBoolean(text)
    else throw malformed("an unknown name")
  }
  return query
}

function parseLimit(text: string): number {
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (limit < 1 || limit > limits.page) throw malformed(`limit, which goes from 1 to ${limits.page}`)
  return limit
}

function parseBoolean(text: string): boolean {
  if (text !== "true" && text !== "false") throw malformed("values, which is true or false")
  return text === "true"
}

function malformed(what: string): CoatcheckError {
  return new CoatcheckError(
    "invalid",
    `The query has ${what}: it takes prefix, owner, cursor, limit and values, each once`,
  )
}

function encodeSegment(key: string): string {
  if (key === "." || key === "..") return key.replaceAll(".", "%2E")
  try {
    return encodeURIComponent(key)
  } catch (cause) {
    throw new CoatcheckError("invalid", "A key must not hold half of a surrogate pair", { cause })
  }
}

function decodeKey(segment: string): string {
  if (segment === "") throw new CoatcheckError("invalid", "A key has at least one character")
  try {
    return decodeURIComponent(segment)
  } catch (cause) {
    throw new CoatcheckError("invalid", "The key in the path is not percent-encoded UTF-8", { cause })
  }
}
