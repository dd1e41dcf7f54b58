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

/** Bytes of a nonce of `aead`. */
export const NONCE_BYTES = 24
const TAG_BYTES = 16
const HALF_BYTES = 12
const BLOCK_BYTES = 16

/** Encrypts and authenticates texts under one key. */
export interface Aead {
  /**
   * The text as base64url of nonce, ciphertext and tag. `context` is authenticated and not kept: it opens with the same one only.
   *
   * @param nonce base64url of 24 bytes, never the same for two texts; random ones don't repeat, however many there are.
   */
  seal(text: string, context: string, nonce: string): string
  /** The text; null when it was sealed under another key or context, or is not to the bit what was made here. */
  open(sealed: string, context: string): string | null
}

/**
 * XAES-256-GCM (C2SP): AES-256-GCM where each nonce has a key of its own, derived from the first half of it, while the second half
 * is the nonce inside. Plain GCM has 96 bits for its nonce, so that no more than 2^32 random ones may be used under a key, and one
 * that repeats gives the key of its authentication away; here there is room for 2^80. Two more AES blocks a text, 0.5 µs.
 */
export function aead(key: Uint8Array): Aead {
  // Blocks are independent of each other in ECB, so one cipher serves for good: it is AES itself and nothing else.
  const block = crypto.createCipheriv("aes-256-ecb", key, null).setAutoPadding(false)
  const mask = doubled(block.update(Buffer.alloc(BLOCK_BYTES)))
  // NIST SP 800-108 in counter mode with CMAC: the counter, "X" and the end of the label, then half of the nonce, masked.
  const blank = Buffer.concat([1, 2].map((counter) => mask.map((byte, at) => byte ^ ([0, counter, 0x58][at] ?? 0))))
  const input = Buffer.alloc(2 * BLOCK_BYTES)

  function keyOf(nonce: Buffer): Buffer {
    blank.copy(input)
    for (let at = 0; at < HALF_BYTES; at++) {
      const byte = nonce[at] as number // a nonce has two halves
      for (let end = BLOCK_BYTES; end <= 2 * BLOCK_BYTES; end += BLOCK_BYTES) {
        const place = end - HALF_BYTES + at
        input[place] = (input[place] as number) ^ byte // within bounds
      }
    }
    return block.update(input)
  }

  return {
    seal(text, context, nonce) {
      const whole = Buffer.from(nonce, "base64url")
      if (whole.length !== NONCE_BYTES) throw new TypeError(`a nonce has ${NONCE_BYTES} bytes`)
      const cipher = crypto.createCipheriv("aes-256-gcm", keyOf(whole), whole.subarray(HALF_BYTES))
      cipher.setAAD(Buffer.from(context))
      const body = cipher.update(text, "utf8")
      cipher.final()
      return Buffer.concat([whole, body, cipher.getAuthTag()]).toString("base64url")
    },
    open(sealed, context) {
      const bytes = Buffer.from(sealed, "base64url")
      const bodyEnds = bytes.length - TAG_BYTES
      // One text has one form: bits that base64url does not use, and characters that it skips, are changes too.
      if (bodyEnds < NONCE_BYTES || bytes.toString("base64url") !== sealed) return null
      const nonce = bytes.subarray(0, NONCE_BYTES)
      const decipher = crypto.createDecipheriv("aes-256-gcm", keyOf(nonce), nonce.subarray(HALF_BYTES), {
        authTagLength: TAG_BYTES,
      })
      decipher.setAAD(Buffer.from(context))
      decipher.setAuthTag(bytes.subarray(bodyEnds))
      const text = decipher.update(bytes.subarray(NONCE_BYTES, bodyEnds))
      try {
        decipher.final()
      } catch {
        return null
      }
      return text.toString()
    },
  }
}

/** A block times two in the field of CMAC. */
function doubled(block: Uint8Array): Uint8Array {
  const carry = (block[0] as number) < 0x80 ? 0 : 0x87
  const last = block.length - 1
  return block.map((byte, at) => (byte << 1) ^ ((block[at + 1] ?? 0) >> 7) ^ (at === last ? carry : 0)) // a byte each, as the array cuts it
}

/** How many bytes of UTF-8 a text takes; half of a surrogate pair counts as three. */
export function utf8Length(text: string): number {
  return Buffer.byteLength(text)
}

/** Bytes to base64url. */
export function encodeBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url")
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
