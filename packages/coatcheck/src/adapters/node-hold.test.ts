// Every way in which a reply can leave node:http, with a commit that answers at once and with one that is waited for. The sessions
// here are committers made by hand; what the application sees must be what it sees without them.

import { once } from "node:events"
import { createServer, type IncomingMessage, request as httpRequest, type ServerResponse } from "node:http"
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2"
import { type AddressInfo, connect, type Server } from "node:net"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { afterEach, describe, expect, it } from "vitest"
import { type Committer, type Exchange, exchangeOf, type ReplyChange } from "../core/exchange.ts"
import { CoatcheckError, type ErrorCode } from "../errors.ts"
import { type ClientReply, sendBytes, sendRequest } from "../testing/adapter-client.ts"
import { type NodeAdapterOptions, nodeAdapter } from "./node.ts"

type Handler = (request: IncomingMessage, response: ServerResponse) => unknown

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    if (server.listening) server.close()
    if ("closeAllConnections" in server) (server.closeAllConnections as () => void)()
  }
})

async function listen<S extends Server>(server: S): Promise<number> {
  servers.push(server)
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return (server.address() as AddressInfo).port
}

const errors: unknown[] = []
const settings: NodeAdapterOptions = { onError: (error) => errors.push(error), warn: () => undefined }
const adapter = nodeAdapter({ cookieNames: ["sid"] }, settings)
afterEach(() => {
  errors.length = 0
})

const serve = (handler: Handler): Promise<number> => listen(createServer(adapter(handler)))
const serveBare = (handler: Handler): Promise<number> => listen(createServer(handler))

const exchangeFor = (request: IncomingMessage): Exchange =>
  (request as unknown as { [exchangeOf]: Exchange })[exchangeOf]
const attach = (request: IncomingMessage, committer: Committer): void => exchangeFor(request).attach(committer)

const change: ReplyChange = { setCookie: "sid=ours; Path=/" }
const nothing: ReplyChange = { setCookie: null }

/** Commits in both ways that a session may: an answer at once, or a promise of it. */
const kinds: readonly (readonly [kind: string, commit: (answer: () => ReplyChange) => Committer])[] = [
  ["at once", (answer) => ({ commit: answer })],
  ["waited for", (answer) => ({ commit: () => new Promise((resolve) => setImmediate(resolve)).then(answer) })],
]

/** A commit that waits until it is told. */
function gate(): Committer & {
  release(answer?: ReplyChange): void
  fail(error: unknown): void
  readonly begun: Promise<void>
} {
  let begin = (): void => undefined
  let settle: { resolve(answer: ReplyChange): void; reject(error: unknown): void } | undefined
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const answer = new Promise<ReplyChange>((resolve, reject) => {
    settle = { resolve, reject }
  })
  return {
    begun,
    commit() {
      begin()
      return answer
    },
    release: (given = nothing) => settle?.resolve(given),
    fail: (error) => settle?.reject(error),
  }
}

/** The head of a reply as lines, without what differs from one moment to the next. */
function headOf(received: string): string[] {
  const head = received.slice(0, received.indexOf("\r\n\r\n")).split("\r\n")
  return head.filter((line) => !/^(Date|Connection|Keep-Alive):/i.test(line))
}

const ask = (port: number, method = "GET"): Promise<string> =>
  sendBytes(port, `${method} / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`)

