// Keys for signing and for sealing, several at a time so that secrets can be changed without logging anyone out: the first signs or
// seals, all verify or open. Each key is derived from its secret for one purpose (HKDF), so what was made for one use is nothing
// in another. A secret that could be guessed stops the start: a signature is only as good as its key.

import {
  type Aead,
  aead,
  deriveKey,
  encodeBytes,
  hmac,
  NONCE_BYTES,
  type RandomSource,
  randomText,
  sameMac,
  sha256,
  utf8Length,
} from "./crypto.ts"

/** Signs and verifies text for one purpose. */
export interface Keyring {
  /** HMAC-SHA-256 under the newest key, as 43 characters of base64url. */
  sign(text: string): string
  /** Whether any of the keys made this signature; compared in constant time. */
  verify(text: string, signature: string): boolean
}

/** What `SealingRing.seal` makes of a text. */
export interface Sealed {
  /** Which of the keys: 8 characters of base64url that tell nothing of it. */
  readonly key: string
  /** Base64url. */
  readonly text: string
}

/** Encrypts texts for one purpose. */
export interface SealingRing {
  /** Seals under the newest key. `context` is authenticated and not kept. */
  seal(text: string, context: string): Sealed
  /** The text; null when no key of the ring is that one, or it was not sealed so, for this purpose and context. */
  open(sealed: Sealed, context: string): string | null
}

const NONCE_CHARACTERS = (NONCE_BYTES * 4) / 3
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
  const keys = secretsFrom(secrets).map((secret) => deriveKey(secret, `coatcheck ${purpose}`))
  const [newest] = keys as [Uint8Array, ...Uint8Array[]] // secretsFrom gives one at least
  return {
    sign: (text) => hmac(newest, text),
    verify: (text, signature) => keys.some((key) => sameMac(hmac(key, text), signature)),
  }
}

interface SealingKey extends Aead {
  readonly id: string
  readonly pepper: string
}

/**
 * A ring of keys for sealing from secrets, newest first.
 *
 * Nonces are a hash of random bytes, of a secret and of what is sealed: where randomness repeats itself, as it may in two copies of
 * one virtual machine, two texts still don't share a nonce unless they are the same text in the same place.
 *
 * @param purpose what is sealed; another purpose has other keys.
 * @throws TypeError as `keyring`.
 */
export function sealingRing(
  secrets: string | readonly string[] | undefined,
  purpose: string,
  random: RandomSource = randomText,
): SealingRing {
  const keys = secretsFrom(secrets).map((secret): SealingKey => {
    const id = encodeBytes(deriveKey(secret, `coatcheck ${purpose}, id`)).slice(0, 8)
    const pepper = encodeBytes(deriveKey(secret, `coatcheck ${purpose}, nonce`))
    return { id, pepper, ...aead(deriveKey(secret, `coatcheck ${purpose}, seal`)) }
  })
  const [newest] = keys as [SealingKey, ...SealingKey[]] // secretsFrom gives one at least
  return {
    seal(text, context) {
      // Not to be kept apart by anybody, only never the same for two texts: the parts of the callers' contexts have no line breaks.
      const nonce = sha256(`${newest.pepper}${random(32)}\n${context}\n${text}`).slice(0, NONCE_CHARACTERS)
      return { key: newest.id, text: newest.seal(text, context, nonce) }
    },
    open({ key, text }, context) {
      return keys.find(({ id }) => id === key)?.open(text, context) ?? null
    },
  }
}

function secretsFrom(secrets: string | readonly string[] | undefined): readonly string[] {
  const all = typeof secrets === "string" ? [secrets] : (secrets ?? [])
  if (!Array.isArray(all)) throw new TypeError("secret must be a text, or a list of them with the newest first")
  if (all.length === 0) throw new TypeError("a secret is needed: set `secret` (make one with `npx coatcheck secret`)")
  all.forEach((secret, i) => check(secret, all.length > 1 ? `secret ${i + 1} of ${all.length}` : "the secret"))
  if (new Set(all).size < all.length)
    throw new TypeError("the same secret is given twice; list each once, newest first")
  return all as string[] // each was checked to be one
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
