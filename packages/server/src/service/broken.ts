// Requests that never become one: unreadable, too slow, or asking for a tunnel. node:http has no request to answer then, only a
// socket, so the answer is written by hand, with a problem document like every other.
//
// Two traps. A request before the broken one may still wait for its own answer, and a 400 now would be taken for that: such a
// connection gets that answer and is closed without a word more. And closing while the client still sends makes its kernel throw away the answer unread:
// after a parse error the rest is read and dropped for a moment.

import { STATUS_CODES, type Server, type ServerResponse } from "node:http"
import type { Duplex } from "node:stream"
import { formatProblem, plainProblem, problemType } from "coatcheck/protocol"

/** Under this name a socket holds the answer to the last request that came in on it. */
export const lastAnswer: unique symbol = Symbol("last answer")

/** A socket of ours. */
export interface Marked {
  [lastAnswer]?: ServerResponse
}

const lingerMs = 1_000
const details: Readonly<Record<number, string>> = {
  400: "The request is not well-formed HTTP/1.1",
  405: "The service is no proxy",
  408: "The request took too long to arrive: send it again, faster",
  413: "A chunk extension is too large: send none",
  431: "The header fields are too large: send fewer and shorter ones",
}

/** Answers what does not come through as a request of its own. */
export function refuseBroken(server: Server): void {
  const refused = new WeakSet<Duplex>()
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex & Marked) => {
    if (refused.has(socket)) return // the parser repeats itself for whatever else comes in
    refused.add(socket)
    const answer = socket[lastAnswer]
    if (!socket.writable || error.code === "ECONNRESET") {
      socket.destroy()
      return
    }
    if (answer !== undefined && isLastWord(answer)) {
      answer.shouldKeepAlive = false
      answer.once("close", () => socket.destroy())
      return
    }
    socket.end(written(statusOf(error.code)))
    if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") socket.once("finish", () => socket.destroy())
    else setTimeout(() => socket.destroy(), lingerMs).unref()
  })
  server.on("connect", (_request, socket) => {
    socket.on("error", () => socket.destroy())
    socket.end(written(405, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"))
  })
}

// Whether nothing may follow this answer: it closes the connection, or is under way, or its request came whole and waits for it.
function isLastWord(answer: ServerResponse): boolean {
  if (answer.headersSent) return !answer.writableFinished || !answer.shouldKeepAlive
  return answer.req.complete
}

function statusOf(code: string | undefined): number {
  if (code === "HPE_HEADER_OVERFLOW") return 431
  if (code === "HPE_CHUNK_EXTENSIONS_OVERFLOW") return 413
  return code === "ERR_HTTP_REQUEST_TIMEOUT" ? 408 : 400
}

function written(status: number, more = ""): string {
  const title = STATUS_CODES[status] as string // only the statuses above
  const body = formatProblem(plainProblem(status, title, details[status] as string))
  const fields = `Content-Type: ${problemType}\r\nContent-Length: ${body.length}\r\nCache-Control: no-store\r\n`
  return `HTTP/1.1 ${status} ${title}\r\n${fields}X-Content-Type-Options: nosniff\r\nConnection: close\r\n${more}\r\n${body}`
}
