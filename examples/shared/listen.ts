// A listener on one address, or on both loopback addresses. "localhost" means 127.0.0.1 to one program and ::1 to the next;
// listening on one alone lets another program answer on the other (macOS has one on port 5000).

import { once } from "node:events"
import { createServer, type RequestListener, type Server } from "node:http"

/** A page that is being served. */
export interface Listening {
  readonly port: number
  /** Lets requests under way finish, for 2 seconds at most. */
  close(): Promise<void>
}

const loopback = ["127.0.0.1", "::1"]
const closeLimit = 2_000

// Node's defaults are generous to those who send slowly, or nothing.
const limits = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 16_384,
}

/**
 * Listens.
 *
 * @param host a name or an address; "localhost" is 127.0.0.1 and ::1.
 * @param port 0: any free one.
 * @throws Error with a `code` of node:net, such as EADDRINUSE.
 */
export async function listen(listener: RequestListener, host: string, port: number): Promise<Listening> {
  const servers: Server[] = []
  let actual = port
  try {
    for (const address of host === "localhost" ? loopback : [host]) {
      const server = createServer(limits, listener)
      server.listen(actual, address)
      try {
        await once(server, "listening")
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        // A machine without IPv6.
        if (address === "::1" && (code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT")) continue
        throw error
      }
      servers.push(server)
      const bound = server.address()
      if (typeof bound === "object" && bound !== null) actual = bound.port
    }
  } catch (error) {
    await Promise.all(servers.map(close))
    throw error
  }
  return { port: actual, close: async () => void (await Promise.all(servers.map(close))) }
}

async function close(server: Server): Promise<void> {
  const limit = setTimeout(() => server.closeAllConnections(), closeLimit)
  server.close()
  await once(server, "close")
  clearTimeout(limit)
}
