// A TCP proxy before a server, to make the network fail in the ways it does: slow, cut, silent, resetting, refusing, away, or speaking
// nonsense. It knows no protocol, so it stands before anything: a key-value service, Redis, Postgres. It counts what it did, because
// a fault test whose fault never happened shows nothing; the same counts say what a call costs in round trips.
//
// One order holds at a time, for connections that are open and for new ones, until the next order. It runs in the process of the
// test: no tool to install, no port to agree on, and a test awaits what it did instead of sleeping. Rejected: packet filters and traffic
// control, which need root and a kernel that has them, and strike the whole machine.

import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net"
import { type Clock, systemClock } from "../core/clock.ts"
import { type Flow, flow, type FlowRule, type FlowWatcher } from "./fault-flow.ts"
import { seededRandom } from "./seeded-random.ts"

/** What the proxy has done so far. Bytes of both directions, where it does not say which. */
export interface FaultCounts {
  /** Connections that it took from clients. */
  readonly connections: number
  /** Connections of clients that are open now. */
  readonly open: number
  /** How often a client spoke after it was answered, or for the first time: what was asked in one go is one round trip. */
  readonly roundTrips: number
  /** Bytes that came from clients. */
  readonly requestBytes: number
  /** Bytes that came from the target. */
  readonly replyBytes: number
  /** Connections that it cut. */
  readonly cut: number
  /** Bytes that it held back, as frozen. */
  readonly held: number
  /** Bytes that it passed on late. */
  readonly delayed: number
  /** Bytes that came to a black hole. */
  readonly lost: number
  /** Replies that it replaced by rubbish. */
  readonly rubbish: number
  /** Connections that it reset: open ones, and new ones at once. */
  readonly reset: number
}

/** Which of the two directions a fault strikes. */
export type FaultDirection = "requests" | "replies"

/** A proxy; see the head of the file. It begins by passing everything through. */
export interface FaultProxy {
  /** Where it listens, on 127.0.0.1. */
  readonly port: number
  readonly counts: FaultCounts
  /**
   * Passes everything through again, on old and new connections. What was held back is delivered, also for a client that has given up
   * meanwhile, as a process finds it that was stopped and goes on. Resolves when new connections are taken.
   */
  passThrough(): Promise<void>
  /**
   * Each piece of the replies, or of the requests, goes on so many ms later.
   *
   * @param options `of` default "replies". `jitter`: up to so many ms more, by a generator that starts at `seed` (default 1).
   */
  delay(ms: number, options?: { readonly of?: FaultDirection; readonly jitter?: number; readonly seed?: number }): void
  /** Replies pass at so many bytes a second on each connection. */
  limit(bytesPerSecond: number): void
  /**
   * Each connection is closed once so many bytes of replies have passed on it; one that is open already counts from here. 0: the
   * request reaches the target and nothing of the reply comes back.
   */
  cutReplies(bytes: number): void
  /** Each connection is closed once so many bytes of requests have reached the target. 0: nothing reaches it. */
  cutRequests(bytes: number): void
  /** Connections stay open and are taken, and nothing passes on them in either direction: a process that is stopped. */
  freeze(): void
  /** Requests reach the target, replies are held back. */
  freezeReplies(): void
  /** The connections that are open turn into black holes, for good, while new ones pass: what a lost cable or a dead NAT entry leaves. */
  halfOpen(): void
  /** Resets every connection that is open, and each new one as soon as it comes. */
  refuse(): void
  /** Resets every connection that is open; new ones pass. */
  reset(): void
  /** Stops listening and closes every connection: nobody is there. Resolves when connections are refused. */
  down(): Promise<void>
  /** Requests reach the target, and each piece of a reply is replaced by these bytes. Default: text of no protocol. */
  rubbish(bytes?: Uint8Array): void
  /** Closes the connections that are open, as a server does that has waited long enough, and resolves when they are; new ones pass. */
  hangUp(): Promise<void>
  /** Ends every connection and stops listening. */
  close(): Promise<void>
}

interface Order {
  readonly requests: FlowRule
  readonly replies: FlowRule
  /** New connections are reset. */
  readonly refuses: boolean
}

interface Pair {
  readonly client: Socket
  readonly target: Socket
  readonly requests: Flow
  readonly replies: Flow
  lost: boolean
}

const freely: FlowRule = { still: false, delay: null, bandwidth: null, limit: null, instead: null }
const passing: Order = { requests: freely, replies: freely, refuses: false }
const nonsense = Buffer.from("\x00\x7f?! no protocol begins like this\r\n\r\n".repeat(4))

/**
 * Opens a proxy on a free port of 127.0.0.1.
 *
 * @param options `target`: the port on this machine to which connections go, or host and port. `clock`: for delays and bandwidth;
 *   default: the machine's.
 */
