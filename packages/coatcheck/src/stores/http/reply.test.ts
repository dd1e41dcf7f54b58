import { constants } from "node:buffer"
import { once } from "node:events"
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http"
import { type AddressInfo, connect } from "node:net"
import fc from "fast-check"
import { describe, expect, it, onTestFinished } from "vitest"
import { type HttpReply, replyReader, Rubbish } from "./reply.ts"

/** The reply in a text that comes in these pieces, and what of it may be kept; null: it is not whole. */
function read(pieces: readonly Buffer[], maxBytes = 1_000): { reply: HttpReply; keepMs: number } | null {
  const reader = replyReader(maxBytes)
  const whole = pieces.map((piece) => reader.push(piece))
  expect(whole.slice(0, -1)).not.toContain(true)
  return whole.at(-1) === true ? { reply: reader.reply(), keepMs: reader.keep(4_000) } : null
}

const readText = (text: string, maxBytes?: number) => read([Buffer.from(text, "latin1")], maxBytes)

/** The bytes cut at these places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set(places.map((place) => place % bytes.length))].filter((end) => end > 0).sort((a, b) => a - b)
  return [...ends, bytes.length].map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end))
}

const good: readonly [text: string, status: number, body: string, keepMs: number][] = [
  ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", 4_000],
  ["HTTP/1.1 200\r\ncontent-length:2\r\n\r\n{}", 200, "{}", 4_000],
  ["HTTP/1.1 200 \r\nContent-Length: \t 2 \t\r\nX: \r\n\r\n{}", 200, "{}", 4_000],
  ["HTTP/1.1 204 No Content\r\n\r\n", 204, "", 4_000],
  ["HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, "", 4_000],
  ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", 4_000],
  ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\n{}", 200, "{}", 0],
  ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=3\r\n\r\n{}", 200, "{}", 2_000],
  ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: max=5, timeout=60\r\n\r\n{}", 200, "{}", 4_000],
  ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=0\r\n\r\n{}", 200, "{}", 0],
  ["HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}", 200, "{}", 0],
  [
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\n1",
    404,
    "1",
    4_000,
  ],
  ['HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\n{\r\n1;a="b"\r\n}\r\n0\r\n\r\n', 200, "{}", 4_000],
  [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00A \r\n0123456789\r\n0\r\nETag: x\r\n\r\n",
    200,
    "0123456789",
    4_000,
  ],
]

const bad: readonly [what: string, text: string][] = [
  ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n"],
  ["another version", "HTTP/2.0 200 OK\r\n\r\n"],
  ["no status", "HTTP/1.1 OK\r\n\r\n"],
  ["a status that is none", "HTTP/1.1 2000 OK\r\n\r\n"],
  ["another protocol's turn", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"],
  ["preliminary replies without end", "HTTP/1.1 100 Continue\r\n\r\n".repeat(9)],
  ["a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}"],
  ["a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}"],
  ["a line without a colon", "HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n"],
  ["a bare line feed", "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\n{}"],
  ["a control character", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\n{}"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}"],
  ["a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}"],
  ["a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}"],
  ["a length beside chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
  ["chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["a chunk's size that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n{\r\n0\r\n\r\n"],
  ["an empty size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n"],
  ["a chunk longer than its size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"],
  ["a size line without end", `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${"a".repeat(1_100)}`],
  ["trailers without end", `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${"X: y\r\n".repeat(5_000)}`],
  ["a head without end", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(3_000)}`],
  ["a head too long", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(3_000)}\r\n`],
  ["a length over the bound", "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"],
  [
    "chunks over the bound",
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n${"x".repeat(1_000)}\r\n1\r\n`,
  ],
  ["a body without length over the bound", `HTTP/1.1 200 OK\r\n\r\n${"x".repeat(1_001)}`],
  ["what is no UTF-8", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff"],
]

describe("a reply", () => {
  it.each(good)("%j is read, in whatever pieces it comes", (text, status, body, keepMs) => {
    fc.assert(
      fc.property(fc.array(fc.nat(text.length)), (places) => {
        const found = read(cut(Buffer.from(text, "latin1"), places))
        expect(found?.reply).toMatchObject({ status, body })
        expect(found?.keepMs).toBe(keepMs)
      }),
    )
  })

  it.each(bad)("with %s is rubbish, in whatever pieces it comes", (_what, text) => {
    const bytes = Buffer.from(text, "latin1")
    fc.assert(
      fc.property(fc.array(fc.nat(text.length), { maxLength: 5 }), (places) => {
        const reader = replyReader(1_000)
        const readAll = () => {
          for (const piece of cut(bytes, places)) reader.push(piece)
          return reader.reply()
        }
        expect(readAll).toThrow(Rubbish)
      }),
    )
  })

  it.each(good)("%j is whole with its last byte and not before", (text) => {
    for (let length = 1; length < text.length; length++) expect(readText(text.slice(0, length))).toBeNull()
  })

  it("without a length ends with its connection, which is not kept", () => {
    const reader = replyReader(1_000)
    expect(reader.push(Buffer.from("HTTP/1.1 200 OK\r\n\r\n{"))).toBe(false)
    expect(reader.push(Buffer.from("}"))).toBe(false)
    expect(reader.end()).toBe(true)
    expect([reader.reply().body, reader.keep(4_000)]).toEqual(["{}", 0])
    const other = replyReader(1_000)
    other.push(Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"))
    expect(other.end()).toBe(false)
  })

  it("with more behind it than belongs to it is read, and its connection is not kept", () => {
    expect(readText("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1")).toMatchObject({
      reply: { body: "{}" },
      keepMs: 0,
    })
  })

  it("has its fields by their names in lower case, several of one name as one", () => {
    const found = readText("HTTP/1.1 204 X\r\nCoatcheck-Absent: 1\r\nVary:  a \r\nvARY: b\xe4\r\n\r\n")
    expect([...(found?.reply.fields ?? [])]).toEqual([
      ["coatcheck-absent", "1"],
      ["vary", "a, b\xe4"],
    ])
  })

  it("may be as long as all that a batch can ask for, and no longer than a text can be", () => {
    const head = (length: number) => Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`)
    const read = (length: number) => replyReader(Number.MAX_SAFE_INTEGER).push(head(length))
    expect(read(256 * (1_048_576 + 8_192))).toBe(false) // more is to come
    expect(() => read(constants.MAX_STRING_LENGTH + 1)).toThrow(Rubbish)
  })

  it("of a megabyte of blanks is refused at once", () => {
    const before = performance.now()
    expect(() => readText(`HTTP/1.1 200 OK\r\nX:${" ".repeat(16_000)}\0\r\n\r\n`)).toThrow(Rubbish)
    expect(performance.now() - before).toBeLessThan(500)
  })

  it("of node:http, whatever it writes, is read as node:http reads it", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(200, 201, 204, 304, 404, 503),
        fc.array(fc.string({ unit: "grapheme" }), { maxLength: 4 }),
        fc.boolean(),
        async (status, parts, hasLength) => {
          const whole = parts.join("")
          const port = await answering((_request, response) => {
            const length = { "Content-Length": Buffer.byteLength(whole) }
            response.writeHead(status, hasLength && status < 300 && status !== 204 ? length : {})
            for (const part of parts) response.write(part)
            response.end()
          })
          const reader = replyReader(100_000)
          const socket = connect(port, "127.0.0.1")
          socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
          let isWhole = false
          for await (const bytes of socket) {
            isWhole = reader.push(bytes as Buffer)
            if (isWhole) break
          }
          expect(isWhole).toBe(true)
          expect(reader.reply()).toMatchObject(await asNodeReads(port))
          expect(reader.keep(4_000)).toBe(4_000)
        },
      ),
      { numRuns: 25 },
    )
  })
})

async function answering(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<number> {
  const server = createServer(answer).listen(0, "127.0.0.1")
  await once(server, "listening")
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port // a TCP server has one
}

async function asNodeReads(port: number): Promise<{ status: number | undefined; body: string }> {
  const asked = request({ port, host: "127.0.0.1", agent: false })
  asked.end()
  const [reply] = (await once(asked, "response")) as [IncomingMessage]
  let body = ""
  for await (const text of reply.setEncoding("utf8")) body += text
  return { status: reply.statusCode, body }
}
