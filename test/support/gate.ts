// A gate before a service: passes requests on, and can stop the next one that fits until it is told to let it go. So a test can
// decide what happens while a write is under way, without any sleep.

import { once } from "node:events"
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

/** What is known of a request that arrived. */
export interface Arrival {
  readonly method: string
  readonly path: string
  readonly body: string
}

/** A request that was stopped, or will be. */
export interface Stopped {
  /** Resolves when one that fits has arrived. */
  readonly arrived: Promise<Arrival>
  /** Lets it go. */
  release(): void
}

export interface Gate {
  readonly url: string
  /** Requests that came, in order. */
  readonly arrivals: readonly Arrival[]
  /** Stops the next request that fits. */
  stopNext(fits: (arrival: Arrival) => boolean): Stopped
  close(): Promise<void>
}

interface Trap {
  fits(arrival: Arrival): boolean
  arrived(arrival: Arrival): void
  readonly released: Promise<void>
}

/** Opens a gate before the service at this address. */
export async function openGate(target: string): Promise<Gate> {
  const { hostname, port, host } = new URL(target)
  const arrivals: Arrival[] = []
  let trap: Trap | null = null

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    const arrival = { method: request.method ?? "", path: request.url ?? "", body: body.toString() }
    arrivals.push(arrival)
    if (trap?.fits(arrival)) {
      const { arrived, released } = trap
      trap = null
      arrived(arrival)
      await released
    }
    const headers = { ...request.headers, host }
    const onward = httpRequest(
      { hostname, port, method: arrival.method, path: arrival.path, headers, agent: false },
      (reply) => {
        const { connection: _hop, "transfer-encoding": _coding, ...fields } = reply.headers
        response.writeHead(reply.statusCode ?? 502, fields)
        reply.pipe(response)
      },
    )
    onward.on("error", () => response.destroy())
    onward.end(body)
  }

  const server = createServer((request, response) => void pass(request, response))
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrivals,
    stopNext(fits) {
      let arrived: (arrival: Arrival) => void = () => {}
      let release = () => {}
      const arrival = new Promise<Arrival>((resolve) => (arrived = resolve))
      const released = new Promise<void>((resolve) => (release = resolve))
      trap = { fits, arrived, released }
      return { arrived: arrival, release }
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    },
  }
}