describe.each(kinds)("a commit that is %s", (_kind, committerOf) => {
  const withSession =
    (handler: Handler, answer = () => change): Handler =>
    (request, response) => {
      attach(request, committerOf(answer))
      return handler(request, response)
    }

  const shapes: Readonly<Record<string, Handler>> = {
    "end alone": (_, response) => response.end("body"),
    "end of nothing": (_, response) => response.end(),
    "write and end": (_, response) => {
      response.write("bo")
      response.end("dy")
    },
    "setHeader and end": (_, response) => {
      response.setHeader("X-A", ["1", "2"])
      response.statusCode = 404
      response.statusMessage = "Gone Fishing"
      response.end("body")
    },
    "writeHead: status": (_, response) => response.writeHead(202).end("body"),
    "writeHead: status and reason": (_, response) => response.writeHead(202, "Fine").end("body"),
    "writeHead: an object": (_, response) =>
      response
        .writeHead(201, { "X-A": "1", "x-b": ["2", "3"], "Content-Length": 4, "Set-Cookie": ["a=1", "b=2"] })
        .end("body"),
    "writeHead: reason and object": (_, response) =>
      response.writeHead(201, "Made", { "X-A": "1", Vary: "Accept" }).end("body"),
    "writeHead: no reason, an object": (_, response) => response.writeHead(201, undefined, { "X-A": "1" }).end("body"),
    "writeHead: a flat array": (_, response) =>
      response
        .writeHead(200, ["X-A", "1", "X-A", "2", "Set-Cookie", "a=1", "Set-Cookie", "b=2", "ETag", '"x"'])
        .end("body"),
    "writeHead: reason and flat array": (_, response) =>
      response.writeHead(200, "Good", ["X-A", "1", "X-a", "2"]).end("body"),
    "writeHead: an array of pairs": (_, response) =>
      response
        .writeHead(200, [
          ["X-A", "1"],
          ["X-A", "2"],
          ["Vary", "Accept"],
        ] as never)
        .end("body"),
    "writeHead after setHeader": (_, response) => {
      response.setHeader("X-A", "0")
      response.setHeader("X-B", "1")
      response.writeHead(200, { "x-a": "1", "X-C": "2" }).end("body")
    },
    "writeHead: 204": (_, response) => response.writeHead(204).end(),
    "writeHead: 304": (_, response) => response.writeHead(304, { ETag: '"x"' }).end(),
    "writeHead: a redirect": (_, response) => response.writeHead(303, { Location: "/next" }).end(),
    "flushHeaders first": (_, response) => {
      response.flushHeaders()
      response.end("body")
    },
    "a body of bytes": (_, response) => response.end(Buffer.from("body")),
    "an encoding": (_, response) => response.end("Ym9keQ==", "base64"),
    corked: (_, response) => {
      response.cork()
      response.write("bo")
      response.write("dy")
      response.uncork()
      response.end()
    },
    "an explicit connection": (_, response) => response.writeHead(200, { Connection: "close" }).end("body"),
    "no date": (_, response) => {
      response.sendDate = false
      response.end("body")
    },
  }

  it.each(Object.keys(shapes))(
    "CCH-05, REG-16: %s arrives as without a session, with our fields added",
    async (shape) => {
      const handler = shapes[shape]!
      const [bare, ours] = [await serveBare(handler), await serve(withSession(handler))]
      for (const method of ["GET", "HEAD"]) {
        const [expected, received] = [await ask(bare, method), await ask(ours, method)]
        const added = (line: string): boolean => /^(Set-Cookie: sid=|Cache-Control:|Vary:)/i.test(line)
        // Names have no case, and fields of different names no order.
        const byName = ([status = "", ...lines]: string[]): string[] => [
          status,
          ...lines
            .map((line) => nameOf(line) + line.slice(nameOf(line).length))
            .toSorted((a, b) => nameOf(a).localeCompare(nameOf(b))),
        ]
        expect(byName(headOf(received).filter((line) => !added(line)))).toEqual(
          byName(headOf(expected).filter((line) => !/^Vary:/i.test(line))),
        )
        expect(received.slice(received.indexOf("\r\n\r\n"))).toBe(expected.slice(expected.indexOf("\r\n\r\n")))
        expect(headOf(received).filter((line) => line.startsWith("Set-Cookie: sid="))).toEqual([
          "Set-Cookie: sid=ours; Path=/",
        ])
        expect(headOf(received)).toContain("Cache-Control: no-store")
        expect(headOf(received)).toContain(/^Vary:/m.test(expected) ? "Vary: Accept, Cookie" : "Vary: Cookie")
      }
    },
  )

  it("CCH-05: a list given to writeHead replaces what was set before, and keeps its own repetitions", async () => {
    const lists: readonly unknown[] = [
      ["X-A", "1", "X-A", "2"],
      [
        ["X-A", "1"],
        ["X-A", "2"],
      ],
    ]
    for (const list of lists) {
      const port = await serve(
        withSession((_, response) => {
          response.setHeader("X-A", "0")
          response.setHeader("X-B", "1")
          response.writeHead(200, list as never).end("body")
        }),
      )
      const reply = await sendRequest(port, {})
      expect([reply.all("x-a"), reply.all("x-b"), reply.all("set-cookie")]).toEqual([
        ["1", "2"],
        ["1"],
        [change.setCookie],
      ])
    }
  })

  it("CCH-05: trailers arrive", async () => {
    const port = await serve(
      withSession((_, response) => {
        response.writeHead(200, { Trailer: "X-Sum" })
        response.write("body")
        response.addTrailers({ "X-Sum": "7" })
        response.end()
      }),
    )
    expect(await ask(port)).toMatch(/body\r\n0\r\nX-Sum: 7\r\n\r\n$/)
  })

  it("CKI-15: our cookie takes the place of one of the same name, however it was set", async () => {
    const own: readonly Handler[] = [
      (_, response) => response.setHeader("Set-Cookie", "sid=theirs").end(),
      (_, response) => response.setHeader("Set-Cookie", ["a=1", " sid = theirs; Path=/", "sidx=2"]).end(),
      (_, response) => response.writeHead(200, { "set-cookie": "sid=theirs" }).end(),
      (_, response) => response.writeHead(200, ["Set-Cookie", "a=1", "Set-Cookie", "sid=theirs"]).end(),
      (_, response) => response.writeHead(200, [["Set-Cookie", "sid=theirs"]] as never).end(),
    ]
    for (const handler of own) {
      const cookies = (await sendRequest(await serve(withSession(handler)), {})).all("set-cookie")
      expect(cookies.filter((cookie) => /^\s*sid\s*=/.test(cookie))).toEqual([change.setCookie])
    }
  })

  it("pipe and pipeline send all of a long body, without more of it in memory than streams allow", async () => {
    const piece = Buffer.alloc(16_384, "x")
    const body = (): Readable => Readable.from(Array.from({ length: 256 }, () => piece))
    const ways: readonly Handler[] = [
      (_, response) => body().pipe(response),
      (_, response) => pipeline(body(), response),
      async (_, response) => {
        for await (const chunk of body()) if (!response.write(chunk)) await once(response, "drain")
        response.end()
      },
    ]
    for (const way of ways) {
      const reply = await sendRequest(await serve(withSession(way)), {})
      expect(reply.body.length).toBe(256 * 16_384)
      expect(errors).toEqual([])
    }
  })

  it("callbacks of write and end are called, in order", async () => {
    const seen: string[] = []
    const port = await serve(
      withSession((_, response) => {
        response.write("a", () => seen.push("a"))
        response.write("b", "utf8", () => seen.push("b"))
        response.end("c", "utf8", () => seen.push("end"))
        response.on("finish", () => seen.push("finish"))
      }),
    )
    expect((await sendRequest(port, {})).body).toBe("abc")
    expect(seen.toSorted()).toEqual(["a", "b", "end", "finish"])
    expect(seen.slice(0, 2)).toEqual(["a", "b"])
  })

  it("write after end fails as it always does", async () => {
    const handler: Handler = (_, response) => {
      response.on("error", (error: NodeJS.ErrnoException) => codes.push(error.code))
      response.end("body")
      response.write("more", (error) => codes.push((error as NodeJS.ErrnoException | null)?.code))
    }
    const codes: unknown[] = []
    for (const port of [await serveBare(handler), await serve(withSession(handler))]) {
      codes.length = 0
      expect((await sendRequest(port, {})).body).toBe("body")
      expect(codes).toEqual(["ERR_STREAM_WRITE_AFTER_END", "ERR_STREAM_WRITE_AFTER_END"])
    }
  })

  it("what node refuses is refused in the caller's face, and the reply can still be made", async () => {
    const thrown: unknown[] = []
    const wrong: readonly Handler[] = [
      (_, response) => response.writeHead(99),
      (_, response) => response.writeHead(1_000),
      (_, response) => response.writeHead("x" as never),
      (_, response) => response.writeHead(200, { "X-A": "a\r\nb" }),
      (_, response) => response.writeHead(200, { "X A": "a" }),
      (_, response) => response.writeHead(200, { "X-A": undefined }),
      (_, response) => response.writeHead(200, ["X-A", "1", "X-B"]),
      (_, response) => response.write(7),
      (_, response) => response.write(null),
      (_, response) => response.end({} as never),
    ]
    const port = await serve(
      withSession(async (request, response) => {
        for (const handler of wrong) {
          try {
            await handler(request, response)
            thrown.push(null)
          } catch (error) {
            thrown.push((error as NodeJS.ErrnoException).code)
          }
        }
        response.end("body")
      }),
    )
    expect((await sendRequest(port, {})).body).toBe("body")
    const codes = [
      "HTTP_INVALID_STATUS_CODE HTTP_INVALID_STATUS_CODE HTTP_INVALID_STATUS_CODE",
      "INVALID_CHAR INVALID_HTTP_TOKEN HTTP_INVALID_HEADER_VALUE INVALID_ARG_VALUE",
      "INVALID_ARG_TYPE INVALID_ARG_TYPE INVALID_ARG_TYPE",
    ]
    expect(thrown).toEqual(codes.flatMap((line) => line.split(" ")).map((code) => `ERR_${code}`))
  })

  it("a second head is refused, and headers can't be added any more once they have left", async () => {
    const codes: unknown[] = []
    const port = await serve(
      withSession(async (_, response) => {
        response.writeHead(200)
        const again = (): unknown => response.writeHead(201, { "X-A": "1" })
        expect(again).toThrow(expect.objectContaining({ code: "ERR_HTTP_HEADERS_SENT" }))
        response.write("a")
        codes.push(response.headersSent, response.writableEnded)
        response.end("b")
        codes.push(response.headersSent, response.writableEnded)
        await once(response, "finish")
        expect(again).toThrow(expect.objectContaining({ code: "ERR_HTTP_HEADERS_SENT" }))
      }),
    )
    const reply = await sendRequest(port, {})
    expect([reply.status, reply.body]).toEqual([200, "ab"])
    expect(codes).toEqual([true, false, true, true])
    expect(errors).toEqual([])
  })

  const statuses: Readonly<Record<ErrorCode, number>> = {
    unavailable: 503,
    "unknown-outcome": 503,
    conflict: 409,
    full: 503,
    corrupt: 503,
    unsupported: 500,
    denied: 503,
    "too-large": 413,
    invalid: 500,
    committed: 500,
    ended: 409,
    closed: 503,
  }
  it.each(Object.entries(statuses))("ERR-01, ERR-02, S14: %s replaces the whole reply by %i", async (code, status) => {
    const failure = new CoatcheckError(code as ErrorCode, "secret message", { cause: new Error("secret cause") })
    const port = await serve(
      withSession(
        (_, response) => {
          response.setHeader("X-Theirs", "1")
          response.setHeader("Content-Length", "4")
          response.setHeader("Date", "never")
          response.writeHead(200, "Great", { "Set-Cookie": "theirs=1", ETag: '"x"', "Content-Encoding": "gzip" })
          response.end("body")
        },
        () => {
          throw failure
        },
      ),
    )
    const reply = await sendRequest(port, {})
    expect([reply.status, reply.reason === "Great"]).toEqual([status, false])
    expect(reply.headers.map(([name]) => name.toLowerCase()).toSorted()).toEqual(
      [
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "date",
        "vary",
        ...(status === 503 ? ["retry-after"] : []),
      ].toSorted(),
    )
    expect(JSON.parse(reply.body)).toEqual({
      type: expect.stringContaining(code) as string,
      title: expect.any(String) as string,
      status,
    })
    expect(reply.body).not.toMatch(/secret|body|\bat\b /)
    expect(Date.parse(reply.one("date")!)).not.toBeNaN()
    expect(errors).toEqual(status === 409 ? [] : [failure])
    const head = await sendRequest(port, { method: "HEAD" })
    expect([head.status, head.body, head.one("content-length")]).toEqual([status, "", String(reply.body.length)])
  })

  it("ERR-01: what is no error of ours replaces it by a plain 500", async () => {
    for (const failure of [new Error("secret"), "secret", null, { name: "CoatcheckError", code: "ended" }]) {
      const port = await serve(
        withSession(
          (_, response) => response.end("body"),
          () => {
            throw failure as Error // code without types throws what it likes
          },
        ),
      )
      const reply = await sendRequest(port, {})
      expect([reply.status, JSON.parse(reply.body)]).toEqual([
        500,
        { type: "about:blank", title: "Internal Server Error", status: 500 },
      ])
      expect(errors.pop()).toBe(failure)
    }
  })

  it("ERR-02: what a replaced application still writes is swallowed, and calls back, so that nobody waits for ever", async () => {
    const seen: string[] = []
    const done = gate()
    const port = await serve(
      withSession(
        async (_, response) => {
          response.writeHead(200, { "X-Theirs": "1" })
          response.write("a", () => seen.push("a"))
          response.flushHeaders()
          await once(response, "close")
          response.writeHead(201)
          response.flushHeaders()
          expect(response.write("b", () => seen.push("b"))).toBe(false)
          await new Promise<void>((resolve) => response.end("c", resolve))
          done.release()
          response.setHeader("X-Late", "1")
        },
        () => {
          throw new CoatcheckError("unavailable", "down")
        },
      ),
    )
    expect((await sendRequest(port, {})).status).toBe(503)
    await done.commit()
    expect(seen).toEqual(["a", "b"])
    // The header that it sets in vain is no news either.
    await new Promise((resolve) => setImmediate(resolve))
    expect(errors).toHaveLength(1)
  })

  it("ERR-02: whatever feeds a replaced reply is let go of", async () => {
    const piece = Buffer.alloc(65_536)
    async function* generated(closed: () => void): AsyncGenerator<Buffer> {
      try {
        for (;;) yield await new Promise<Buffer>((resolve) => setImmediate(() => resolve(piece)))
      } finally {
        closed()
      }
    }
    const endless: readonly ((closed: () => void) => AsyncIterable<Buffer>)[] = [
      (closed) =>
        new Readable({
          read() {
            setImmediate(() => this.push(piece))
          },
        }).on("close", closed),
      generated,
    ]
    for (const source of endless) {
      const closed = gate()
      const port = await serve(
        withSession(
          (_, response) => pipeline(source(closed.release), response),
          () => {
            throw new CoatcheckError("unavailable", "down")
          },
        ),
      )
      expect((await sendRequest(port, {})).status).toBe(503)
      await closed.commit()
    }
    expect(errors).toHaveLength(2)
  })

  it("CKI-15: two session systems on one request are both kept, and both set their cookie", async () => {
    const port = await serve((request, response) => {
      attach(
        request,
        committerOf(() => ({ setCookie: "one=1" })),
      )
      attach(
        request,
        committerOf(() => nothing),
      )
      attach(
        request,
        committerOf(() => ({ setCookie: "two=2" })),
      )
      response.end("body")
    })
    const reply = await sendRequest(port, {})
    expect([reply.body, reply.all("set-cookie"), reply.one("vary")]).toEqual(["body", ["one=1", "two=2"], "Cookie"])
  })

  it("when one of two fails, the reply is replaced, and the cookie of the one that was kept still goes out", async () => {
    const port = await serve((request, response) => {
      attach(
        request,
        committerOf(() => ({ setCookie: "one=1" })),
      )
      attach(
        request,
        committerOf(() => {
          throw new CoatcheckError("unavailable", "down")
        }),
      )
      response.setHeader("Set-Cookie", "theirs=1").end("body")
    })
    const reply = await sendRequest(port, {})
    expect([reply.status, reply.all("set-cookie"), reply.one("cache-control")]).toEqual([503, ["one=1"], "no-store"])
  })

  it("others may wrap the same calls, before the session is opened and after", async () => {
    const seen: string[] = []
    const wrap = (response: ServerResponse, name: string): void => {
      const { writeHead, end } = response
      response.writeHead = function (this: ServerResponse, ...args: unknown[]) {
        seen.push(`${name} head`)
        this.setHeader(`X-${name}`, "1")
        return Reflect.apply(writeHead, this, args) as ServerResponse
      }
      response.end = function (this: ServerResponse, ...args: unknown[]) {
        seen.push(`${name} end`)
        return Reflect.apply(end, this, args) as ServerResponse
      } as never
    }
    const port = await serve((request, response) => {
      wrap(response, "Outer")
      attach(
        request,
        committerOf(() => change),
      )
      wrap(response, "Inner")
      response.writeHead(200, { "X-Theirs": "1" })
      response.end("body")
    })
    const reply = await sendRequest(port, {})
    expect([reply.body, reply.one("x-inner"), reply.one("x-outer"), reply.one("x-theirs")]).toEqual([
      "body",
      "1",
      "1",
      "1",
    ])
    expect(reply.all("set-cookie")).toEqual([change.setCookie])
    expect(seen).toEqual(expect.arrayContaining(["Inner head", "Inner end", "Outer head", "Outer end"]))
  })

  it("middleware that looks for node's private head before each write works", async () => {
    const port = await serve(
      withSession((_, response) => {
        // As compression 1.7 does it.
        const old = response as ServerResponse & { _header: unknown; _implicitHeader(): void }
        for (const piece of ["a", "b", "c"]) {
          if (!old._header) old._implicitHeader()
          response.write(piece)
        }
        response.end()
      }),
    )
    expect((await sendRequest(port, {})).body).toBe("abc")
    expect(errors).toEqual([])
  })

  it("HTTP/1.0 is answered as HTTP/1.0 is", async () => {
    const handler: Handler = (_, response) => {
      response.write("bo")
      response.end("dy")
    }
    const [bare, ours] = [await serveBare(handler), await serve(withSession(handler))]
    const old = "GET / HTTP/1.0\r\n\r\n"
    const [expected, received] = [await sendBytes(bare, old), await sendBytes(ours, old)]
    expect(received.endsWith("\r\n\r\nbody")).toBe(true)
    expect(headOf(received).filter((line) => !/^(Set-Cookie|Vary|Cache-Control)/.test(line))).toEqual(headOf(expected))
  })

  it("interim replies are not held", async () => {
    const port = await serve(
      withSession(async (_, response) => {
        response.writeEarlyHints({ link: "</style.css>; rel=preload" })
        response.writeProcessing()
        response.end("body")
      }),
    )
    const received = await ask(port)
    expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 103", "HTTP/1.1 102", "HTTP/1.1 200"])
  })

  it("over the HTTP/2 compatibility API the same holds", async () => {
    const failing = (path: string): ReplyChange => {
      if (path === "/down") throw new CoatcheckError("unavailable", "down")
      return change
    }
    const server = createHttp2Server(
      adapter((request, response) => {
        attach(
          request as never,
          committerOf(() => failing(request.url)),
        )
        response.writeHead(201, { "x-theirs": "1", vary: "accept" })
        response.write("bo")
        response.end("dy")
      }),
    )
    const session = connectHttp2(`http://127.0.0.1:${await listen(server)}`)
    const get = async (headers: Record<string, string>): Promise<[Record<string, unknown>, string]> => {
      const stream = session.request(headers)
      const [head] = (await once(stream, "response")) as [Record<string, unknown>]
      let body = ""
      for await (const chunk of stream.setEncoding("utf8")) body += chunk
      return [head, body]
    }
    const [head, body] = await get({ ":path": "/" })
    expect(head).toMatchObject({
      ":status": 201,
      "x-theirs": "1",
      vary: "accept, Cookie",
      "set-cookie": [change.setCookie],
      "cache-control": "no-store",
    })
    expect(body).toBe("body")
    const [down, problem] = await get({ ":path": "/down" })
    expect(down).toMatchObject({ ":status": 503, "content-type": "application/problem+json" })
    expect(down).not.toHaveProperty("x-theirs")
    expect(JSON.parse(problem)).toMatchObject({ status: 503 })
    const [refused] = await get({ ":path": "/", ":method": "POST", "sec-fetch-site": "cross-site" })
    expect(refused).toMatchObject({ ":status": 403, vary: "Sec-Fetch-Site, Origin" })
    session.close()
  })
})

