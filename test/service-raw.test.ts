// What no client library would send, byte by byte, over real sockets: the service must refuse what another parser might read
// differently, and must not take what follows such a message for a request of its own. A second request is appended to every
// probe; an answer to it would be a request smuggled in.

import { once } from "node:events"
import { describe, expect, it } from "vitest"
import { type Listening, received, serve } from "./support/service.ts"

const smuggled = 'POST / HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Length: 14\r\n\r\n{"smuggled":1}'

/** A message with the right Host, lines ended by CRLF. */
function message(start: string, fields: readonly string[], body = ""): string {
  return [start, "Host: localhost:PORT", ...fields, "", body].join("\r\n")
}

const post = (fields: readonly string[], body = ""): string => message("POST / HTTP/1.1", fields, body)
const get = (...fields: string[]): string => message("GET /-/health HTTP/1.1", fields)
const chunked = (body: string): string => post(["Transfer-Encoding: chunked"], body)

const broken: readonly (readonly [name: string, bytes: string, status: number])[] = [
  [
    "Content-Length beside Transfer-Encoding",
    post(["Content-Length: 6", "Transfer-Encoding: chunked"], "0\r\n\r\n"),
    400,
  ],
  [
    "Transfer-Encoding beside Content-Length",
    post(["Transfer-Encoding: chunked", "Content-Length: 6"], "0\r\n\r\n"),
    400,
  ],
  ["two Content-Length that differ", post(["Content-Length: 7", "Content-Length: 2"], '{"a":1}'), 400],
  ["two Content-Length that are equal", post(["Content-Length: 7", "Content-Length: 7"], '{"a":1}'), 400],
  ["a Content-Length with a sign", post(["Content-Length: +7"], '{"a":1}'), 400],
  ["a negative Content-Length", post(["Content-Length: -7"], '{"a":1}'), 400],
  ["a Content-Length in hexadecimal", post(["Content-Length: 0x7"], '{"a":1}'), 400],
  ["a list of Content-Length", post(["Content-Length: 7, 7"], '{"a":1}'), 400],
  ["an endless Content-Length", post([`Content-Length: ${"9".repeat(30)}`], '{"a":1}'), 400],
  ["a transfer coding behind chunked", post(["Transfer-Encoding: chunked, gzip"], "0\r\n\r\n"), 400],
  ["a transfer coding that only looks like chunked", post(["Transfer-Encoding: xchunked"], "0\r\n\r\n"), 400],
  ["a space before the colon", get("Content-Length : 0"), 400],
  ["a field without a colon", get("nonsense"), 400],
  ["lines ended by LF alone", `GET /-/health HTTP/1.1\nHost: localhost:PORT\n\n`, 400],
  ["a CR inside a field", get("X-A: b\rc"), 400],
  ["a header block ended by CR LF CR", `${get("X-A: b").slice(0, -1)}X`, 400],
  ["a folded field", get("X-A: b", " c"), 400],
  ["a NUL in a field", get("X-A: b\0c"), 400],
  ["a space in the target", message("GET /a b HTTP/1.1", []), 400],
  ["a byte above ASCII in the target", message("GET /\xfc HTTP/1.1", []), 400],
  ["an unknown method", message("GE T / HTTP/1.1", []), 400],
  ["a chunk size behind a line feed", chunked('7\n\r\n{"a":1}\r\n0\r\n\r\n'), 400],
  ["a chunk size ended by LF alone", chunked('7\n{"a":1}\r\n0\r\n\r\n'), 400],
  ["a chunk size that is no number", chunked('7g\r\n{"a":1}\r\n0\r\n\r\n'), 400],
  ["a chunk without its CRLF", chunked('7\r\n{"a":1}0\r\n\r\n'), 400],
  ["64 KiB of chunk extension", chunked(`7;${"x".repeat(65_536)}\r\n{"a":1}\r\n0\r\n\r\n`), 413],
  ["a header block above 16 KiB", get(`X-A: ${"x".repeat(17_000)}`), 431],
  ["a target above 16 KiB", message(`GET /${"x".repeat(17_000)} HTTP/1.1`, []), 431],
  ["no Host", "GET /-/health HTTP/1.1\r\n\r\n", 400],
  ["two Host", get("Host: localhost:PORT"), 400],
  ["HTTP/2.0", message("GET /-/health HTTP/2.0", []), 505],
  ["HTTP/0.9", message("GET /-/health HTTP/0.9", []), 505],
  ["100 header fields", get(...Array.from({ length: 99 }, (_, index) => `x${index}: 1`)), 431],
  ["3,000 header fields", get(...Array.from({ length: 3_000 }, () => "a:")), 431],
  ["CONNECT", "CONNECT localhost:PORT HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 405],
]

function probe({ port, raw }: Listening, bytes: string): Promise<string> {
  return raw(bytes.replaceAll("PORT", String(port)))
}

describe("messages that are no good HTTP", () => {
  it.each(broken)("PRS-01: %s", async (_name, bytes, status) => {
    const service = await serve()
    const text = await probe(service, bytes + smuggled)
    expect(text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(text.match(/^HTTP\/1\.1 \d/gm)).toHaveLength(1)
    const [head = "", body = ""] = text.split("\r\n\r\n")
    expect(head).toMatch(/\r\nConnection: close/i)
    expect(head).toMatch(/\r\nContent-Type: application\/problem\+json\r\n/)
    expect(JSON.parse(body)).toMatchObject({ status })
    expect((await service.store.list()).entries).toEqual([])
    expect((await service.ask("GET", "/-/health")).status).toBe(200)
  })

  it("PRS-01: the preface of HTTP/2 is not answered as a request", async () => {
    const service = await serve()
    expect(await probe(service, `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${smuggled}`)).not.toMatch(/^HTTP\/1\.1 2/)
    expect((await service.store.list()).entries).toEqual([])
  })

  it("PRS-01: an answer that is still due goes out before the connection is closed, and nothing behind it", async () => {
    const service = await serve()
    const good = '{"a":1}'
    const text = await probe(
      service,
      `${post([`Content-Length: ${good.length}`], good)}GET / HTTP/1.1\r\nX : y\r\n\r\n${smuggled}`,
    )
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(text).toMatch(/\{"a":1\}$/)
    expect(text.match(/^HTTP\/1\.1 \d/gm)).toHaveLength(1)
    expect((await service.store.list()).entries).toHaveLength(1)
  })

  it("PRS-02: what Node lets through by itself", async () => {
    const service = await serve()
    const status = async (bytes: string): Promise<string | undefined> =>
      /^HTTP\/1\.1 (\d+)/.exec(await probe(service, bytes))?.[1]
    expect(await status(get("Connection: close"))).toBe("200")
    expect(await status(message("TRACE / HTTP/1.1", ["Connection: close"]))).toBe("405")
    expect(await status(message("GET /-/health HTTP/1.0", []))).toBe("200")
    expect(await status(message("GET http://evil.test/-/health HTTP/1.1", ["Connection: close"]))).toBe("421")
    expect(await status(message("GET http://localhost:PORT/-/health HTTP/1.1", ["Connection: close"]))).toBe("200")
    expect(await status(get("Connection: close", ...Array.from({ length: 97 }, (_, index) => `x${index}: 1`)))).toBe(
      "200",
    )
    expect(await status(get("Connection: close", "Expect: bogus"))).toBe("417")
    expect(await status(get("Connection: close, Upgrade", "Upgrade: h2c"))).toBe("200")
  })

  it("KVS-13: TRACE is refused with what is taken, and does not show the request", async () => {
    const text = await probe(await serve(), message("TRACE /foo HTTP/1.1", ["X-Secret: s3cr3t", "Connection: close"]))
    expect(text).toMatch(/^HTTP\/1\.1 405 [^]*\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n/)
    expect(text).not.toContain("s3cr3t")
  })

  it("PRS-04: a cookie, however large or odd, costs nothing and changes nothing", async () => {
    const service = await serve()
    for (const cookie of ["a=;".repeat(5_000), '"'.repeat(15_000), ";".repeat(15_000), "\\".repeat(15_000)]) {
      expect(await probe(service, get(`Cookie: ${cookie}`, "Connection: close"))).toMatch(/^HTTP\/1\.1 200 /)
    }
  })
})

describe("clients that are slow", () => {
  const limits = { headersMs: 50, requestMs: 100, keepAliveMs: 50 }

  it("PRS-03 REL-09: half a header block is answered by 408 when its time is over", async () => {
    const { raw, ask } = await serve({ limits })
    expect(await raw("GET / HTTP/1.1\r\nHo")).toMatch(/^HTTP\/1\.1 408 [^]*"status":408/)
    expect((await ask("GET", "/-/health")).status).toBe(200)
  })

  it("PRS-03: half a body is answered by 408, and stores nothing", async () => {
    const service = await serve({ limits })
    const text = await probe(service, post(["Content-Length: 20"], '{"a":1'))
    expect(text).toMatch(/^HTTP\/1\.1 408 [^]*"status":408/)
    expect((await service.store.list()).entries).toEqual([])
  })

  it("PRS-03: a connection that says nothing is closed", async () => {
    const { connect } = await serve({ limits })
    const socket = await connect()
    expect(await received(socket)).toMatch(/^(HTTP\/1\.1 408 |$)/)
  })

  it("PRS-03: a client that does not read its answer is cut", async () => {
    const service = await serve({ limits: { ...limits, connections: 1 } })
    await service.store.set("big", JSON.stringify("x".repeat(1_000_000)))
    const socket = await service.connect()
    socket.pause()
    const request = get("X: 1").replace("/-/health", "/big").replaceAll("PORT", String(service.port))
    socket.write(request.repeat(60))
    // The one place is taken until the service gives up on who took it.
    const isServed = () =>
      service.ask("GET", "/-/health").then(
        () => true,
        () => false,
      )
    expect(await isServed()).toBe(false)
    while (!(await isServed()));
  })

  it("PRS-03: a connection ends after so many requests, with an answer that says so", async () => {
    const service = await serve({ limits: { requestsPerSocket: 3, keepAliveMs: 50 } })
    const text = await probe(service, get().repeat(3))
    expect(text.match(/HTTP\/1\.1 200 /g)).toHaveLength(3)
    expect(text.match(/Connection: close/g)).toHaveLength(1)
  })

  it("PRS-03: above the cap, connections are closed at once, and others go on", async () => {
    const service = await serve({ limits: { connections: 2 } })
    const first = await service.connect()
    await service.connect()
    const third = await service.connect()
    expect(await received(third)).toBe("")
    first.write(get("Connection: close").replaceAll("PORT", String(service.port)))
    expect(await received(first)).toMatch(/^HTTP\/1\.1 200 /)
  })
})

describe("bodies that are too large", () => {
  it("K13: one byte above the limit is 413, at the limit it is stored", async () => {
    const { ask, store } = await serve({ limits: { bodyBytes: 100 } })
    const body = (bytes: number): string => `{"a":"${"x".repeat(bytes - 8)}"}`
    expect((await ask("POST", "/", { body: body(100) })).status).toBe(200)
    for (const headers of [{}, { "Transfer-Encoding": "chunked" }] as Record<string, string>[]) {
      for (const [method, path] of [
        ["POST", "/"],
        ["PUT", "/"],
        ["PUT", "/-/v1/records/a"],
      ] as const) {
        const answer = await ask(method, path, { headers, body: body(101) })
        expect([answer.status, answer.headers["content-type"]]).toEqual([413, "application/problem+json"])
        expect(answer.json).toMatchObject({ type: "urn:coatcheck:error:too-large", status: 413 })
      }
    }
    expect((await store.get("a"))?.value).toHaveLength(94)
  })

  it("K13: the limit is one MiB by default", async () => {
    const { ask } = await serve()
    const body = (bytes: number): string => `{"a":"${"x".repeat(bytes - 8)}"}`
    expect((await ask("POST", "/", { body: body(1_048_576) })).status).toBe(200)
    expect((await ask("POST", "/", { body: body(1_048_577) })).status).toBe(413)
  })

  it("K13: a client that waits for 100 is told before it sends anything", async () => {
    const service = await serve()
    const head = (bytes: number): string =>
      post([`Content-Length: ${bytes}`, "Expect: 100-continue", "Connection: close"]).replaceAll(
        "PORT",
        String(service.port),
      )
    expect(await service.raw(head(2_000_000))).toMatch(/^HTTP\/1\.1 413 /)
    const socket = await service.connect()
    socket.write(head(7))
    const [first] = (await once(socket, "data")) as [Buffer]
    expect(String(first)).toBe("HTTP/1.1 100 Continue\r\n\r\n")
    socket.write('{"a":1}')
    expect(await received(socket)).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  })

  it("K13: a token is asked for before a body is", async () => {
    const service = await serve({ tokens: [`n read sha256:${"0".repeat(64)}`] })
    const text = await probe(service, post(["Content-Length: 7", "Expect: 100-continue"]))
    expect(text).toMatch(/^HTTP\/1\.1 401 /)
  })

  it("K13: a body that breaks off stores nothing", async () => {
    const service = await serve()
    const socket = await service.connect()
    socket.write(post(["Content-Length: 8"], '{"a":1}').replaceAll("PORT", String(service.port)))
    socket.end()
    await received(socket)
    expect((await service.store.list()).entries).toEqual([])
  })
})
