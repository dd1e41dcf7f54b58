// Calls that are a request of their own: listings, and everything on the classic wire.

import type { CoatcheckError } from "../../errors.ts"
import type { HttpClient, HttpRequest } from "./client.ts"
import type { HttpReply } from "./reply.ts"
import { type Call, lane, type LaneLimits } from "./lane.ts"
import type { CoarseTimer } from "../shared/timer.ts"

/** Sends single requests, within the lane's bounds. */
export interface Requests {
  /**
   * The reply, whatever its status.
   *
   * @throws CoatcheckError when none came whole; `unknown-outcome` only for a request that `writes`.
   */
  ask(request: HttpRequest, writes: boolean): Promise<HttpReply>
  /** Resolves when no request is left. */
  idle(): Promise<void>
}

interface SingleCall extends Call {
  readonly request: HttpRequest
  readonly resolve: (reply: HttpReply) => void
}

/** A lane of single requests; see `lane` for the parameters. */
export function requests(client: HttpClient, where: string, timer: CoarseTimer, limits: LaneLimits): Requests {
  const calls = lane<SingleCall>(client, where, timer, limits, ([first]) => {
    const { request } = first as SingleCall // the queue has at least one
    return { request, count: 1, land }
  })
  return {
    ask: (request, writes) =>
      new Promise<HttpReply>((resolve, reject: (error: CoatcheckError) => void) => {
        calls.push({ request, writes, resolve, reject, turn: 0, settled: false, resent: false })
      }),
    idle: calls.idle,
  }
}

function land(calls: readonly SingleCall[], reply: HttpReply): void {
  for (const call of calls) {
    if (call.settled) continue
    call.settled = true
    call.resolve(reply)
  }
}
