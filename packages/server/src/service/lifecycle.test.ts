import { once } from "node:events"
import type { Socket } from "node:net"
import { createService } from "./serve.ts"
import type { Store } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { describe, expect, it } from "vitest"
import { keptLog, type Listening, received, serve, storeWith } from "../../../../test/support/service.ts"

interface Gate {
  readonly store: Store
  /** Resolves when so many calls wait. */
  waiting(count: number): Promise<void>
  open(): void
}

/** A store whose `get` waits until it is let go, so that requests are under way for as long as a test wants. */
function gate(base: Store = memoryStore()): Gate {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  let calls = 0
  const watchers: (() => void)[] = []
  const store = storeWith(
    {
      async get(key) {
        calls += 1
        watchers.forEach((watcher) => watcher())
        await opened
        return base.get(key)
      },
    },
    base,
  )
  return {
    store,
    open,
    waiting: (count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (calls >= count) resolve()
        }
        watchers.push(look)
        look()
      }),
  }
}

/** Sends bytes on a new connection, `PORT` in them replaced. */
async function sent(service: Listening, bytes: string): Promise<Socket> {
  const socket = await service.connect()
  socket.write(bytes.replaceAll("PORT", String(service.port)))
  return socket
}

/** A connection that is kept and has had its answer. */
async function idle(service: Listening): Promise<Socket> {
  const socket = await sent(service, "GET /-/health HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n")
  await once(socket, "data")
  return socket
}

