// A sealed value as it is kept: `{"sealed":1,"key":"<which key>","text":"<base64url>"}`, JSON for every engine and tool, and in this
// very form only. What is authenticated besides the text is the entry's key and the purpose: a value that was moved under
// another key, or comes from another application, does not open.

import type { Sealed } from "../../core/keyring.ts"

const FRONT = '{"sealed":1,"key":"'
const MIDDLE = '","text":"'
const BACK = '"}'
const KEY_CHARACTERS = 8
const TEXT_AT = FRONT.length + KEY_CHARACTERS + MIDDLE.length
/** Nonce and tag. */
const SEAL_BYTES = 24 + 16

/** The JSON text of a sealed value. */
export function packSealed({ key, text }: Sealed): string {
  return FRONT + key + MIDDLE + text + BACK
}

/** The sealed value that a JSON text holds; null when it is no such text. */
export function unpackSealed(value: string): Sealed | null {
  const isSealed =
    value.startsWith(FRONT) && value.startsWith(MIDDLE, FRONT.length + KEY_CHARACTERS) && value.endsWith(BACK)
  if (!isSealed) return null
  return { key: value.slice(FRONT.length, FRONT.length + KEY_CHARACTERS), text: value.slice(TEXT_AT, -BACK.length) }
}

/** How many bytes a value of so many bytes takes when it is sealed. */
export function sealedBytes(bytes: number): number {
  return TEXT_AT + Math.ceil(((bytes + SEAL_BYTES) * 4) / 3) + BACK.length
}
