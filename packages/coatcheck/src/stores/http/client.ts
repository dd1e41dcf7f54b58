// One HTTP exchange over kept connections, and an exact account of how it failed. The sockets are used bare: a request of node:http
// costs several times what is in it (and of `fetch` ten times, which also rewrites paths such as /%2E%2E, a key here), and
// says less about what was sent. One request goes out at a time on a connection, in one piece; ./reply.ts reads what comes.
//
// What a caller must know of a failure is whether the service may have seen the request. A connection that was never made has sent
// nothing; anything later may have. A kept connection that the service closed before one byte of a reply came is told apart,
// because what only reads may be asked again at once.

import { connect as connectTcp, isIP, type Socket } from "node:net"
import { performance } from "node:perf_hooks"
import { connect as connectTls } from "node:tls"
import type { HttpAddress } from "./address.ts"
import { type HttpReply, type ReplyReader, replyReader, Rubbish } from "./reply.ts"

/** What is asked. */
export interface HttpRequest {
  readonly method: "GET" | "PUT" | "POST" | "DELETE"
  /** Of the wire, percent-encoded; the address's base is put before it. */
  readonly path: string
  /** JSON. */
  readonly body?: string
  /** Bytes of the reply's body; more is a failure. */
  readonly maxReply: number
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

/** Speaks to one address, over as many connections as there are requests under way. */
export interface HttpClient {
  /** Sends a request. `done` is called later, never before this returns. */
  send(request: HttpRequest, done: HttpDone): HttpExchange
  /** Closes the connections that wait for use, after one of them turned out to be dead. */
  dropIdle(): void
  /** Closes every connection. */
  close(): void
}

/** What is under way on a connection. */
interface Turn {
  readonly text: string
  readonly encoding: "latin1" | "utf8"
  readonly reader: ReplyReader
  /** The connection was kept from a request before. */
  readonly reused: boolean
  readonly done: HttpDone
  sent: boolean
  answered: boolean
}

interface Connection {
  readonly socket: Socket
  turn: Turn | null
  /** By performance.now(): until then it may be used again. */
  goodUntil: number
}

/** How long a connection may wait for use. Node's servers close theirs after 5 s, and a request that meets the closing is lost. */
const IDLE_MS = 4_000

/** A client of one address. Connections that wait for use do not hold the process. */
export function httpClient(address: HttpAddress): HttpClient {
  const { secure, host, port, base } = address
  const name = isIP(host) === 6 ? `[${host}]` : host
  const authority = port === (secure ? 443 : 80) ? name : `${name}:${port}`
  const authorization = address.authorization === null ? "" : `Authorization: ${address.authorization}\r\n`
  const fields = ` HTTP/1.1\r\nHost: ${authority}\r\nAccept: application/json\r\n${authorization}`
  const connections = new Set<Connection>()
  const idle: Connection[] = [] // the one that was used last is at the end, and is used next
  let session: Buffer | undefined
  let timer: NodeJS.Timeout | undefined

  function send({ method, path, body, maxReply }: HttpRequest, done: HttpDone): HttpExchange {
    const kept = takeIdle()
    const connection = kept ?? connect()
    const bytes = body === undefined ? 0 : Buffer.byteLength(body)
    const content = body === undefined ? "" : `Content-Type: application/json\r\nContent-Length: ${bytes}\r\n`
    const turn: Turn = {
      text: `${method} ${base}${path}${fields}${content}\r\n${body ?? ""}`,
      encoding: body === undefined || bytes === body.length ? "latin1" : "utf8", // plain ASCII costs no encoding
      reader: replyReader(maxReply),
      reused: kept !== undefined,
      done,
      sent: false,
      answered: false,
    }
    connection.turn = turn
    if (turn.reused) write(connection.socket, turn)
    return {
      get sent() {
        return turn.sent
      },
      cancel() {
        if (connection.turn !== turn) return
        connection.turn = null
        connection.socket.destroy()
      },
    }
  }

  function write(socket: Socket, turn: Turn): void {
    turn.sent = true
    socket.write(turn.text, turn.encoding)
  }

  function connect(): Connection {
    const servername = isIP(host) === 0 ? { servername: host } : undefined
    const socket = secure
      ? connectTls({ host, port, ...servername, ALPNProtocols: ["http/1.1"], ...(session && { session }) })
      : connectTcp({ host, port })
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 1_000)
    const connection: Connection = { socket, turn: null, goodUntil: 0 }
    connections.add(connection)
    socket.once(secure ? "secureConnect" : "connect", () => {
      if (connection.turn !== null) write(socket, connection.turn)
    })
    socket.on("session", (newer: Buffer) => (session = newer)) // spares the next connection most of its handshake
    socket.on("data", (bytes: Buffer) => take(connection, bytes))
    socket.on("end", () => takeEnd(connection))
    socket.on("error", (cause: Error) => fail(connection, cause))
    socket.on("close", () => {
      connections.delete(connection)
      const at = idle.indexOf(connection)
      if (at >= 0) idle.splice(at, 1)
      fail(connection, new Error("The connection was closed"))
    })
    return connection
  }

