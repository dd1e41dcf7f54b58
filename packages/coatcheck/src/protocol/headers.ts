// What travels in header fields. A version is the record's strong entity tag (RFC 9110, 8.8.3). An end travels as the
// milliseconds that are left, never as a time of day, so that two machines' clocks need not agree. An owner is percent-encoded
// UTF-8, because a field holds ASCII.

import { CoatcheckError } from "../errors.ts"

/** The names of our header fields, in lower case as Node gives them. */
export const headers = {
  /** The version that a write makes; the store chooses one if it is left out. */
  version: "coatcheck-version",
  /** Milliseconds left, or "none". In a reply a record without an end has no such field. */
  ttl: "coatcheck-ttl",
  /** Whose the record is, percent-encoded. Empty: nobody's. */
  owner: "coatcheck-owner",
  /** "1" on the classic wire when the key is absent, to tell it from a stored null. */
  absent: "coatcheck-absent",
} as const

/** One entity tag of a condition. */
export interface EntityTag {
  readonly version: string
  /** A weak tag never satisfies If-Match. */
  readonly weak: boolean
}

/** A version as a strong entity tag. What a tag can't hold is percent-encoded. */
export function formatTag(version: string): string {
  return plainTag.test(version) ? `"${version}"` : `"${encodeURIComponent(version)}"`
}
const plainTag = /^[\w.~-]+$/

/**
 * The tags of an If-Match or If-None-Match field, or "*".
 *
 * @throws CoatcheckError `invalid` when it is malformed.
 */
export function parseTags(field: string): "*" | readonly EntityTag[] {
  if (field.trim() === "*") return "*"
  const tags: EntityTag[] = []
  let at = 0
  while (at < field.length) {
    tagForm.lastIndex = at
    const match = tagForm.exec(field)
    if (match === null) throw new CoatcheckError("invalid", 'A condition is *, or entity tags such as "abc", "def"')
    tags.push({ version: decodePercent(match[2] ?? "", "An entity tag"), weak: match[1] !== undefined })
    at = tagForm.lastIndex
  }
  if (tags.length === 0) throw new CoatcheckError("invalid", "A condition is empty: leave the field out instead")
  return tags
}
// One tag with the comma or the end that must follow it; sticky, so that parsing goes forward only.
const tagForm = /[ \t]*(W\/)?"([\x21\x23-\x7e]*)"[ \t]*(?:,(?=[ \t]*[W"])|$)/y

/** Whether If-Match holds for the version that stands there (null: nothing does): strong comparison. */
export function strongMatch(condition: "*" | readonly EntityTag[], version: string | null): boolean {
  if (version === null) return false
  return condition === "*" || condition.some((tag) => !tag.weak && tag.version === version)
}

/** Whether a tag of If-None-Match names the version that stands there: weak comparison. */
export function weakMatch(condition: "*" | readonly EntityTag[], version: string | null): boolean {
  if (version === null) return false
  return condition === "*" || condition.some((tag) => tag.version === version)
}

/** What is left until `expiresAt`, in whole ms, never less than 0; null: no end. Both by the same clock. */
export function remaining(expiresAt: number | null, now: number): number | null {
  return expiresAt === null ? null : Math.max(0, Math.ceil(expiresAt - now))
}

/** The Coatcheck-TTL field of what is left. */
export function formatTtl(ttl: number | null): string {
  return ttl === null ? "none" : String(ttl)
}

/**
 * What a Coatcheck-TTL field leaves, in ms; null: no end.
 *
 * @throws CoatcheckError `invalid` when it is neither "none" nor a whole number of at most fifteen digits.
 */
export function parseTtl(field: string): number | null {
  if (field === "none") return null
  if (!/^\d{1,15}$/.test(field)) {
    throw new CoatcheckError("invalid", 'Coatcheck-TTL is "none" or a whole number of milliseconds')
  }
  return Number(field)
}

/** The Coatcheck-Owner field; null: nobody. */
export function formatOwner(owner: string | null): string {
  return owner === null ? "" : encodeURIComponent(owner)
}

/**
 * The owner that a Coatcheck-Owner field names; null: nobody.
 *
 * @throws CoatcheckError `invalid` when it is not percent-encoded UTF-8, or there are two.
 */
export function parseOwner(field: string): string | null {
  if (field === "") return null
  // Raw bytes arrive as Latin-1, and several fields as one with commas: taken as they are, both would name somebody else.
  if (!/^[!-+\--~]+$/.test(field)) throw new CoatcheckError("invalid", "Coatcheck-Owner is percent-encoded UTF-8, once")
  return decodePercent(field, "Coatcheck-Owner")
}

function decodePercent(text: string, what: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new CoatcheckError("invalid", `${what} is not percent-encoded UTF-8`, { cause })
  }
}
