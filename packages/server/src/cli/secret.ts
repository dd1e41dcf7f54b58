// `coatcheck secret`: fresh secrets. Plain, it prints one and nothing else, so that it fits into $(…) and > file. With --token it makes
// a token for the service: first line the token, for the client; second line what goes into the service's token file.

import { UsageError } from "./fail.ts"
import { freshSecret, parseScopes, tokenLine } from "./token-file.ts"

/** What the command line may say. */
export interface SecretFlags {
  readonly token?: string
  readonly scopes?: string
}

/**
 * The lines that the command prints.
 *
 * @throws UsageError when the name or a scope is malformed, or there are scopes and no token to have them
 */
export function secretLines(flags: SecretFlags): string[] {
  const { token, scopes } = flags
  const secret = freshSecret()
  if (token !== undefined) return [secret, tokenLine(token, parseScopes(scopes ?? "read,write", "--scopes"), secret)]
  if (scopes !== undefined) throw new UsageError("--scopes are those of a token: name one with --token")
  return [secret]
}
