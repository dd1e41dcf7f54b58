// How the service starts and stops. It listens on both loopback addresses under one port, because `localhost` means the one to
// some clients and the other to the rest; a machine without IPv6 has the first alone.
//
// Stopping (what node:http leaves undone): Server.close lets answers go out with `Connection: keep-alive`, and waits for ever for
// half a request, or for a client that connected and says nothing. So: answers say close (see call.ts), silent connections are
// closed at once, idle ones with them, and whoever still sends or still waits has until the deadline.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import { lastAnswer, type Marked, refuseBroken } from "./broken.ts"
import { checkNames, type ListenOptions, type Setting } from "./options.ts"

/** Serves one request. `waits`: the client wants a 100 before it sends the body. */
export type Serve = (request: IncomingMessage, response: ServerResponse, waits: boolean) => void

/** The half of a service that has to do with time. */
export interface Lifecycle {
  listen(options: ListenOptions): Promise<{ readonly port: number }>
  close(options?: { readonly deadline?: number }): Promise<void>
}

const defaultDeadlineMs = 10_000
const checkEveryMs = 1_000
const loopback = ["127.0.0.1", "::1"]
// What a machine without IPv6 says to ::1.
const noSuchAddress = new Set(["EADDRNOTAVAIL", "EAFNOSUPPORT", "EPROTONOSUPPORT"])

/** The start and the stop of one service. */
export function lifecycle(setting: Setting, serve: Serve): Lifecycle {
  const servers: Server[] = []
  const sockets = new Set<Socket>()
  let listening = false
  let closed: Promise<void> | undefined

  const open = async (host: string, port: number): Promise<number> => {
    const server = makeServer(setting, serve)
    server.on("connection", (socket: Socket) => {
      sockets.add(socket)
      socket.once("close", () => sockets.delete(socket))
    })
    await startListening(server, host, port)
    server.on("error", (error: NodeJS.ErrnoException) => {
      // A connection could not be accepted, for want of file descriptors mostly; the next one may.
      setting.log?.error({ code: error.code }, "a connection could not be accepted")
    })
    servers.push(server)
    return (server.address() as AddressInfo).port // it listens on TCP
  }

  const listen = async (options: ListenOptions): Promise<{ port: number }> => {
    checkNames("listen", options, { port: true, host: true } satisfies Record<keyof ListenOptions, true>)
    const { port, host } = options
    if (listening || closed) throw new TypeError("A service listens once; make another one with createService")
    if (host !== undefined && !isLoopback(host) && setting.tokens === null) {
      throw new TypeError(
        "Others can reach that address: give the service tokens, or let it listen on 127.0.0.1 (leave the host out)",
      )
    }
    listening = true
    const hosts = host === undefined || host === "localhost" ? loopback : [host]
    const opened = await openAll(hosts, port, open, () => undoListening(servers))
    if (closed) {
      await undoListening(servers)
      throw new TypeError("The service was closed before it listened")
    }
    setting.log?.debug?.({ port: opened, hosts }, "listening")
    return { port: opened }
  }

  const close = ({ deadline = defaultDeadlineMs }: { readonly deadline?: number } = {}): Promise<void> => {
    closed ??= drain(setting, servers, sockets, deadline)
    return closed
  }

  return { listen, close }
}

function makeServer(setting: Setting, serve: Serve): Server {
  const { limits } = setting
  const server = createServer({
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: checkEveryMs,
    requireHostHeader: false, // ours says it with a problem document
  })
  server.timeout = limits.requestMs + 2 * checkEveryMs // ends who does not read the answer; who does not ask is told 408 before
  server.maxHeadersCount = limits.headerFields // node drops the rest in silence; a request that has so many is refused
  server.maxRequestsPerSocket = limits.requestsPerSocket
  server.maxConnections = limits.connections
  const take = (request: IncomingMessage, response: ServerResponse, waits: boolean): void => {
    const socket: Socket & Marked = request.socket
    const before = socket[lastAnswer]
    if (before?.headersSent && !before.shouldKeepAlive) return // it was told that nothing more is heard on this connection
    socket[lastAnswer] = response
    serve(request, response, waits)
  }
  server.on("request", (request, response) => take(request, response, false))
  server.on("checkContinue", (request, response) => take(request, response, true))
  server.on("checkExpectation", (request, response) => take(request, response, false))
  refuseBroken(server)
  return server
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host)
}

// All addresses under one port. A free port of the first address may be taken on the second: then another one is tried.
async function openAll(
  hosts: readonly string[],
  port: number,
  open: (host: string, port: number) => Promise<number>,
  undo: () => Promise<void>,
): Promise<number> {
  const [first, ...others] = hosts as [string, ...string[]]
  for (let attempt = 1; ; attempt++) {
    const opened = await open(first, port)
    try {
      for (const host of others) await open(host, opened)
      return opened
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== undefined && noSuchAddress.has(code)) return opened
      await undo()
      if (code !== "EADDRINUSE" || port !== 0 || attempt === 10) throw error
    }
  }
}

function startListening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject)
    server.listen({ host, port, backlog: 511 }, () => {
      server.off("error", reject)
      resolve()
    })
  })
}

async function drain(
  setting: Setting,
  servers: readonly Server[],
  sockets: ReadonlySet<Socket>,
  deadlineMs: number,
): Promise<void> {
  setting.draining = true
  setting.log?.debug?.({ connections: sockets.size }, "draining")
  const stopped = Promise.all(servers.map(stopAccepting))
  setting.changes.end()
  for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
  const timer = setTimeout(() => {
    setting.log?.warn({ connections: sockets.size }, "cutting what is left at the deadline")
    for (const server of servers) server.closeAllConnections()
  }, deadlineMs)
  await stopped
  clearTimeout(timer)
  setting.log?.debug?.({}, "closed")
}

// Closes idle connections too. An answer that began before the drain still says keep-alive: its connection is closed when idle.
function stopAccepting(server: Server): Promise<void> {
  server.keepAliveTimeout = 1
  return new Promise((resolve) => server.close(() => resolve()))
}

async function undoListening(servers: Server[]): Promise<void> {
  await Promise.all(servers.splice(0).map(stopAccepting))
}
