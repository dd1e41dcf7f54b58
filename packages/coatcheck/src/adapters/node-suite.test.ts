// The adapter suite over node:http, and over the HTTP/2 compatibility API's HTTP/1 side.

import { once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { pipeline } from "node:stream/promises"
import { text } from "node:stream/consumers"
import { describe, it } from "vitest"
import { memoryStore } from "../stores/memory.ts"
import type { AdapterHarness, SuiteReply } from "../testing/adapter-harness.ts"
import { adapterCases } from "../testing/adapter-suite.ts"
import { nodeAdapter } from "./node.ts"

async function send(response: ServerResponse, { status = 200, headers = [], body }: SuiteReply): Promise<void> {
  response.writeHead(status, headers.flat())
  if (body === undefined || typeof body === "string") response.end(body)
  else await pipeline(body, response)
}

const harness: AdapterHarness = {
  store: ({ clock }) => memoryStore({ clock }),
  async serve({ sessions, guard, behindProxy, onError, warn, answer }) {
    const trustProxies = behindProxy ? ["127.0.0.1"] : []
    const handle = nodeAdapter(sessions, { guard, trustProxies, onError, warn })
    const server = createServer(
      handle(async (request: IncomingMessage, response) => {
        const { method = "", url = "" } = request
        await send(response, await answer({ method, url, request, text: () => text(request) }))
      }),
    )
    server.listen(0, "127.0.0.1")
    await once(server, "listening")
    return {
      port: (server.address() as AddressInfo).port,
      async close() {
        server.closeAllConnections()
        server.close()
        await once(server, "close")
      },
    }
  },
}

describe("the adapter suite on node:http", () => {
  for (const { name, run } of adapterCases) it(name, () => run(harness))
})
