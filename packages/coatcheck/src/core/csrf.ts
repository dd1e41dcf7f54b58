// Tokens against forged requests, for applications that want them beside the guard: in a form's hidden field or a request header,
// never in a URL. A token is a MAC over a random part, under a key made from what only this session's browser and we know: its id.
// So nothing is kept, a token of one session is nothing in another (also where somebody plants his own cookie), and it dies with
// the id. The random part makes each one different, so that compressed pages give nothing away.

import { deriveKey, hmac, type RandomSource, sameMac } from "./crypto.ts"

const SALT_BYTES = 16
const form = /^([\w-]{22})\.([\w-]{43})$/

/** A fresh token for the session with this secret: 66 characters. */
export function csrfToken(secret: string, random: RandomSource): string {
  const salt = random(SALT_BYTES)
  return `${salt}.${mac(secret, salt)}`
}

/** Whether a token was made for the session with this secret. Anything may be given. */
export function isCsrfToken(secret: string, token: unknown): boolean {
  const parts = typeof token === "string" ? form.exec(token) : null
  return parts !== null && sameMac(mac(secret, parts[1] ?? ""), parts[2] ?? "") // the form has both
}

function mac(secret: string, salt: string): string {
  return hmac(deriveKey(secret, "coatcheck csrf"), salt)
}
