import { once } from "node:events"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { describe, expect, it, onTestFinished, vi } from "vitest"
import { httpAddress } from "./address.ts"
import { type HttpClient, httpClient, type HttpDone, type HttpFailure, type HttpRequest } from "./client.ts"
import type { HttpReply } from "./reply.ts"

const get: HttpRequest = { method: "GET", path: "/x", maxReply: 1_000 }
const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

interface Raw {
  readonly client: HttpClient
  readonly port: number
  /** The connections made to it, in order. */
  readonly sockets: Socket[]
  /** What came in on each of them. */
  readonly heard: string[]
}

/** A client of a server that is handed each piece of what comes, and which connection it came on. */
async function raw(onData: (socket: Socket, nth: number) => void, host = "127.0.0.1"): Promise<Raw> {
  const sockets: Socket[] = []
  const heard: string[] = []
  const server = createServer((socket) => {
    const nth = sockets.push(socket) - 1
    heard.push("")
    socket.on("error", () => {}) // a client that goes is part of the tests
    socket.on("data", (bytes) => {
      heard[nth] += bytes.toString()
      onData(socket, nth)
    })
  })
  server.listen(0, host)
  await once(server, "listening")
  const { port } = server.address() as AddressInfo // a TCP server has one
  const client = httpClient(
    httpAddress(`http://name:secret@${host.includes(":") ? `[${host}]` : host}:${port}/base`, undefined),
  )
  onTestFinished(() => {
    client.close()
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return { client, port, sockets, heard }
}

function ask(client: HttpClient, request: HttpRequest = get): Promise<HttpReply | HttpFailure> {
  return new Promise((resolve) => {
    client.send(request, (...[reply, failure]) => resolve(reply ?? failure))
  })
}

describe("a request", () => {
  it.each(["127.0.0.1", "::1"])("goes out in one piece, and names its host (%s)", async (host) => {
    const { client, port, heard } = await raw((socket) => socket.write(ok), host)
    expect(await ask(client, { ...get, method: "POST", body: '{"k":"é"}' })).toMatchObject({ status: 200, body: "{}" })
    const name = host === "::1" ? "[::1]" : host
    expect(heard).toEqual([
      [
        "POST /base/x HTTP/1.1",
        `Host: ${name}:${port}`,
        "Accept: application/json",
        "Authorization: Bearer secret",
        "Content-Type: application/json",
        "Content-Length: 10",
        "",
        '{"k":"é"}',
      ].join("\r\n"),
    ])
  })

  it("is not sent before there is a connection, and then it counts as sent", async () => {
    const { client } = await raw((socket) => socket.write(ok))
    const done = vi.fn<HttpDone>()
    const exchange = client.send(get, done)
    expect([exchange.sent, done.mock.calls]).toEqual([false, []])
    await vi.waitFor(() => expect(done).toHaveBeenCalledOnce())
    expect(exchange.sent).toBe(true)
  })

  it("that is given up closes its connection, and nobody is told", async () => {
    const { client, sockets } = await raw(() => {})
    const done = vi.fn<HttpDone>()
    const exchange = client.send(get, done)
    await vi.waitFor(() => expect(exchange.sent).toBe(true))
    await vi.waitFor(() => expect(sockets).toHaveLength(1))
    exchange.cancel()
    exchange.cancel()
    await once(sockets[0] as Socket, "close")
    expect(done).not.toHaveBeenCalled()
  })
})

describe("a connection", () => {
  it("is used again, by one request at a time, the last one first", async () => {
    const { client, sockets, heard } = await raw((socket) => socket.write(ok))
    await Promise.all([ask(client), ask(client)])
    await ask(client)
    await ask(client)
    expect(sockets).toHaveLength(2)
    expect(heard.map((text) => text.split("GET ").length - 1).toSorted((a, b) => a - b)).toEqual([1, 3])
  })

  it.each([
    ["says close", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"],
    ["will be closed in a moment", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\n{}"],
    ["says more than was asked", `${ok}${ok}`],
  ])("that %s is not used again", async (_what, reply) => {
    const { client, sockets } = await raw((socket) => socket.write(reply))
    for (let count = 1; count <= 3; count++) {
      expect(await ask(client)).toMatchObject({ status: 200, body: "{}" })
      expect(sockets).toHaveLength(count)
    }
  })

  it("on which something comes that nobody asked for is closed, and no reply is made of it", async () => {
    const { client, sockets } = await raw((socket, nth) => socket.write(nth === 0 ? ok : ok.replace("{}", "[]")))
    await ask(client)
    const [first] = sockets as [Socket]
    const from = performance.now()
    first.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"evil"')
    await once(first, "close")
    expect(performance.now() - from).toBeLessThan(2_000) // and not because it was idle for long
    expect(await ask(client)).toMatchObject({ body: "[]" })
  })

  it("whose reply came before the request was sent is not used again", async () => {
    const { client, sockets } = await raw((socket) => {
      socket.pause() // the rest stays where it is
      socket.write(ok)
    })
    expect(await ask(client, { ...get, method: "POST", body: `"${"x".repeat(20_000_000)}"` })).toMatchObject({
      status: 200,
    })
    sockets[0]?.resume()
    await ask(client)
    expect(sockets).toHaveLength(2)
  })

  it("is closed for good with the client, and idle ones when one turned out dead", async () => {
    const { client, sockets } = await raw((socket, nth) => void (nth < 2 && socket.write(ok)))
    await Promise.all([ask(client), ask(client)])
    client.dropIdle()
    await Promise.all(sockets.map((socket) => once(socket, "close")))
    const open = ask(client)
    await vi.waitFor(() => expect(sockets).toHaveLength(3))
    client.close()
    expect(await open).toMatchObject({ sent: true, stale: false, rubbish: false })
  })
})

describe("what a failure says", () => {
  const part = ok.slice(0, 20)
  it.each([
    ["nothing came", "", { sent: true, stale: false, rubbish: false }],
    ["a part came", part, { sent: true, stale: false, rubbish: false }],
    ["rubbish came", "rubbish", { sent: true, stale: false, rubbish: true }],
  ])("on a new connection, when %s", async (_what, reply, failure) => {
    const { client } = await raw((socket) => socket.end(reply))
    expect(await ask(client)).toMatchObject({ ...failure, cause: expect.any(Error) })
  })

  it.each([
    ["nothing came", "", { sent: true, stale: true, rubbish: false }],
    ["a part came", part, { sent: true, stale: false, rubbish: false }],
    ["rubbish came", "rubbish", { sent: true, stale: false, rubbish: true }],
  ])("on a kept connection, when %s", async (_what, reply, failure) => {
    let asked = 0
    const { client } = await raw((socket) => (++asked === 1 ? socket.write(ok) : socket.end(reply)))
    await ask(client)
    expect(await ask(client)).toMatchObject({ ...failure, cause: expect.any(Error) })
  })

  it("when what came without a length is no UTF-8", async () => {
    const { client } = await raw((socket) => socket.end(Buffer.from("HTTP/1.1 200 OK\r\n\r\n\xff", "latin1")))
    expect(await ask(client)).toMatchObject({ sent: true, rubbish: true })
  })

  it("when nobody is there", async () => {
    const { client, port } = await raw(() => {})
    const nobody = httpClient(httpAddress(`https://127.0.0.1:${port}`, undefined))
    const gone = httpClient(httpAddress("http://127.0.0.1:9", undefined))
    onTestFinished(() => {
      nobody.close()
      gone.close()
    })
    expect(await ask(gone)).toMatchObject({ sent: false, stale: false })
    const exchange = ask(nobody) // speaks TLS to somebody who does not
    client.close()
    await new Promise((resolve) => setImmediate(resolve))
    nobody.close()
    expect(await exchange).toMatchObject({ sent: false, stale: false })
  })
})
