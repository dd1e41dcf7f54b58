// The client of the adapter suite: one connection a request, every header as it was sent, and raw bytes where a well-behaved
// client would not do.

import { request } from "node:http"
import { connect } from "node:net"

/** A request; GET / without a body unless it says otherwise. */
export interface ClientRequest {
  readonly method?: string
  readonly path?: string
  /** A name may stand several times. */
  readonly headers?: readonly (readonly [name: string, value: string])[]
  readonly body?: string
}

/** A whole reply. */
export interface ClientReply {
  readonly status: number
  readonly reason: string
  /** As they were sent, in order. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: string
  /** Every value under a name, in any case. */
  all(name: string): string[]
  /** The only value under a name; null: there is none. @throws when there are several. */
  one(name: string): string | null
}

/** Sends a request to 127.0.0.1 over a connection of its own. */
export function sendRequest(
  port: number,
  { method = "GET", path = "/", headers = [], body }: ClientRequest,
): Promise<ClientReply> {
  return new Promise((resolve, reject) => {
    // A flat list goes out as it is, with names repeated; node adds nothing to it but Connection.
    const length = body === undefined ? [] : ["Content-Length", String(Buffer.byteLength(body))]
    const flat = ["Host", `127.0.0.1:${port}`, ...headers.flat(), ...length]
    const outgoing = request({ port, method, path, host: "127.0.0.1", agent: false, headers: flat })
    outgoing.on("error", reject)
    outgoing.on("response", (incoming) => {
      const chunks: Buffer[] = []
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk))
      incoming.on("error", reject)
      incoming.on("end", () => {
        const { statusCode = 0, statusMessage = "", rawHeaders } = incoming
        const pairs = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [[name, rawHeaders[i + 1] ?? ""] as const] : []))
        resolve(replyOf(statusCode, statusMessage, pairs, Buffer.concat(chunks).toString()))
      })
    })
    outgoing.end(body)
  })
}

function replyOf(status: number, reason: string, headers: ClientReply["headers"], body: string): ClientReply {
  const all = (name: string): string[] =>
    headers.filter(([other]) => other.toLowerCase() === name.toLowerCase()).map(([, value]) => value)
  function one(name: string): string | null {
    const [value, ...more] = all(name)
    if (more.length > 0) throw new Error(`the reply has more than one ${name}`)
    return value ?? null
  }
  return { status, reason, headers, body, all, one }
}

/** Sends bytes (one a character) to 127.0.0.1 and gives all that comes back until the other end closes. */
export function sendBytes(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(text, "latin1"))
    let received = ""
    socket.setEncoding("latin1")
    socket.on("data", (chunk: string) => {
      received += chunk
    })
    // A server that refuses a request may reset the connection while we still send; what it said first counts.
    socket.on("error", (error) => (received === "" ? reject(error) : resolve(received)))
    socket.on("close", () => resolve(received))
  })
}