export async function faultProxy(options: {
  readonly target: number | { readonly host: string; readonly port: number }
  readonly clock?: Clock
}): Promise<FaultProxy> {
  const { clock = systemClock } = options
  const target = typeof options.target === "number" ? { host: "127.0.0.1", port: options.target } : options.target
  const pairs = new Set<Pair>()
  const counts = {
    connections: 0,
    open: 0,
    roundTrips: 0,
    requestBytes: 0,
    replyBytes: 0,
    cut: 0,
    held: 0,
    delayed: 0,
    lost: 0,
    rubbish: 0,
    reset: 0,
  }
  let order = passing
  let server: Server | null = null

  function accept(client: Socket): void {
    counts.connections++
    counts.open++
    client.on("error", ignore)
    let isOpen = true
    const left = (): void => {
      if (isOpen) counts.open--
      isOpen = false
    }
    client.on("end", left)
    client.on("close", left)
    if (order.refuses) {
      counts.reset++
      client.resetAndDestroy()
      return
    }
    const upstream = connect({ ...target, allowHalfOpen: true, noDelay: true })
    upstream.on("error", ignore)
    let answered = true
    const requests = flow(client, upstream, clock, order.requests, {
      came(bytes) {
        counts.requestBytes += bytes
        if (answered) counts.roundTrips++
        answered = false
      },
      struck,
      cut() {
        replies.lose()
        client.end()
      },
    })
    const replies = flow(upstream, client, clock, order.replies, {
      came(bytes) {
        counts.replyBytes += bytes
        answered = true
      },
      struck,
      cut: () => upstream.destroy(),
    })
    const pair: Pair = { client, target: upstream, requests, replies, lost: false }
    pairs.add(pair)
    client.on("end", () => pair.lost && client.destroy())
    client.on("close", () => release(pair))
    upstream.on("close", () => release(pair))
  }

  const struck: FlowWatcher["struck"] = (kind, bytes) => {
    counts[kind] += kind === "cut" || kind === "rubbish" ? 1 : bytes
  }

  function release(pair: Pair): void {
    const { client, target: upstream } = pair
    if (client.destroyed && upstream.destroyed) pairs.delete(pair)
    // A target that has gone without a word (no port, no answer) takes its client with it; what it said before is let through.
    else if (upstream.destroyed && !client.writableEnded && !pair.lost) client.destroySoon()
  }

  function become(next: Order): void {
    order = next
    for (const pair of pairs) {
      if (pair.lost) continue
      pair.requests.obey(next.requests)
      pair.replies.obey(next.replies)
    }
  }

  function drop({ client, target: upstream }: Pair): void {
    client.destroy()
    upstream.destroy()
  }

  function resetAll(): void {
    for (const pair of pairs) {
      if (!pair.client.destroyed) counts.reset++
      pair.client.resetAndDestroy()
      pair.target.destroy()
    }
  }

  async function listen(port: number): Promise<number> {
    server = createServer({ allowHalfOpen: true, noDelay: true }, accept)
    server.listen(port, "127.0.0.1")
    await once(server, "listening")
    return (server.address() as AddressInfo).port // a TCP server has one
  }

  async function stopListening(): Promise<void> {
    const stopped = server
    server = null
    if (stopped === null) return
    const closed = once(stopped, "close")
    stopped.close()
    for (const pair of pairs) drop(pair)
    await closed
  }

  const port = await listen(0)
  return {
    port,
    counts,
    async passThrough() {
      for (const pair of pairs) if (pair.lost) drop(pair) // the network is back, and knows them no more
      become(passing)
      if (server === null) await listen(port)
    },
    delay(ms, { of = "replies", jitter = 0, seed = 1 } = {}) {
      const random = seededRandom(seed)
      const rule = { ...freely, delay: () => ms + Math.floor(random() * jitter) }
      become({ ...passing, [of]: rule })
    },
    limit: (bytesPerSecond) => become({ ...passing, replies: { ...freely, bandwidth: bytesPerSecond } }),
    cutReplies: (bytes) => become({ ...passing, replies: { ...freely, limit: bytes } }),
    cutRequests: (bytes) => become({ ...passing, requests: { ...freely, limit: bytes } }),
    freeze: () => become({ ...passing, requests: { ...freely, still: true }, replies: { ...freely, still: true } }),
    freezeReplies: () => become({ ...passing, replies: { ...freely, still: true } }),
    halfOpen() {
      become(passing)
      for (const pair of pairs) {
        pair.lost = true
        pair.requests.lose()
        pair.replies.lose()
      }
    },
    refuse() {
      become({ ...passing, refuses: true })
      resetAll()
    },
    reset() {
      become(passing)
      resetAll()
    },
    async down() {
      become(passing)
      await stopListening()
    },
    rubbish: (bytes = nonsense) => become({ ...passing, replies: { ...freely, instead: Buffer.from(bytes) } }),
    async hangUp() {
      become(passing)
      const open = [...pairs].map(({ client }) => client).filter((client) => !client.destroyed)
      await Promise.all(open.map((client) => once(client.end(), "close")))
    },
    async close() {
      for (const pair of pairs) drop(pair)
      await stopListening()
    },
  }
}

function ignore(): void {
  // Sockets fail here on purpose; "close" follows, which is looked at.
}
