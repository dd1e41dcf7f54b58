// A TCP proxy before a service, to make the network fail in the ways it does: it cuts a reply after so many bytes, stops passing
// anything on, refuses connections, or resets them. It counts what it did, because a fault test whose fault never happened shows nothing.

import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"

/** What the proxy has done so far. */
export interface FaultCounts {
  /** Connections that it took from clients. */
  readonly connections: number
  /** Replies that it cut. */
  readonly cut: number
  /** Bytes that it swallowed while frozen, in both directions. */
  readonly swallowed: number
  /** Connections that it reset at once. */
  readonly refused: number
}

/** A proxy; see the head of the file. It begins by passing everything through. */
export interface FaultProxy {
  readonly port: number
  readonly url: string
  readonly counts: FaultCounts
  /**
   * From now on each connection is reset once `bytes` bytes of replies have passed on it. A connection that is open already counts
   * from here. 0: the request reaches the target and nothing of the reply comes back.
   */
  cutAfter(bytes: number): void
  /** Passes everything through again, on old and new connections; what was frozen is delivered. */
  passThrough(): void
  /** Connections stay open, and nothing passes on them in either direction. */
  freeze(): void
  /** Requests reach the target, replies are held back. */
  freezeReplies(): void
  /** Resets every connection that is open, and each new one as soon as it comes. */
  refuse(): void
  /** Closes the connections that are open, as a service does that has waited long enough, and resolves when they are; new ones pass. */
  hangUp(): Promise<void>
  close(): Promise<void>
}

type Mode = "pass" | "cut" | "freeze" | "freezeReplies" | "refuse"

interface Pair {
  readonly client: Socket
  readonly target: Socket
  /** Bytes of replies since the last `cutAfter`. */
  passed: number
}

/** Opens a proxy to a port on this machine. */
export async function faultProxy({ target }: { target: number }): Promise<FaultProxy> {
  const pairs = new Set<Pair>()
  const counts = { connections: 0, cut: 0, swallowed: 0, refused: 0 }
  let mode: Mode = "pass"
  let limit = 0

  const server = createServer((client) => {
    counts.connections++
    client.on("error", ignore)
    if (mode === "refuse") {
      counts.refused++
      client.resetAndDestroy()
      return
    }
    const upstream = connect(target, "127.0.0.1")
    upstream.on("error", ignore)
    const pair: Pair = { client, target: upstream, passed: 0 }
    pairs.add(pair)
    client.on("close", () => end(pair))
    upstream.on("close", () => end(pair))
    client.on("data", (chunk) => {
      if (mode === "freeze") counts.swallowed += hold(client, chunk)
      else upstream.write(chunk)
    })
    upstream.on("data", (chunk) => {
      if (mode === "freeze" || mode === "freezeReplies") counts.swallowed += hold(upstream, chunk)
      else if (mode === "cut") cut(pair, chunk)
      else client.write(chunk)
    })
  })

  // Put back and paused, so that `passThrough` delivers it.
  function hold(socket: Socket, chunk: Buffer): number {
    socket.pause()
    socket.unshift(chunk)
    return chunk.length
  }

  function cut(pair: Pair, chunk: Buffer): void {
    const left = limit - pair.passed
    pair.passed += chunk.length
    if (chunk.length < left) {
      pair.client.write(chunk)
      return
    }
    counts.cut++
    pair.target.destroy()
    // The bytes before the cut arrive; a reset would overtake them.
    pair.client.end(chunk.subarray(0, left))
  }

  function end(pair: Pair): void {
    pairs.delete(pair)
    pair.target.destroy()
    if (!pair.client.writableEnded) pair.client.destroy()
  }

  function become(next: Mode): void {
    mode = next
    for (const { client, target: upstream } of pairs) {
      client.resume()
      upstream.resume()
    }
  }

  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    counts,
    cutAfter(bytes) {
      limit = bytes
      for (const pair of pairs) pair.passed = 0
      become("cut")
    },
    passThrough: () => become("pass"),
    freeze: () => become("freeze"),
    freezeReplies: () => become("freezeReplies"),
    refuse() {
      become("refuse")
      for (const pair of pairs) {
        counts.refused++
        pair.client.resetAndDestroy()
        end(pair)
      }
    },
    async hangUp() {
      const open = [...pairs].map(({ client }) => client)
      await Promise.all(open.map((client) => once(client.end(), "close")))
    },
    async close() {
      for (const pair of pairs) {
        pair.client.destroy()
        end(pair)
      }
      server.close()
      await once(server, "close")
    },
  }
}

function ignore(): void {
  // Sockets fail here on purpose; "close" follows, which is looked at.
}
