// The adapter suite over fetchAdapter. Node has no server for Request and Response, so a small bridge to node:http stands here, the
// kind that frameworks bring.

import { once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { describe, it } from "vitest"
import { memoryStore } from "../stores/memory.ts"
import type { AdapterHarness, SuiteReply } from "../testing/adapter-harness.ts"
import { adapterCases } from "../testing/adapter-suite.ts"
import { fetchAdapter } from "./fetch.ts"

function toRequest(incoming: IncomingMessage): Request {
  const { method = "GET", url = "/", rawHeaders } = incoming
  const headers = new Headers()
  for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i]!, rawHeaders[i + 1]!)
  const hasBody = method !== "GET" && method !== "HEAD"
  const body = hasBody ? (Readable.toWeb(incoming) as ReadableStream) : null
  return new Request(`http://${headers.get("host")}${url}`, { method, headers, body, duplex: "half" })
}

async function send(response: Response, outgoing: ServerResponse): Promise<void> {
  outgoing.statusCode = response.status
  outgoing.statusMessage = response.statusText
  for (const [name, value] of response.headers) outgoing.appendHeader(name, value)
  if (response.body === null) outgoing.end()
  else await pipeline(Readable.fromWeb(response.body as never), outgoing)
}

function toResponse({ status = 200, headers = [], body }: SuiteReply): Response {
  const pairs = headers.map(([name, value]): [string, string] => [name, value])
  if (typeof body !== "object") return new Response(body ?? null, { status, headers: pairs })
  const stream = Readable.toWeb(Readable.from(body)).pipeThrough(new TextEncoderStream() as never)
  return new Response(stream as ReadableStream, { status, headers: pairs })
}

const harness: AdapterHarness = {
  store: ({ clock }) => memoryStore({ clock }),
  async serve({ sessions, guard, behindProxy, onError, warn, answer }) {
    const secure = (request: Request): boolean => behindProxy && request.headers.get("x-forwarded-proto") === "https"
    const handle = fetchAdapter(sessions, { guard, secure, onError, warn })(async (request) => {
      const { pathname, search } = new URL(request.url)
      const call = { method: request.method, url: pathname + search, request, text: () => request.text() }
      return toResponse(await answer(call))
    })
    const server = createServer((incoming, outgoing) => {
      // A connection that breaks while its body is read or written is the parser's business, and its 400 is sent by node.
      handle(toRequest(incoming))
        .then((response) => send(response, outgoing))
        .catch(() => outgoing.destroy())
    })
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

describe("the adapter suite on web standards", () => {
  for (const { name, run } of adapterCases) it(name, () => run(harness))
})
