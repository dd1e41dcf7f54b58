// nodeAdapter around its handler: what an untouched request is left with, how the adapter is built, and sessions on it.

import { once } from "node:events"
import { createServer, IncomingMessage, ServerResponse } from "node:http"
import type { AddressInfo, Server, Socket } from "node:net"
import { afterEach, describe, expect, expectTypeOf, it } from "vitest"
import { type Committer, type Exchange, exchangeOf } from "../core/exchange.ts"
import { createSessions } from "../core/sessions.ts"
import { memoryStore } from "../stores/memory.ts"
import { sendRequest } from "../testing/adapter-client.ts"
import { type NodeAdapterOptions, nodeAdapter } from "./node.ts"

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

async function listen(server: Server): Promise<number> {
  servers.push(server)
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return (server.address() as AddressInfo).port
}

const adapted = { cookieNames: ["sid"] }
const exchangeFor = (request: object): Exchange => (request as { [exchangeOf]: Exchange })[exchangeOf]

/** A request that never came over a wire, and its response. */
function offline(
  method: string,
  headers: Record<string, string> = {},
  socket: object = {},
): [IncomingMessage, ServerResponse] {
  const request = new IncomingMessage(socket as Socket)
  Object.assign(request, { method, headers })
  return [request, new ServerResponse(request)]
}

describe("an untouched request", () => {
  it("S3: is left with one property, and its response with none", () => {
    const [request, response] = offline("GET", { cookie: "sid=1" })
    const [before, own] = [Reflect.ownKeys(request), Reflect.ownKeys(response)]
    let calls = 0
    nodeAdapter(adapted)(() => calls++)(request, response)
    expect(calls).toBe(1)
    expect(Reflect.ownKeys(request)).toEqual([...before, exchangeOf])
    expect(Reflect.ownKeys(response)).toEqual(own)
    expect(response.end).toBe(ServerResponse.prototype.end)
    expect(response.getHeaderNames()).toEqual([])
  })

  it("the exchange tells what the core asks for, no sooner than it asks", () => {
    const socket = {
      get encrypted(): boolean {
        asked++
        return true
      },
    }
    let asked = 0
    const [request, response] = offline("GET", { cookie: "a=1; b=2" }, socket)
    nodeAdapter(adapted)(() => undefined)(request, response)
    expect(asked).toBe(0)
    const exchange = exchangeFor(request)
    expect([exchange.cookie, exchange.secure, exchange.sent]).toEqual(["a=1; b=2", true, false])
    expect(asked).toBe(1)
    const [bare, reply] = offline("GET")
    nodeAdapter(adapted)(() => undefined)(bare, reply)
    expect([exchangeFor(bare).cookie, exchangeFor(bare).secure]).toEqual([null, false])
  })

  it("a session that is opened after the headers have left changes nothing any more", async () => {
    const kept: Committer = { commit: () => ({ setCookie: "sid=late" }) }
    const port = await listen(
      createServer(
        nodeAdapter(adapted)((request, response) => {
          response.writeHead(200)
          expect(exchangeFor(request).sent).toBe(true)
          exchangeFor(request).attach(kept)
          response.end("body")
        }),
      ),
    )
    const reply = await sendRequest(port, {})
    expect([reply.body, reply.all("set-cookie"), reply.all("vary")]).toEqual(["body", [], []])
  })
})