describe("stopping", () => {
  it("F-DRAIN-1: what is under way is answered with Connection: close, and everybody else is sent away", async () => {
    const base = memoryStore()
    await base.set("foo", "1")
    const under = gate(base)
    const service = await serve({}, under.store)
    const request = "GET /foo HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n"
    const busy = await Promise.all(Array.from({ length: 200 }, () => sent(service, request)))
    await under.waiting(200)
    const halfBody = await sent(service, "POST / HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Length: 10\r\n\r\n{")
    const idles = await Promise.all(Array.from({ length: 20 }, () => idle(service)))
    const silent = await Promise.all(Array.from({ length: 20 }, () => service.connect()))
    await service.ask("GET", "/-/health") // what was sent before it has arrived

    let closed = false
    const closing = service.service.close().then(() => {
      closed = true
    })
    await Promise.all([...idles, ...silent].map((socket) => received(socket)))
    await expect(service.ask("GET", "/foo")).rejects.toMatchObject({ code: "ECONNREFUSED" })

    halfBody.write('"late":1}')
    expect(await received(halfBody)).toMatch(/^HTTP\/1\.1 200 [^]*\r\nConnection: close\r\n[^]*\{"late":1\}$/)

    expect(closed).toBe(false)
    const answers = busy.map((socket) => received(socket))
    under.open()
    for (const text of await Promise.all(answers)) {
      expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*\r\nConnection: close\r\n[^]*\{"foo":1\}$/)
    }
    await closing
  })

  it("F-DRAIN-1: half a request is cut at the deadline", async () => {
    const { log, lines } = keptLog()
    const service = await serve({ log })
    const halves = await Promise.all([
      sent(service, "GET /foo HTTP/1.1\r\nHost: loc"),
      sent(service, "POST / HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Length: 100\r\n\r\n{"),
    ])
    await service.ask("GET", "/-/health") // what was sent before it has arrived
    const ended = halves.map((socket) => received(socket))
    await service.service.close({ deadline: 50 })
    expect(await Promise.all(ended)).toEqual(["", ""])
    expect(lines.some((line) => line.includes('"warn"') && line.includes("deadline"))).toBe(true)
    expect((await service.store.list()).entries).toEqual([])
  })

  it("F-DRAIN-1: a request whose store hangs is cut at the deadline too", async () => {
    const hanging = gate()
    const service = await serve({}, hanging.store)
    const socket = await sent(service, "GET /foo HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n")
    await hanging.waiting(1)
    const ended = received(socket)
    await service.service.close({ deadline: 50 })
    expect(await ended).toBe("")
    hanging.open()
  })

  it("F-DRAIN-1: a stream that has begun goes to its end, and its connection with it", async () => {
    const base = memoryStore()
    for (let index = 0; index < 1_500; index++) await base.set(`k${index}`, "1")
    let open = (): void => {}
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    const store = storeWith(
      {
        async list(query) {
          if (query?.cursor !== undefined) await opened
          return base.list(query)
        },
      },
      base,
    )
    const service = await serve({}, store)
    const socket = await sent(service, "GET / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n")
    const [first] = (await once(socket, "data")) as [Buffer]
    expect(String(first)).toMatch(/\r\nConnection: keep-alive\r\n/)
    const closing = service.service.close()
    const rest = received(socket)
    open()
    expect(await rest).toMatch(/\]\}\r\n0\r\n\r\n$/)
    await closing
  })

  it("REL-08: readiness is off from the first moment on, health is not", async () => {
    const service = await serve()
    const half = (path: string) => sent(service, `GET ${path} HTTP/1.1\r\nHost: localhost:PORT\r\nX-Half`)
    const [ready, health] = await Promise.all([half("/-/ready"), half("/-/health")])
    await service.ask("GET", "/-/health") // what was sent before it has arrived
    const closing = service.service.close()
    for (const socket of [ready, health]) socket.write(": 1\r\n\r\n")
    expect(await received(ready)).toMatch(/^HTTP\/1\.1 503 [^]*\r\nConnection: close\r\n/)
    expect(await received(health)).toMatch(/^HTTP\/1\.1 200 [^]*\r\nConnection: close\r\n/)
    await closing
  })

  it("REL-08: closed while it begins to listen, it does not listen", async () => {
    const service = createService(memoryStore())
    const listening = service.listen({ port: 0 })
    await service.close()
    await expect(listening).rejects.toThrow(TypeError)
  })

  it("REL-08: closing twice, closing what never listened, and listening afterwards", async () => {
    const { service } = await serve()
    await Promise.all([service.close(), service.close()])
    await service.close()
    await expect(service.listen({ port: 0 })).rejects.toThrow(TypeError)
    const other = createService(memoryStore())
    await other.close()
    await expect(other.listen({ port: 0 })).rejects.toThrow(TypeError)
  })

  it("REL-08: leaves the store open, it is not the service's", async () => {
    const { service, store } = await serve()
    await service.close()
    expect(await store.get("foo")).toBeNull()
  })
})

describe("a client that leaves", () => {
  it("ERR-03: while its answer is made, costs nobody else anything", async () => {
    const { log, lines } = keptLog()
    const under = gate()
    const service = await serve({ log }, under.store)
    const [first, second] = await Promise.all([
      sent(service, "GET /foo HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n"),
      sent(service, "GET /-/v1/records/foo HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n"),
    ])
    await under.waiting(2)
    first.destroy()
    second.resetAndDestroy()
    under.open()
    expect((await service.ask("GET", "/foo")).status).toBe(200)
    expect(lines.filter((line) => /"level":"(warn|error)"/.test(line))).toEqual([])
  })
})

describe("a handler in a server of one's own", () => {
  it("serves without listening", async () => {
    const { createServer } = await import("node:http")
    const service = createService(memoryStore())
    const server = createServer(service.handler).listen(0, "127.0.0.1")
    await once(server, "listening")
    const { port } = server.address() as { port: number }
    const reply = await fetch(`http://localhost:${port}/`, { method: "POST", body: '{"foo":"bar"}' })
    expect(await reply.json()).toEqual({ foo: "bar" })
    expect((await fetch(`http://localhost:${port}/foo`, { headers: { Origin: "http://evil.test" } })).status).toBe(403)
    server.close()
    server.closeAllConnections()
  })
})