const nameOf = (line: string): string => line.slice(0, line.indexOf(":")).toLowerCase()

describe("while the commit is under way", () => {
  it("nothing leaves, and the application sees what it would see", async () => {
    const commit = gate()
    const seen: unknown[] = []
    const port = await serve((request, response) => {
      attach(request, commit)
      seen.push(response.headersSent, response.writableEnded)
      seen.push(response.write("a"))
      response.on("drain", () => seen.push("drain"))
      seen.push(response.headersSent, response.writableEnded, exchangeFor(request).sent)
    })
    const socket = connect(port, "127.0.0.1")
    let received = ""
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      received += chunk
    })
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await commit.begun
    // Another request comes and goes: this one had its time.
    await sendRequest(await serveBare((_, response) => response.end()), {})
    expect(received).toBe("")
    expect(seen).toEqual([false, false, false, true, false, false])
    commit.release()
    await once(socket, "data")
    expect(received).toMatch(/^HTTP\/1\.1 200 OK/)
    expect(seen.at(-1)).toBe("drain")
    socket.destroy()
  })

  it("a session that is opened then is kept as well", async () => {
    const [first, second] = [gate(), gate()]
    const port = await serve((request, response) => {
      attach(request, first)
      response.end("body")
      attach(request, second)
      first.release({ setCookie: "one=1" })
      second.release({ setCookie: "two=2" })
    })
    expect((await sendRequest(port, {})).all("set-cookie")).toEqual(["one=1", "two=2"])
  })

  it("a client that goes away changes nothing: the commit ends, and the server serves on", async () => {
    const commit = gate()
    const closed = gate()
    const port = await serve((request, response) => {
      if (request.url === "/next") return response.end("next")
      attach(request, commit)
      response.on("close", () => closed.release())
      response.write("a")
      return response.end("b")
    })
    const outgoing = httpRequest({ port, host: "127.0.0.1" })
    outgoing.on("error", () => undefined)
    outgoing.end()
    await commit.begun
    outgoing.destroy()
    await closed.commit()
    commit.release(change)
    expect((await sendRequest(port, { path: "/next" })).body).toBe("next")
    expect(errors).toEqual([])
  })

  it("a server that stops meanwhile still sends the reply", async () => {
    const commit = gate()
    const server = createServer(
      adapter((request, response) => {
        attach(request, commit)
        response.end("body")
      }),
    )
    const reply = sendRequest(await listen(server), {})
    await commit.begun
    const closed = once(server, "close")
    server.close()
    commit.release()
    expect((await reply).body).toBe("body")
    await closed
  })

  it("a handler that throws before its reply was ended gets its problem, and the reply after it was ended stands", async () => {
    for (const [ends, status] of [
      [false, 500],
      [true, 200],
    ] as const) {
      const commit = gate()
      const port = await serve(async (request, response) => {
        attach(request, commit)
        response.write("a")
        if (ends) response.end("b")
        await commit.begun
        throw new Error("late")
      })
      const reply = sendRequest(port, {})
      await commit.begun
      await new Promise((resolve) => setImmediate(resolve))
      commit.release(change)
      expect((await reply).status).toBe(status)
      expect((await reply).all("set-cookie")).toEqual([change.setCookie])
      expect(errors.splice(0)).toHaveLength(1)
    }
  })

  it("what node refuses only when it sends becomes a 500", async () => {
    const commit = gate()
    const port = await serve((request, response) => {
      attach(request, commit)
      response.statusMessage = "a\r\nb"
      response.end("body")
      commit.release(change)
    })
    const reply = await sendRequest(port, {})
    expect([reply.status, reply.all("set-cookie")]).toEqual([500, [change.setCookie]])
    expect(errors).toHaveLength(1)
  })

  it("server-sent events: the head leaves with flushHeaders, and events follow as they come", async () => {
    const commit = gate()
    let push = (_event: string): void => undefined
    const port = await serve((request, response) => {
      attach(request, commit)
      response.setHeader("Content-Type", "text/event-stream")
      response.flushHeaders()
      push = (event) => response.write(`data: ${event}\n\n`)
    })
    const outgoing = httpRequest({ port, host: "127.0.0.1", agent: false })
    outgoing.end()
    await commit.begun
    commit.release(change)
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage]
    expect(incoming.headers).toMatchObject({
      "content-type": "text/event-stream",
      vary: "Cookie",
      "set-cookie": [change.setCookie],
    })
    for (const event of ["one", "two"]) {
      push(event)
      expect(String((await once(incoming, "data"))[0])).toBe(`data: ${event}\n\n`)
    }
    outgoing.destroy()
  })
})

