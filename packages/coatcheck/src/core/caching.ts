// What a reply tells caches once it has looked at a session. Set-Cookie by itself stops no cache, and Vary: Cookie alone is
// ignored by some, so both fields are put right: Vary is appended to, never overwritten, and Cache-Control ends up at least
// private, or no-store when the reply hands out our cookie. An application that says `public` on such a page is overruled, and
// told so, because the alternative is one person's page in another person's browser.
//
// Fields are taken apart with quotes respected (`private="a, b"` is one directive, and a qualified private protects those fields
// alone), and put together again in the order in which the application wrote them.

/** A header's value as node:http and Headers hand it out. */
export type HeaderValue = number | string | readonly string[] | null | undefined

/** A Cache-Control value, and what was taken from the application's. */
export interface CacheControl {
  readonly value: string
  /** The application's directives that would have let caches keep the page for others: "public, s-maxage=60"; null: none. */
  readonly dropped: string | null
}

/** Fields that speak to one kind of cache over Cache-Control's head (RFC 9213, Edge Architecture); no session's page may carry them. */
export const targetedCacheFields: readonly string[] = ["cdn-cache-control", "surrogate-control"]

/** The Vary value that names these fields too. `*` says it all and stays; what is there already, in any case, is not repeated. */
export function appendVary(current: HeaderValue, names: string): string {
  const text = joined(current)
  if (text === "") return names
  const present = new Set(listed(text).map((name) => name.toLowerCase()))
  if (present.has("*")) return text
  const missing = listed(names).filter((name) => !present.has(name.toLowerCase()))
  return missing.length === 0 ? text : `${text}, ${missing.join(", ")}`
}

/**
 * The Cache-Control value of a reply that looked at a session.
 *
 * With our Set-Cookie: `no-store`, and no directive that lets anybody keep it. Without: at least `private`, unless the
 * application said `private` or `no-store` itself. `public` and `s-maxage` go in both cases.
 */
export function cacheControl(current: HeaderValue, setsCookie: boolean): CacheControl {
  const text = joined(current)
  if (text === "") return setsCookie ? noStore : onlyPrivate
  const kept: string[] = []
  const dropped: string[] = []
  const names = new Set<string>()
  for (const directive of listed(text)) {
    const name = directive.split("=", 1)[0]?.trim().toLowerCase() ?? ""
    if (sharing.has(name)) dropped.push(directive)
    else if (!setsCookie || !(keeping.has(name) || directive.includes("="))) {
      kept.push(directive)
      if (!directive.includes("=")) names.add(name)
    }
  }
  if (setsCookie ? !names.has("no-store") : !names.has("no-store") && !names.has("private")) {
    kept.push(setsCookie ? "no-store" : "private")
  }
  return { value: kept.join(", "), dropped: dropped.length === 0 ? null : dropped.join(", ") }
}

const noStore: CacheControl = { value: "no-store", dropped: null }
const onlyPrivate: CacheControl = { value: "private", dropped: null }
const sharing = new Set(["public", "s-maxage"])
// Beside no-store these are at best noise; must-understand even allows to ignore it (RFC 9111, 5.2.2.3).
const keeping = new Set(["max-age", "immutable", "stale-while-revalidate", "stale-if-error", "must-understand"])

function joined(value: HeaderValue): string {
  if (value === undefined || value === null) return ""
  return typeof value === "object" ? value.join(", ") : String(value)
}

/** The members of a comma-separated list; a comma inside quotes separates nothing. */
function listed(text: string): string[] {
  const members = text.match(/(?:[^,"]|"(?:\\.|[^"\\])*"|")+/g) ?? []
  return members.map((member) => member.trim()).filter((member) => member !== "")
}