describe("the adapter", () => {
  it("passes further arguments on, so that it can be a middleware", () => {
    const [request, response] = offline("GET")
    const seen: unknown[] = []
    const next = (): void => undefined
    const middleware = nodeAdapter(adapted)((...args: [IncomingMessage, ServerResponse, () => void]) =>
      seen.push(...args),
    )
    middleware(request, response, next)
    expect(seen).toEqual([request, response, next])
  })

  it("gives handlers node's own types", () => {
    const handle = nodeAdapter(adapted)
    const listener = handle((request, response) => {
      expectTypeOf(request).toEqualTypeOf<IncomingMessage>()
      expectTypeOf(response).toEqualTypeOf<ServerResponse>()
    })
    expectTypeOf(listener).parameters.toEqualTypeOf<[IncomingMessage, ServerResponse]>()
    expectTypeOf(createServer).toBeCallableWith(listener)
  })

  const wrong: readonly NodeAdapterOptions[] = [
    { trustProxies: ["proxy"] },
    { trustProxies: "10.0.0.1" as never },
    { guard: { origins: ["example.com"] } },
    { guard: { unlabelled: "yes" as never } },
    { onError: "log" as never },
    { warn: {} as never },
  ]
  it.each(wrong)("P4: refuses %j when it is created", (options) => {
    expect(() => nodeAdapter(adapted, options)).toThrow(TypeError)
  })

  it("CSR-01: the handler of a refused request does not run", () => {
    let calls = 0
    const handle = nodeAdapter(adapted)(() => calls++)
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PURGE"]) {
      const [request, response] = offline(method, { host: "a.test", "sec-fetch-site": "cross-site" })
      handle(request, response)
      expect(response.statusCode).toBe(403)
    }
    expect(calls).toBe(0)
  })

  it("a hook that fails takes nothing with it", async () => {
    const told: unknown[] = []
    const { error } = console
    console.error = (...args) => told.push(...args)
    try {
      const hooks = [
        () => {
          throw new Error("hook")
        },
        () => Promise.reject(new Error("hook")),
      ]
      for (const onError of hooks) {
        const handle = nodeAdapter(adapted, { onError })
        const port = await listen(
          createServer(
            handle(() => {
              throw new Error("handler")
            }),
          ),
        )
        expect((await sendRequest(port, {})).status).toBe(500)
      }
    } finally {
      console.error = error
    }
    expect(told.map(String)).toEqual(["Error: hook", "Error: hook"])
  })

  it("without hooks, errors and warnings go to the console", async () => {
    const told: unknown[] = []
    const { error, warn } = console
    console.error = (...args) => told.push(["error", ...args])
    console.warn = (...args) => told.push(["warn", ...args])
    try {
      const handle = nodeAdapter(adapted)
      const port = await listen(
        createServer(
          handle((request, response) => {
            exchangeFor(request).attach({ commit: () => ({ setCookie: null }) })
            response.setHeader("Cache-Control", "public")
            if (request.url === "/throw") throw new Error("handler")
            response.end()
          }),
        ),
      )
      for (const path of ["/", "/", "/throw"]) await sendRequest(port, { path })
    } finally {
      Object.assign(console, { error, warn })
    }
    expect(told).toEqual([
      ["warn", expect.stringContaining("Cache-Control: public")],
      ["error", expect.objectContaining({ message: "handler" })],
    ])
  })
})

describe("sessions on it", () => {
  const counting = () => createSessions<{ count: number }>({ store: memoryStore() })

  it("opened twice on one request, it is the same session", async () => {
    const sessions = counting()
    const port = await listen(
      createServer(
        nodeAdapter(sessions)(async (request, response) => {
          const [one, two] = await Promise.all([sessions.open(request), sessions.open(request)])
          one.data.count = 1
          response.end(String(one === two && two.data.count === 1))
        }),
      ),
    )
    const reply = await sendRequest(port, {})
    expect([reply.body, reply.all("set-cookie").length]).toEqual(["true", 1])
  })

  it("opened by a middleware and by the handler behind a second adapter, it is the same session", async () => {
    const sessions = counting()
    const handle = nodeAdapter(sessions)
    const inner = handle(async (request, response) => {
      const session = await sessions.open(request)
      session.data.count = (session.data.count ?? 0) + 1
      response.end(String(session.data.count))
    })
    const outer = handle(async (request, response) => {
      const session = await sessions.open(request)
      session.data.count = 41
      inner(request, response)
    })
    const reply = await sendRequest(await listen(createServer(outer)), {})
    expect([reply.body, reply.all("set-cookie").length]).toEqual(["42", 1])
  })

  it("two session systems share a request, through one adapter or through two", async () => {
    const [sessions, more] = [counting(), createSessions({ store: memoryStore(), cookie: { name: "more" } })]
    const [one, two] = [nodeAdapter(sessions), nodeAdapter(more)]
    const handler = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const [first, second] = [await sessions.open(request), await more.open(request)]
      first.data.count = (first.data.count ?? 0) + 1
      second.data.seen = true
      response.end(`${first.data.count} ${first.isNew} ${second.isNew}`)
    }
    for (const listener of [one(handler), one(two(handler)), two(one(handler))]) {
      const port = await listen(createServer(listener))
      const created = await sendRequest(port, {})
      const cookies = created.all("set-cookie").map((field) => field.slice(0, field.indexOf(";")))
      expect(cookies.map((cookie) => cookie.slice(0, cookie.indexOf("="))).toSorted()).toEqual(["more", "session"])
      const next = await sendRequest(port, { headers: [["Cookie", cookies.join("; ")]] })
      expect([created.body, next.body, next.all("set-cookie")]).toEqual(["1 true true", "2 false false", []])
    }
  })

  it("a request that no adapter has seen is a mistake, and says so", () => {
    const [request] = offline("GET")
    expect(() => counting().open(request)).toThrow(/nodeAdapter/)
  })
})
