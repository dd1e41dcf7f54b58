// Cases of the adapter suite: the connection. What node's parser refuses stays refused behind an adapter, with one reply; bodies
// stream; several requests share a connection.

import assert from "node:assert/strict"
import { adapterCase, sessionCookie } from "./adapter-case.ts"
import type { AdapterCase } from "./adapter-harness.ts"

const head = (...lines: string[]): string => ["POST /echo HTTP/1.1", "Host: 127.0.0.1", ...lines, "", ""].join("\r\n")
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

/** What HTTP/1 parsers have disagreed on. Each is refused, and what follows it is no request. */
const malformed: Readonly<Record<string, string>> = {
  "both lengths": `${head("Content-Length: 4", "Transfer-Encoding: chunked")}0\r\n\r\n`,
  "both lengths, turned round": `${head("Transfer-Encoding: chunked", "Content-Length: 4")}0\r\n\r\n`,
  "the length twice": `${head("Content-Length: 1", "Content-Length: 1")}a`,
  "two lengths": `${head("Content-Length: 1", "Content-Length: 2")}ab`,
  "a signed length": `${head("Content-Length: +1")}a`,
  "a hexadecimal length": `${head("Content-Length: 0x1")}a`,
  "a list of lengths": `${head("Content-Length: 1, 1")}a`,
  "chunked is not last": `${head("Transfer-Encoding: chunked, gzip")}0\r\n\r\n`,
  "nearly chunked": `${head("Transfer-Encoding: xchunked")}0\r\n\r\n`,
  "a space before the colon": `${head("Content-Length : 1")}a`,
  "bare line feeds": "POST /echo HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 1\n\na",
  "a bare carriage return": head("X-A: 1\rX-B: 2"),
  "a broken end of the head": "GET /plain HTTP/1.1\r\nHost: 127.0.0.1\r\n\rX",
  "a folded field": head("X-A: 1", " 2"),
  "a NUL": head("X-A: \u0000"),
  "a chunk size with a line feed": `${head("Transfer-Encoding: chunked")}1\na\r\n0\r\n\r\n`,
  "no end of a chunk": `${head("Transfer-Encoding: chunked")}1\r\nab0\r\n\r\n`,
  "no Host": "GET /plain HTTP/1.1\r\n\r\n",
}

const tooLarge: Readonly<Record<string, readonly [bytes: string, status: RegExp]>> = {
  "a chunk extension of 64 KiB": [
    `${head("Transfer-Encoding: chunked")}1;${"x".repeat(65_536)}\r\na\r\n0\r\n\r\n`,
    /413/,
  ],
  "a head over 16 KiB": [head(`X-A: ${"x".repeat(17_000)}`), /431/],
}

const statusLines = (received: string): string[] => received.match(/HTTP\/1\.1 \d{3} [^\r\n]*/g) ?? []

/** Malformed requests, streamed bodies, several requests on one connection. */
export const wireCases: readonly AdapterCase[] = [
  adapterCase(
    "PRS-01, REG-49",
    "what the parser refuses gets one 400, and nothing after it is taken for a request",
    async (bench) => {
      for (const [what, bytes] of Object.entries(malformed)) {
        const received = await bench.bytes(bytes + smuggled)
        assert.deepEqual(statusLines(received), ["HTTP/1.1 400 Bad Request"], what)
      }
      for (const [what, [bytes, status]] of Object.entries(tooLarge)) {
        const lines = statusLines(await bench.bytes(bytes + smuggled))
        assert.equal(lines.length, 1, what)
        assert.match(lines[0] ?? "", status, what)
      }
      assert.deepEqual(bench.store.calls, [])
    },
  ),

  adapterCase(
    "PRS-01",
    "requests that follow each other on one connection are answered in order, each as its own",
    async (bench) => {
      const visitor = bench.visitor()
      await visitor.get("/count")
      const get = (path: string, ...lines: string[]): string =>
        [`GET ${path} HTTP/1.1`, "Host: 127.0.0.1", ...lines, "", ""].join("\r\n")
      const cookie = `Cookie: session=${sessionCookie(visitor)}`
      const received = await bench.bytes(
        [
          get("/update", cookie),
          get("/plain"),
          get("/count"),
          get("/is-new", cookie),
          get("/plain", "Connection: close"),
        ].join(""),
      )
      assert.equal(statusLines(received).length, 5)
      assert.deepEqual(received.match(/Count: \d|untouched|false/g), [
        "Count: 2",
        "untouched",
        "Count: 1",
        "false",
        "untouched",
      ])
    },
  ),

  adapterCase(
    "CCH-05, REL-02",
    "a body that streams arrives whole, behind the headers of its session",
    async (bench) => {
      const visitor = bench.visitor()
      for (const count of [1, 2]) {
        const reply = await visitor.get("/stream")
        assert.deepEqual([reply.status, reply.body], [200, `Count: ${count}`])
        assert.equal(reply.one("vary"), "Cookie")
      }
      assert.equal((await visitor.get("/read")).body, "Count: 2")
    },
  ),

  adapterCase("CCH-05", "a request's body reaches the handler", async (bench) => {
    const body = "ü".repeat(100_000)
    const reply = await bench.send({ method: "POST", path: "/echo", headers: [["Sec-Fetch-Site", "none"]], body })
    assert.equal(reply.body, body)
  }),
]
