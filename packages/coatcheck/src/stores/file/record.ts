// One entry as the bytes of one file, which a person can read:
//
//     coatcheck 1 <crc32 as 8 hex digits>
//     {"key":"session:…","version":"…","expiresAt":1795177800000,"owner":"alice"}
//     {"v":1,…}
//
// The name of the file is the SHA-256 of the key, so that no key can be a path and none is too long or differs from another one by
// case alone; the key stands inside, because a listing has to give it back. The checksum is over every byte behind it, and the key must fit the
// name: a file that was cut, flipped, or moved to another name reads as damaged, never as somebody's data. A checksum is no
// signature: whoever may write here may write a good one, so what it holds is checked like the arguments of a call.

import { crc32 } from "node:zlib"
import { checkSet } from "../../core/contract.ts"
import { sha256 } from "../../core/crypto.ts"
import type { Entry } from "../../core/store.ts"

const MAGIC = "coatcheck 1 "
const HEAD_BYTES = MAGIC.length + 9
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** The name of a key's file, and of its lock: 64 hex digits. An owner's marks have theirs in the same way. */
export function nameOf(key: string): string {
  return Buffer.from(sha256(key), "base64url").toString("hex")
}

/** Whether a file's name is one of `nameOf`. */
export function isName(name: string): boolean {
  return /^[0-9a-f]{64}$/.test(name)
}

/** The bytes that an entry is kept as. */
export function packRecord({ key, value, version, expiresAt, owner }: Entry): Buffer {
  const rest = Buffer.from(`${JSON.stringify({ key, version, expiresAt, owner })}\n${value}\n`)
  return Buffer.concat([Buffer.from(head(rest)), rest])
}

/** The entry that the bytes under this name stand for; null when they are damaged. */
export function unpackRecord(name: string, bytes: Buffer): Entry | null {
  const rest = bytes.subarray(HEAD_BYTES)
  if (bytes.toString("latin1", 0, HEAD_BYTES) !== head(rest)) return null
  try {
    const text = utf8.decode(rest)
    const lineEnds = text.indexOf("\n")
    const { key, version, expiresAt, owner } = JSON.parse(text.slice(0, lineEnds)) as Entry // checked below, as a caller's would be
    const value = text.slice(lineEnds + 1, -1)
    checkSet(key, value, { version, expiresAt, owner }, Number.MAX_SAFE_INTEGER)
    const isWhole = version !== undefined && expiresAt !== undefined && owner !== undefined
    return isWhole && nameOf(key) === name ? { key, value, version, expiresAt, owner } : null
  } catch {
    return null // no UTF-8, no JSON or no entry; the caller reports it
  }
}

function head(rest: Buffer): string {
  return `${MAGIC}${crc32(rest).toString(16).padStart(8, "0")}\n`
}
