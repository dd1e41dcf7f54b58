// The one file that touches node:crypto, base64url and the bytes of a text. Random bytes come from a pool that is refilled in one
// system call and wiped as it is used: 32 bytes cost 0.1 µs that way instead of 2 µs, and no spent secret stays in memory.

import * as crypto from "node:crypto"

/** Fills random bytes; the core's source of randomness. */
export type RandomSource = (bytes: number) => string

const POOL_BYTES = 4_096
const pool = Buffer.alloc(POOL_BYTES)
let used = POOL_BYTES

/** So many bytes (at most 64) from the system's CSPRNG, as base64url without padding. */
export const randomText: RandomSource = (bytes) => {
  if (used + bytes > POOL_BYTES) {
    crypto.randomFillSync(pool)
    used = 0
  }
  const text = pool.toString("base64url", used, used + bytes)
  pool.fill(0, used, used + bytes)
  used += bytes
  return text
}

// crypto.hash is three times as fast as createHash; Node has it from 20.12 and 21.7 on, other runtimes may not.
const oneShot = (crypto as { hash?: (algorithm: string, data: string, encoding: string) => string }).hash

/** SHA-256 of the text's UTF-8 bytes, as 43 characters of base64url. */
export const sha256: (text: string) => string = oneShot
  ? (text) => oneShot("sha256", text, "base64url")
  : (text) => crypto.createHash("sha256").update(text).digest("base64url")

/** A 32-byte key for one purpose from a secret (HKDF-SHA256, RFC 5869). */
export function deriveKey(secret: string, purpose: string): Uint8Array {
  return new Uint8Array(crypto.hkdfSync("sha256", secret, "", purpose, 32))
}

/** HMAC-SHA-256 of the text, as 43 characters of base64url. */
export function hmac(key: Uint8Array, text: string): string {
  return crypto.createHmac("sha256", key).update(text).digest("base64url")
}

/** Whether two MACs are the same, in time that does not depend on where they differ. */
export function sameMac(a: string, b: string): boolean {
  const left = Buffer.from(a)
  const right = Buffer.from(b)
  return left.length === right.length && crypto.timingSafeEqual(left, right)
}

/** How many bytes of UTF-8 a text takes; half of a surrogate pair counts as three. */
export function utf8Length(text: string): number {
  return Buffer.byteLength(text)
}

/** Text to base64url of its UTF-8 bytes. */
export function encode(text: string): string {
  return Buffer.from(text).toString("base64url")
}

/** Base64url to text; null when it is not exactly what `encode` makes, so that one text has one form. */
export function decode(text: string): string | null {
  const bytes = Buffer.from(text, "base64url")
  return bytes.toString("base64url") === text ? bytes.toString() : null
}
