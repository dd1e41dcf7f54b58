import { once } from "node:events"
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from "node:http"
import { type AddressInfo, connect as connectTo, type Socket } from "node:net"
import { memoryStore } from "coatcheck/memory"
import { CoatcheckError } from "coatcheck"
import { describe, expect, it, onTestFinished, vi } from "vitest"
import { createService } from "./serve.ts"
import { serve, storeWith } from "../../../../test/support/service.ts"

const path = "/-/v1/records"
const lines = { Accept: "application/x-ndjson" }

async function filled(count: number, value = "1") {
  const store = memoryStore()
  for (let index = 0; index < count; index++) {
    await store.set(`k${String(index).padStart(5, "0")}`, value, { owner: index % 2 ? "odd" : "even" })
  }
  return store
}

describe("a page of records", () => {
  it("follows the cursor to the end, by prefix and owner", async () => {
    const { ask } = await serve({}, await filled(25))
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const query: string = `?owner=odd&prefix=k0&limit=5${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`
      const answer = await ask("GET", `${path}${query}`)
      expect([answer.status, answer.headers["cache-control"]]).toEqual([200, "no-store"])
      const page = answer.json as { entries: { key: string; owner: string }[]; cursor: string | null }
      expect(page.entries.every((entry) => entry.owner === "odd")).toBe(true)
      seen.push(...page.entries.map((entry) => entry.key))
      cursor = page.cursor
    } while (cursor !== null)
    expect(seen).toHaveLength(12)
    expect(seen).toEqual([...seen].sort())
  })

  it("leaves the values out when asked to", async () => {
    const { ask } = await serve({}, await filled(1))
    const page = (await ask("GET", `${path}?values=false`)).json as { entries: object[] }
    expect(page.entries).toEqual([{ key: "k00000", version: expect.any(String), ttl: null, owner: "even" }])
  })

  it("refuses a query that it does not know", async () => {
    const { ask } = await serve()
    for (const query of [
      "?limit=0",
      "?limit=1001",
      "?limit=x",
      "?values=no",
      "?nosuch=1",
      "?prefix=a&prefix=b",
      "?cursor=nonsense!",
    ]) {
      expect((await ask("GET", path + query)).status, query).toBe(400)
    }
  })
})

