// What a token is good for, asked by each route before it touches the store.

import { plainProblem } from "coatcheck/protocol"
import { type Call, sendProblem } from "./call.ts"
import type { Scope } from "./tokens.ts"

/** Whether the caller may do what needs this scope. If not, the refusal has been sent. */
export function permits(call: Call, scope: Scope): boolean {
  if (call.setting.tokens === null || call.token?.scopes.has(scope)) return true
  sendProblem(call, plainProblem(403, "Forbidden", `This token's scopes don't include ${scope}`))
  return false
}
