// Ids. The browser holds the raw id, the store knows only its SHA-256, and the two are different types so that the compiler keeps
// them apart. A plain hash is enough: there is no guessing 256 random bits offline, so nothing slow and no key is needed, and a
// search by a hash leaks no prefix of an id through time. The form is checked before anything else is done with what a request
// brought: what is no id of ours reaches no store.

import { type RandomSource, sha256 } from "./crypto.ts"

declare const kind: unique symbol

/** What the cookie holds: 32 random bytes as 43 characters of base64url. A secret. */
export type RawId = string & { readonly [kind]: "raw" }

/** SHA-256 of a raw id, as 43 characters of base64url. Names a session in stores, logs and to people; opens nothing. */
export type StoredId = string & { readonly [kind]: "stored" }

/** What keys of session records begin with. */
export const keyPrefix = "session:"

// 43 characters hold 258 bits; the last one carries two zero bits, so each id has just one spelling.
const form = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/

/** A fresh id: 256 bits. */
export function newId(random: RandomSource): RawId {
  return random(32) as RawId // this is where raw ids come from
}

/** Whether a text has the exact form of an id. Says nothing of whether it was ever given out. */
export function isId(text: unknown): text is RawId {
  return typeof text === "string" && text.length === 43 && form.test(text)
}

/** The id under which stores and people know a session. */
export function storedId(id: RawId): StoredId {
  return sha256(id) as StoredId // this is where stored ids come from
}

/** A version: 96 random bits, so that none ever comes back. */
export function newVersion(random: RandomSource): string {
  return random(12)
}
