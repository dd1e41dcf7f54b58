// One HTTP exchange over kept connections, and an exact account of how it failed. Node's own client is used bare: `fetch` costs
// several times as much a request, and rewrites paths such as /%2E%2E, which is a key here.
//
// What a caller must know of a failure is whether the service may have seen the request. A connection that was never made has sent
// nothing; anything later may have. A kept connection that the service closed before one byte of a reply came is told apart,
// because what only reads may be asked again at once.

import * as http from "node:http"
import * as https from "node:https"
import { isUtf8 } from "node:buffer"
import type { HttpAddress } from "./address.ts"

/** What is asked. */
export interface HttpRequest {
  readonly method: "GET" | "PUT" | "POST" | "DELETE"
  /** Of the wire; the address's base is put before it. */
  readonly path: string
  /** JSON. */
  readonly body?: string
  /** Bytes of the reply's body; more is a failure. */
  readonly maxReply: number
}

/** A reply that came whole. */
export interface HttpReply {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

/** An exchange without a whole reply. */
export interface HttpFailure {
  /** Whether the service may have seen the request. */
  readonly sent: boolean
  /** A kept connection broke before a byte of the reply came. */
  readonly stale: boolean
  /** What came is no HTTP, no UTF-8 or without end: the other end is no service of ours. */
  readonly rubbish: boolean
  readonly cause: Error
}

/** A request under way. */
export interface HttpExchange {
  /** Whether the service may have seen the request. */
  readonly sent: boolean
  /** Gives it up and closes its connection; its `done` will not be called. */
  cancel(): void
}

/** Told how an exchange ended, once. */
export type HttpDone = (...end: [reply: HttpReply, failure: null] | [reply: null, failure: HttpFailure]) => void

/** Speaks to one address. */
export interface HttpClient {
  /** Sends a request. `done` is called later, never before this returns. */
  send(request: HttpRequest, done: HttpDone): HttpExchange
  /** Closes the connections that wait for use, after one of them turned out to be dead. */
  dropIdle(): void
  /** Closes every connection. */
  close(): void
}

const json = { "content-type": "application/json" }
/** No reply is taken that is longer, whatever was asked. */
const MAX_REPLY = 268_435_456
/** How long a connection may wait for use. Node's servers close theirs after 5 s, and a request that meets the closing is lost. */
const IDLE_MS = 4_000

/** A client of one address that holds at most so many connections. */
export function httpClient(address: HttpAddress, connections: number): HttpClient {
  const agentOptions = { keepAlive: true, maxSockets: connections, timeout: IDLE_MS, scheduling: "lifo" } as const
  const agent = address.secure ? new https.Agent(agentOptions) : new http.Agent(agentOptions)
  const request = address.secure ? https.request : http.request
  const connected = address.secure ? "secureConnect" : "connect"
  const fields: http.OutgoingHttpHeaders = { accept: "application/json" }
  if (address.authorization !== null) fields["authorization"] = address.authorization

  function send({ method, path, body, maxReply }: HttpRequest, done: HttpDone): HttpExchange {
    let sent = false
    let answered = false
    let over = false
    const exchange = request({
      agent,
      host: address.host,
      port: address.port,
      method,
      path: address.base + path,
      headers: body === undefined ? fields : { ...fields, ...json, "content-length": Buffer.byteLength(body) },
    })

    function fail(cause: Error): void {
      if (over) return
      over = true
      const rubbish = cause instanceof Rubbish || isUnparsable(cause)
      done(null, { sent, stale: sent && !answered && !rubbish && exchange.reusedSocket, rubbish, cause })
    }

    exchange.on("socket", (socket) => {
      if (socket.connecting) socket.once(connected, () => (sent = true))
      else sent = true
    })
    exchange.on("error", fail)
    exchange.on("response", (response) => {
      answered = true
      readBody(response, Math.min(maxReply, MAX_REPLY), fail, (text) => {
        if (over) return
        over = true
        done({ status: response.statusCode ?? 0, headers: response.headers, body: text }, null)
      })
    })
    exchange.end(body) // as text it leaves in one piece with the head

    return {
      get sent() {
        return sent
      },
      cancel() {
        over = true
        exchange.destroy()
      },
    }
  }

  function dropIdle(): void {
    for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy()
  }

  return { send, dropIdle, close: () => agent.destroy() }
}

class Rubbish extends Error {}

/** Whether Node's parser gave up on what came; that it stopped in the middle is no rubbish, but a cut. */
function isUnparsable(cause: Error): boolean {
  const { code = "" } = cause as NodeJS.ErrnoException
  return code.startsWith("HPE_") && code !== "HPE_INVALID_EOF_STATE"
}

function readBody(
  response: http.IncomingMessage,
  maxBytes: number,
  fail: (cause: Error) => void,
  done: (text: string) => void,
): void {
  const chunks: Buffer[] = []
  let size = 0
  response.on("data", (chunk: Buffer) => {
    chunks.push(chunk)
    size += chunk.length
    if (size > maxBytes) response.destroy(new Rubbish(`The reply is longer than ${maxBytes} bytes`))
  })
  response.on("error", fail)
  response.on("close", () => fail(new Error("The reply was cut"))) // after "end" this finds everything done
  response.on("end", () => {
    const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)
    if (!response.complete) fail(new Error("The reply was cut"))
    else if (!isUtf8(bytes)) fail(new Rubbish("The reply is not UTF-8"))
    else done(bytes.toString())
  })
}
