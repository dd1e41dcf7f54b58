// One request under way, and the ways to answer it. Every answer leaves through `send`, which is why every answer has the same
// care: never cached, never sniffed, its length known, `Connection: close` once the service drains, one line in the log.
//
// Headers go out as one flat array by writeHead: setHeader a field costs three times as much.

import type { IncomingMessage, ServerResponse } from "node:http"
import { formatProblem, type Problem, problemType, type Route } from "coatcheck/protocol"
import type { Setting } from "./options.ts"
import type { Token } from "./tokens.ts"

/** One request under way. */
export interface Call {
  readonly setting: Setting
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly method: string
  route: Route
  /** The query as it was sent, without its question mark. */
  readonly search: string
  /** Whose token it presents; null where the service asks for none, or where it presents none that is ours. */
  token: Token | null
  /** Whether the client still waits for our word (Expect: 100-continue) before it sends the body. */
  waits: boolean
  /** Whether the connection is to be closed behind the answer. */
  last: boolean
  /** performance.now() when it began; 0 where nobody logs it. */
  readonly startedAt: number
}

/** More header fields of an answer: names and values in turn. */
export type Fields = readonly string[]

const none: Fields = []
const careful: Fields = ["Cache-Control", "no-store", "X-Content-Type-Options", "nosniff"]

/** Answers JSON text. */
export function sendJson(call: Call, status: number, body: string, more: Fields = none): void {
  send(call, status, "application/json", body, more)
}

/** Answers a problem document (RFC 9457). */
export function sendProblem(call: Call, problem: Problem, more: Fields = none): void {
  send(call, problem.status, problemType, formatProblem(problem), more)
}

/** Writes a whole problem document and leaves it to the caller to end the response. */
export function beginProblem(call: Call, problem: Problem): void {
  const body = formatProblem(problem)
  beginWhole(call, problem.status, problemType, body, none)
  call.response.write(body)
}

/** Answers with headers alone: 201, 204 or 304. */
export function sendEmpty(call: Call, status: 201 | 204 | 304, more: Fields = none): void {
  const fields = ["Cache-Control", "no-store", ...more]
  if (status === 201) fields.push("Content-Length", "0") // the others have no body by definition, and no length
  begin(call, status, fields)
  call.response.end()
}

/** Begins an answer of unknown length; the caller writes and ends it. */
export function beginStream(call: Call, type: string, more: Fields = none): void {
  begin(call, 200, ["Content-Type", type, ...careful, ...more])
}

function begin(call: Call, status: number, fields: string[]): void {
  if (call.last || call.setting.draining) call.response.shouldKeepAlive = false
  call.response.writeHead(status, fields)
  told(call, status)
}

function send(call: Call, status: number, type: string, body: string, more: Fields): void {
  beginWhole(call, status, type, body, more)
  call.response.end(body)
}

function beginWhole(call: Call, status: number, type: string, body: string, more: Fields): void {
  const length = String(Buffer.byteLength(body))
  begin(call, status, ["Content-Type", type, "Content-Length", length, ...careful, ...more])
}

// The route is told by its kind: keys, values, credentials and whatever else a client can write never reach a log.
function told(call: Call, status: number): void {
  if (call.startedAt === 0) return
  const ms = Math.round((performance.now() - call.startedAt) * 1_000) / 1_000
  call.setting.log?.debug?.(
    { method: call.method, route: call.route.kind, status, ms, as: call.token?.name },
    "request",
  )
}