  function take(connection: Connection, bytes: Buffer): void {
    const { turn } = connection
    if (turn === null) {
      connection.socket.destroy() // nobody has asked
      return
    }
    turn.answered = true
    let reply: HttpReply
    try {
      if (!turn.reader.push(bytes)) return
      reply = turn.reader.reply()
    } catch (cause) {
      fail(connection, cause as Error) // the reader throws errors of its own
      return
    }
    finish(connection, turn, reply)
  }

  function takeEnd(connection: Connection): void {
    const { turn } = connection
    let reply: HttpReply | null = null
    let cause = new Error("The reply was cut")
    try {
      if (turn?.reader.end()) reply = turn.reader.reply()
    } catch (error) {
      cause = error as Error // the reader's own
    }
    if (turn !== null && reply !== null) finish(connection, turn, reply)
    else fail(connection, cause)
  }

  function finish(connection: Connection, turn: Turn, reply: HttpReply): void {
    const { socket } = connection
    connection.turn = null
    // A reply that came before all of the request was sent leaves a connection on which nobody knows what comes next.
    const keepMs = socket.writableLength > 0 ? 0 : turn.reader.keep(IDLE_MS)
    if (keepMs > 0) park(connection, keepMs)
    else socket.destroy()
    turn.done(reply, null)
  }

  function fail(connection: Connection, cause: Error): void {
    const { turn } = connection
    connection.turn = null
    connection.socket.destroy()
    if (turn === null) return
    const { sent, answered, reused } = turn
    const rubbish = cause instanceof Rubbish
    turn.done(null, { sent, stale: sent && !answered && reused, rubbish, cause })
  }

  function park(connection: Connection, keepMs: number): void {
    connection.goodUntil = performance.now() + keepMs
    connection.socket.unref()
    idle.push(connection)
    timer ??= setTimeout(closeOld, IDLE_MS).unref()
  }

  function takeIdle(): Connection | undefined {
    for (;;) {
      const connection = idle.pop()
      if (connection === undefined) return undefined
      if (!connection.socket.destroyed && performance.now() < connection.goodUntil) {
        connection.socket.ref()
        return connection
      }
      connection.socket.destroy()
    }
  }

  function closeOld(): void {
    const now = performance.now()
    for (const { socket, goodUntil } of idle) if (now >= goodUntil) socket.destroy()
    timer = idle.length > 0 ? setTimeout(closeOld, IDLE_MS).unref() : undefined
  }

  function dropIdle(): void {
    for (const { socket } of idle) socket.destroy()
  }

  function close(): void {
    clearTimeout(timer)
    for (const { socket } of connections) socket.destroy()
  }

  return { send, dropIdle, close }
}
