// Who may ask, and for what. A token file holds digests only, so that who reads it can't ask; a token has enough entropy that a
// fast hash is the right one. The presented token is hashed too and compared with every entry in constant time: neither the place
// of a difference nor the number of the entry can be timed.
//
// Clients written years ago put credentials into the URL (http://user:token@host) and send HTTP Basic, so both schemes are taken;
// with Basic the password is the token and the user name means nothing. Scopes don't include each other.

import { createHash, timingSafeEqual } from "node:crypto"

/** What a token may be good for. read: get and list. write: everything that changes keys. admin: what is about the service itself. */
export type Scope = "read" | "write" | "admin"

const scopes: readonly string[] = ["read", "write", "admin"] satisfies Scope[]

/** One entry of a token file. */
export interface Token {
  /** Who holds it, for logs. */
  readonly name: string
  readonly scopes: ReadonlySet<string>
  readonly digest: Buffer
}

/**
 * The entries `name scopes sha256:hex`.
 *
 * @throws TypeError that names the entry by its number, never by its text; also when there is none, since a service with an empty
 * token file must not be an open one.
 */
export function parseTokens(entries: readonly string[]): readonly Token[] {
  if (entries.length === 0) throw new TypeError("There are no tokens: add an entry `name scopes sha256:hex`")
  const tokens = entries.map(parseToken)
  const names = new Set(tokens.map((token) => token.name))
  if (names.size < tokens.length) throw new TypeError("Two tokens have the same name; give each holder its own")
  return tokens
}

function parseToken(entry: string, index: number): Token {
  const [name, list, digest, ...rest] = entry.trim().split(/\s+/)
  const hex = digest && /^sha256:([0-9a-f]{64})$/i.exec(digest)?.[1]
  const granted = list?.split(",") ?? []
  if (!name || !hex || rest.length > 0 || !/^[\w.@-]{1,64}$/.test(name)) {
    throw new TypeError(`Token ${index + 1} must be an entry \`name scopes sha256:hex\` with 64 hexadecimal digits`)
  }
  if (!granted.every((scope) => scopes.includes(scope))) {
    throw new TypeError(`The scopes of token ${index + 1} must be a comma-separated choice of ${scopes.join(", ")}`)
  }
  return { name, scopes: new Set(granted), digest: Buffer.from(hex, "hex") }
}

/** The token that an Authorization field presents and that is one of ours, or null. */
export function findToken(tokens: readonly Token[], authorization: string | undefined): Token | null {
  const presented = authorization === undefined ? null : presentedToken(authorization)
  if (presented === null) return null
  const digest = createHash("sha256").update(presented).digest()
  let found: Token | null = null
  for (const token of tokens) {
    if (timingSafeEqual(digest, token.digest)) found = token
  }
  return found
}

function presentedToken(authorization: string): string | null {
  const [, scheme, credentials] = /^(bearer|basic) +(\S+) *$/i.exec(authorization) ?? []
  if (scheme === undefined || credentials === undefined) return null
  if (scheme.toLowerCase() === "bearer") return credentials
  const pair = Buffer.from(credentials, "base64").toString()
  const colon = pair.indexOf(":")
  return colon < 0 ? null : pair.slice(colon + 1)
}
