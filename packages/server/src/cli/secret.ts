// `coatcheck secret`: fresh secrets. Plain, it prints one and nothing else, so that it fits into $(…) and > file. With --token it makes
// a token for the service: first line the token, for the client; second line what goes into the service's token file.

import { freshSecret, parseScopes, tokenLine } from "./token-file.ts"

/** What the command line may say. */
export interface SecretFlags {
  readonly token?: string
  readonly scopes: string
}

/**
 * The lines that the command prints.
 *
 * @throws UsageError when the name or a scope is malformed
 */
export function secretLines(flags: SecretFlags): string[] {
  const secret = freshSecret()
  if (flags.token === undefined) return [secret]
  return [secret, tokenLine(flags.token, parseScopes(flags.scopes, "--scopes"), secret)]
}