describe("a stream of records", () => {
  it("is every record, one a line", async () => {
    const { ask } = await serve({}, await filled(2_500))
    const answer = await ask("GET", path, { headers: lines })
    expect([answer.status, answer.headers["content-type"], answer.headers["cache-control"]]).toEqual([
      200,
      "application/x-ndjson",
      "no-store",
    ])
    const records = answer.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { key: string })
    expect(records).toHaveLength(2_500)
    expect(new Set(records.map((record) => record.key)).size).toBe(2_500)
    expect((await ask("GET", `${path}?prefix=k0000`, { headers: lines })).text.trimEnd().split("\n")).toHaveLength(10)
    expect((await ask("HEAD", path, { headers: lines })).text).toBe("")
  })

  it("keeps a value on its line, however it was written", async () => {
    const { ask } = await serve()
    await ask("PUT", `${path}/a`, { body: '{\r\n  "n": 1.0,\n  "s": "\\n"\n}' })
    expect((await ask("GET", path, { headers: lines })).text.trimEnd().split("\n")).toHaveLength(1)
    expect((await ask("GET", `${path}/a`)).text).toBe('{\r\n  "n": 1.0,\n  "s": "\\n"\n}')
  })

  it("asks the store for no more than the client takes", async () => {
    const base = await filled(600, JSON.stringify("x".repeat(100_000)))
    let asked = 0
    const store = storeWith(
      {
        list(query) {
          asked += 1
          return base.list(query)
        },
      },
      base,
    )
    const { connect, port } = await serve({}, store)
    const socket = await connect()
    socket.pause()
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: localhost:${port}\r\nAccept: application/x-ndjson\r\nConnection: close\r\n\r\n`,
    )
    // The kernel takes a few megabytes of the sixty; when nothing moves for a while of turns the service waits for us.
    let last = -1
    for (let still = 0; still < 200; ) {
      await new Promise((resolve) => setImmediate(resolve))
      still = asked === last ? still + 1 : 0
      last = asked
    }
    expect(asked).toBeLessThan(40)
    let bytes = 0
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length
    })
    socket.resume()
    await once(socket, "close")
    expect(bytes).toBeGreaterThan(60_000_000)
    expect(asked).toBeGreaterThan(40)
  })

  it("waits with little in hand for a client that takes nothing", async () => {
    const service = createService(await filled(200, JSON.stringify("x".repeat(100_000))))
    let answer: ServerResponse | undefined
    const server = createServer((request, response) => service.handler(request, (answer = response)))
    server.listen(0, "127.0.0.1")
    await once(server, "listening")
    const { port } = server.address() as AddressInfo
    const socket = connectTo(port, "127.0.0.1").pause()
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost:${port}\r\nAccept: ${lines.Accept}\r\n\r\n`)
    let last = -1
    for (let still = 0; still < 200; ) {
      await new Promise((resolve) => setImmediate(resolve))
      const written = answer?.socket?.bytesWritten ?? 0
      still = written > 0 && written === last ? still + 1 : 0
      last = written
    }
    expect(answer?.writableLength).toBeGreaterThan(0)
    expect(answer?.writableLength).toBeLessThan(500_000)
    socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })

  it("may be paused for minutes, which other answers may not, and is cut when nobody takes it in that time", async () => {
    const large = await filled(200, JSON.stringify("x".repeat(100_000)))
    const timeouts: (number | undefined)[] = []
    const begin = async (pauseMs: number) => {
      const service = createService(large, { limits: { pauseMs } })
      const sockets: Socket[] = []
      const server = createServer((request, response) => {
        sockets.push(request.socket)
        response.once("prefinish", () => timeouts.push(request.socket.timeout)) // at "finish" it is that of an idle connection
        service.handler(request, response)
      })
      server.timeout = 30_000
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      onTestFinished(() => {
        server.close()
        server.closeAllConnections()
      })
      const { port } = server.address() as AddressInfo // a TCP server has one
      return { port, sockets }
    }
    const { port } = await begin(600_000)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    onTestFinished(() => agent.destroy())
    for (const Accept of [lines.Accept, "application/json"]) {
      const asked = request({ host: "127.0.0.1", port, path: `${path}?limit=1`, headers: { Accept }, agent }).end()
      const [reply] = (await once(asked, "response")) as [IncomingMessage]
      reply.resume()
      await once(reply, "end")
    }
    expect(timeouts).toEqual([600_000, 30_000])

    const impatient = await begin(50)
    const reader = connectTo(impatient.port, "127.0.0.1").pause()
    onTestFinished(() => void reader.destroy())
    reader.write(`GET ${path} HTTP/1.1\r\nHost: localhost:${impatient.port}\r\nAccept: ${lines.Accept}\r\n\r\n`)
    await vi.waitFor(() => expect(impatient.sockets[0]?.destroyed).toBe(true))
  })

  it("asks for large values a few at a time", async () => {
    const base = await filled(300, JSON.stringify("x".repeat(100_000)))
    const sizes: number[] = []
    const store = storeWith(
      {
        async list(query) {
          const page = await base.list(query)
          sizes.push(page.entries.length)
          return page
        },
      },
      base,
    )
    const { ask } = await serve({}, store)
    await ask("GET", path, { headers: lines })
    expect(sizes.slice(1).every((size) => size <= 11)).toBe(true)
  })

  it("is cut, not ended, when the store fails half-way", async () => {
    const base = await filled(200)
    const store = storeWith(
      {
        list: (query) => (query?.cursor ? Promise.reject(new CoatcheckError("unavailable", "lost")) : base.list(query)),
      },
      base,
    )
    const { ask } = await serve({}, store)
    await expect(ask("GET", path, { headers: lines })).rejects.toThrow(/aborted|hang up|reset/)
  })

  it("is an error when the store fails at its beginning", async () => {
    const store = storeWith({ list: () => Promise.reject(new CoatcheckError("unavailable", "lost")) })
    const { ask } = await serve({}, store)
    expect((await ask("GET", path, { headers: lines })).status).toBe(503)
  })
})