/** What a whole reply is about, for comparing. */
const brief = ({ status, body }: ClientReply): [number, string] => [status, body]

describe("handlers that fail", () => {
  it("ERR-01: throwing, rejecting, before anything was sent: a problem, and later calls are swallowed", async () => {
    const late = gate()
    const handlers: readonly Handler[] = [
      () => {
        throw new Error("secret")
      },
      () => Promise.reject(new Error("secret")),
      (_, response) => {
        response.setHeader("X-Theirs", "1")
        void Promise.resolve(late.commit()).then(() => response.end("late"))
        throw new Error("secret")
      },
    ]
    for (const handler of handlers) {
      const reply = await sendRequest(await serve(handler), {})
      expect(brief(reply)).toEqual([500, '{"type":"about:blank","title":"Internal Server Error","status":500}'])
      expect(reply.one("x-theirs")).toBeNull()
      expect(errors.splice(0)).toHaveLength(1)
    }
    late.release()
    await new Promise((resolve) => setImmediate(resolve))
    expect(errors).toEqual([])
  })

  it("an error of ours gets the reply that a failed commit gets", async () => {
    const port = await serve(() => Promise.reject(new CoatcheckError("unavailable", "down")))
    const reply = await sendRequest(port, {})
    expect([reply.status, reply.one("retry-after")]).toEqual([503, "2"])
  })

  it("after headers have left, the connection is cut, so that nobody takes half a page for a whole one", async () => {
    const touched: Handler = (request) => attach(request, { commit: () => nothing })
    for (const open of [() => undefined, touched]) {
      const port = await serve((request, response) => {
        open(request, response)
        response.writeHead(200, { "Content-Length": "10" })
        response.write("half")
        throw new Error("secret")
      })
      await expect(sendRequest(port, {})).rejects.toThrow(/aborted|hang up|ECONNRESET/)
      expect(errors.splice(0)).toHaveLength(1)
    }
  })

  it("after the end, only onError learns of it", async () => {
    for (const open of [false, true]) {
      const port = await serve((request, response) => {
        if (open) attach(request, { commit: () => nothing })
        response.end("body")
        throw new Error("late")
      })
      expect((await sendRequest(port, {})).body).toBe("body")
      expect(errors.splice(0)).toHaveLength(1)
    }
  })
})
