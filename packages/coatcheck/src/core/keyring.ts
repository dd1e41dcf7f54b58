// Keys for signing, several at a time so that secrets can be changed without logging anyone out: the first signs, all verify. Each
// key is derived from its secret for one purpose (HKDF), so what was signed for one use is nothing in another. A secret that
// could be guessed stops the start: a signature is only as good as its key.

import { deriveKey, hmac, sameMac, utf8Length } from "./crypto.ts"

/** Signs and verifies text for one purpose. */
export interface Keyring {
  /** HMAC-SHA-256 under the newest key, as 43 characters of base64url. */
  sign(text: string): string
  /** Whether any of the keys made this signature; compared in constant time. */
  verify(text: string, signature: string): boolean
}

const MIN_BYTES = 32
const MIN_DISTINCT = 10
const samples = /change.?me|secret.?key.?here|your.?secret|keyboard.?cat|example|password|s3cr3t|0123456789|abcdefghij/i

/**
 * A key ring from secrets, newest first.
 *
 * @param purpose what is signed; another purpose has other keys.
 * @throws TypeError when there is none, or one that is short (under 32 bytes), of few characters, a known sample, or given twice.
 */
export function keyring(secrets: string | readonly string[] | undefined, purpose: string): Keyring {
  const all = typeof secrets === "string" ? [secrets] : (secrets ?? [])
  if (!Array.isArray(all)) throw new TypeError("secret must be a text, or a list of them with the newest first")
  if (all.length === 0)
    throw new TypeError("this carrier needs a secret: set `secret` (make one with `npx coatcheck secret`)")
  all.forEach((secret, i) => check(secret, all.length > 1 ? `secret ${i + 1} of ${all.length}` : "the secret"))
  if (new Set(all).size < all.length)
    throw new TypeError("the same secret is given twice; list each once, newest first")
  const keys = all.map((secret: string) => deriveKey(secret, `coatcheck ${purpose}`))
  const [newest] = keys as [Uint8Array, ...Uint8Array[]] // at least one, checked above
  return {
    sign: (text) => hmac(newest, text),
    verify: (text, signature) => keys.some((key) => sameMac(hmac(key, text), signature)),
  }
}

function check(secret: unknown, which: string): void {
  const advice = "make one with `npx coatcheck secret`"
  if (typeof secret !== "string" || utf8Length(secret) < MIN_BYTES) {
    throw new TypeError(`${which} is shorter than ${MIN_BYTES} bytes; ${advice}`)
  }
  if (new Set(secret).size < MIN_DISTINCT || isRepeated(secret))
    throw new TypeError(`${which} has too little randomness; ${advice}`)
  if (samples.test(secret)) throw new TypeError(`${which} looks like a sample or a word; ${advice}`)
}

function isRepeated(secret: string): boolean {
  return (secret + secret).indexOf(secret, 1) < secret.length
}
