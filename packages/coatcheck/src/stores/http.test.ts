import { once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net"
import { describe, expect, it, onTestFinished, vi } from "vitest"
import type { Entry, Store, StoreReport } from "../core/store.ts"
import { CoatcheckError, type ErrorCode } from "../errors.ts"
import { formatGet, formatOutcome, formatResults, type Operation, parseBatch } from "../protocol/batch.ts"
import { formatPage } from "../protocol/entry.ts"
import { formatProblem, plainProblem, problemOf } from "../protocol/problem.ts"
import { fakeClock } from "../testing/fake-clock.ts"
import { httpStore, type HttpStoreOptions } from "./http.ts"

interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: string
}

interface Answer {
  readonly status?: number
  readonly headers?: Record<string, string>
  readonly body: string
}

interface Server {
  readonly url: string
  readonly port: number
  readonly asked: Asked[]
  /** Connections that are open. */
  readonly sockets: Set<Socket>
}

/** A server that answers each request by `answer`; null: not at all. */
async function serve(answer: (asked: Asked, response: ServerResponse) => Answer | null): Promise<Server> {
  const asked: Asked[] = []
  const sockets = new Set<Socket>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("end", () => {
      const { method = "", url: path = "", headers } = request
      const one: Asked = { method, path, headers, body: Buffer.concat(chunks).toString() }
      asked.push(one)
      const reply = answer(one, response)
      if (reply) response.writeHead(reply.status ?? 200, reply.headers).end(reply.body)
    })
  })
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.on("close", () => sockets.delete(socket))
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, port, asked, sockets }
}

/** A port on which nothing listens. */
async function deadPort(): Promise<number> {
  const server = createTcpServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
}

function open(url: string, options: HttpStoreOptions = {}): Store {
  const store = httpStore(url, options)
  onTestFinished(() => store.close())
  return store
}

const entry = (key: string): Entry => ({ key, value: '{"n":1}', version: "v1", expiresAt: null, owner: null })

/** Answers a batch as a service would in which every key is there, and a listing as one without keys. */
function results({ method, body }: Asked): Answer {
  if (method === "GET") return { body: formatPage({ entries: [], cursor: null }, 0) }
  const texts = parseBatch(body, 0).map((one: Operation) => {
    if (one.op === "get") return formatGet(entry(one.key), 0)
    return formatOutcome("set", { ok: true, version: (one.op === "set" && one.options.version) || "v2" }, 0)
  })
  return { body: formatResults(texts) }
}

/** What a read and a write of one batch come to. */
async function codes(store: Store): Promise<[read: ErrorCode | "ok", write: ErrorCode | "ok"]> {
  const [read, write] = await Promise.allSettled([store.get("k"), store.set("k", "1", { version: "mine" })])
  return [codeOf(read), codeOf(write)]
}

function codeOf(settled: PromiseSettledResult<unknown>): ErrorCode | "ok" {
  if (settled.status === "fulfilled") return "ok"
  expect(settled.reason).toBeInstanceOf(CoatcheckError)
  return (settled.reason as CoatcheckError).code
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe("calls share requests", () => {
  it("the calls of one tick are one batch, in their order, and each gets its own answer", async () => {
    const server = await serve(results)
    const store = open(server.url)
    const answers = await Promise.all([store.get("a"), store.set("b", "[1e21]", { version: "v7" }), store.get("c")])
    expect(answers).toEqual([entry("a"), { ok: true, version: "v7" }, entry("c")])
    expect(server.asked).toHaveLength(1)
    expect(server.asked[0]).toMatchObject({
      method: "POST",
      path: "/-/v1/batch",
      body: '{"ops":[{"op":"get","key":"a"},{"op":"set","key":"b","value":[1e21],"version":"v7"},{"op":"get","key":"c"}]}',
      headers: { "content-type": "application/json", accept: "application/json" },
    })
  })

  it("fewer of them where results are long, and many again when they are short", async () => {
    let value = `"${"x".repeat(400_000)}"`
    const asked: number[] = []
    const server = await serve(({ body }) => {
      const operations = parseBatch(body, 0)
      asked.push(operations.length)
      return { body: formatResults(operations.map(({ key }) => formatGet({ ...entry(key), value }, 0))) }
    })
    const store = open(server.url, { inFlight: 1, deadline: "20s" })
    const readMany = () => Promise.all(Array.from({ length: 30 }, (_, at) => store.get(`k${at}`)))
    await readMany()
    await readMany()
    expect(asked.slice(0, 3)).toEqual([30, 21, 9]) // taken for 200 kB each, then for 300 kB
    value = "1"
    for (let round = 0; round < 4; round++) await readMany()
    asked.length = 0
    await readMany()
    expect(asked).toEqual([30])
  })

  it("while two requests are under way, further calls gather into the next", async () => {
    const held: (() => void)[] = []
    const server = await serve((asked, response) => {
      held.push(() => response.end(results(asked).body))
      return null
    })
    const store = open(server.url)
    const answers: Promise<unknown>[] = []
    for (const key of ["a", "b", "c", "d", "e"]) {
      answers.push(store.get(key))
      await turn()
    }
    await vi.waitFor(() => expect(held).toHaveLength(2))
    held.shift()?.()
    await vi.waitFor(() => expect(server.asked).toHaveLength(3))
    expect(parseBatch(server.asked[2]?.body ?? "", 0).map(({ key }) => key)).toEqual(["c", "d", "e"])
    for (const release of held) release()
    expect(await Promise.all(answers)).toEqual(["a", "b", "c", "d", "e"].map(entry))
    expect(server.sockets.size).toBe(2)
  })

  it("a batch is bounded in operations and in size, and one large value still goes", async () => {
    const server = await serve(results)
    const store = open(server.url)
    await Promise.all(Array.from({ length: 600 }, (_, at) => store.get(`k${at}`)))
    expect(server.asked.map(({ body }) => parseBatch(body, 0).length)).toEqual([256, 256, 88])
    server.asked.length = 0
    const large = `"${"x".repeat(1_048_574)}"`
    await Promise.all([store.set("a", large), store.set("b", "1"), store.set("c", large)])
    expect(server.asked.map(({ body }) => parseBatch(body, 0).length)).toEqual([1, 1, 1])
  })

  it("a base path stands before every path", async () => {
    const server = await serve(results)
    await open(`${server.url}/kv/`).get("a")
    expect(server.asked[0]?.path).toBe("/kv/-/v1/batch")
  })

  it("REL-03: calls beyond the queue's bound are refused at once, as nothing that happened", async () => {
    const server = await serve(() => null)
    const clock = fakeClock()
    const store = open(server.url, { clock, inFlight: 1, maxQueued: 2 })
    const first = store.get("a")
    await vi.waitFor(() => expect(server.asked).toHaveLength(1))
    const waiting = [store.set("b", "1"), store.get("c")]
    await expect(store.set("d", "1")).rejects.toMatchObject({ code: "unavailable", retryable: true })
    const all = Promise.allSettled([first, ...waiting])
    for (let step = 0; step < 10; step++) {
      clock.advance(100)
      await turn()
    }
    expect((await all).map(codeOf)).toEqual(["unavailable", "unavailable", "unavailable"])
    expect(server.asked).toHaveLength(1)
  })
})

describe("what a value may be", () => {
  it("K12: goes and comes as it is, and what is no JSON goes nowhere", async () => {
    const server = await serve(results)
    const store = open(server.url)
    for (const value of ["", "oops", "1,2", '1},{"op":"delete","key":"other"', '1,"owner":"eve"', "[".repeat(10_000)]) {
      await expect(store.set("k", value), value.slice(0, 20)).rejects.toMatchObject({ code: "invalid" })
    }
    expect(server.asked).toHaveLength(0)
  })
})

describe("a service that is not there", () => {
  it("REL-04: no connection means that nothing was sent, for writes too", async () => {
    const store = open(`http://127.0.0.1:${await deadPort()}`)
    expect(await codes(store)).toEqual(["unavailable", "unavailable"])
    await expect(store.list()).rejects.toMatchObject({ code: "unavailable", retryable: true })
  })

  it("REL-04: a connection without TLS under https has sent nothing", async () => {
    const server = await serve(results)
    expect(await codes(open(server.url.replace("http:", "https:")))).toEqual(["unavailable", "unavailable"])
    expect(server.asked).toHaveLength(0)
  })

  it("REL-04: a service that hangs up without an answer may have written", async () => {
    const server = await serve((_, response) => {
      response.socket?.destroy()
      return null
    })
    expect(await codes(open(server.url))).toEqual(["unavailable", "unknown-outcome"])
  })

  it("REL-03: every call ends within its deadline; a write that was sent is unknown, one that was not did not happen", async () => {
    const server = await serve(() => null)
    const clock = fakeClock()
    const store = open(server.url, { clock, inFlight: 1 })
    const sent = [store.get("a"), store.set("a", "1")]
    await vi.waitFor(() => expect(server.asked).toHaveLength(1))
    const queued = [store.get("b"), store.set("b", "1"), store.list()]
    await vi.waitFor(() => expect(server.asked).toHaveLength(2)) // the listing is a request of its own
    let over = 0
    const all = Promise.allSettled([...sent, ...queued].map((call) => call.finally(() => over++)))
    for (let step = 0; step < 9; step++) {
      clock.advance(100)
      await turn()
    }
    expect(over).toBe(0)
    clock.advance(100)
    expect((await all).map(codeOf)).toEqual([
      "unavailable",
      "unknown-outcome",
      "unavailable",
      "unavailable",
      "unavailable",
    ])
    await vi.waitFor(() => expect(server.sockets.size).toBe(0)) // the connections that hung are gone
  })

  it("a call that begins later has its own deadline, in the same batch too", async () => {
    const held: (() => void)[] = []
    const server = await serve((asked, response) => {
      held.push(() => response.end(results(asked).body))
      return null
    })
    const clock = fakeClock()
    const store = open(server.url, { clock, inFlight: 1 })
    const first = store.get("a")
    await vi.waitFor(() => expect(held).toHaveLength(1))
    const early = store.get("b").catch((error: unknown) => error)
    const step = async (): Promise<void> => {
      clock.advance(100)
      await turn()
    }
    for (let turns = 0; turns < 5; turns++) await step()
    const late = store.get("c")
    held.shift()?.()
    await first
    await vi.waitFor(() => expect(held).toHaveLength(1)) // early and late, in one batch
    for (let turns = 0; turns < 5; turns++) await step()
    expect(await early).toMatchObject({ code: "unavailable" })
    held.shift()?.()
    expect(await late).toEqual(entry("c"))
  })
})

describe("a service that answers otherwise", () => {
  const ours = (code: ErrorCode, status: number): Answer => ({
    status,
    body: formatProblem(problemOf(new CoatcheckError(code, "Do this and that"))),
  })
  const plain = (status: number): Answer => ({ status, body: formatProblem(plainProblem(status, "So", "it is")) })
  const refusals: [name: string, answer: Answer, read: ErrorCode, write: ErrorCode][] = [
    ["X1: no credentials", plain(401), "denied", "denied"],
    ["X1: credentials without the scope", plain(403), "denied", "denied"],
    ["X2: a foreign host name", plain(421), "denied", "denied"],
    ["a batch over its limit", plain(413), "too-large", "too-large"],
    ["a full store", ours("full", 507), "full", "full"],
    ["a store that is not available", ours("unavailable", 503), "unavailable", "unavailable"],
    ["a store that was closed", ours("closed", 503), "unavailable", "unavailable"],
    ["too many requests", plain(429), "unavailable", "unavailable"],
    ["REL-04: a lost answer behind the service", ours("unknown-outcome", 504), "unavailable", "unknown-outcome"],
    ["REL-04: a 503 that does not say whose it is", { status: 503, body: "busy" }, "unavailable", "unknown-outcome"],
    ["REL-04: a proxy's 502", { status: 502, body: "<html>" }, "unavailable", "unknown-outcome"],
    ["REL-04: a crash", plain(500), "unavailable", "unknown-outcome"],
    ["REL-04: a request that took too long to come", plain(408), "unavailable", "unknown-outcome"],
    ["a malformed request", ours("invalid", 400), "invalid", "invalid"],
    ["REL-04: a success that is none of this wire", { status: 202, body: "" }, "corrupt", "unknown-outcome"],
    ["a service of years ago", { status: 404, body: "Not Found" }, "unsupported", "unsupported"],
    ["a method it does not know", { status: 405, body: "" }, "unsupported", "unsupported"],
    ["a redirect", { status: 308, headers: { location: "/" }, body: "" }, "unsupported", "unsupported"],
    ["a damaged store", ours("corrupt", 500), "corrupt", "corrupt"],
  ]
  it.each(refusals)("%s", async (_, answer, read, write) => {
    const server = await serve(() => answer)
    const store = open(server.url)
    expect(await codes(store)).toEqual([read, write])
    await expect(store.list()).rejects.toMatchObject({ code: read })
  })

  it("says what to do: --allow-host, the token, the wire", async () => {
    let answer = plain(421)
    const server = await serve(() => answer)
    const store = open(server.url)
    await expect(store.get("k")).rejects.toThrow("serve it with --allow-host")
    answer = plain(401)
    await expect(store.get("k")).rejects.toThrow("check COATCHECK_TOKEN")
    answer = { status: 404, body: "" }
    await expect(store.get("k")).rejects.toThrow("?wire=classic is for services of years ago")
    answer = ours("full", 507)
    await expect(store.get("k")).rejects.toThrow("(Do this and that)")
  })

  it("one operation's error is that operation's alone", async () => {
    const failure = formatProblem(problemOf(new CoatcheckError("unavailable", "The store is locked")))
    const server = await serve(() => ({
      body: formatResults([
        formatGet(entry("a"), 0),
        `{"status":503,"error":${failure}}`,
        '{"status":500,"error":{"status":500}}',
      ]),
    }))
    const store = open(server.url)
    const [read, first, second] = await Promise.allSettled([store.get("a"), store.set("b", "1"), store.set("c", "1")])
    expect([read, first, second].map(codeOf)).toEqual(["ok", "unavailable", "unknown-outcome"])
  })

  const get = formatGet(entry("k"), 0)
  const set = formatOutcome("set", { ok: true, version: "mine" }, 0)
  const rubbish: [name: string, answer: Answer, read: ErrorCode | "ok"][] = [
    ["no JSON", { body: "<html>hello</html>" }, "corrupt"],
    ["nothing", { body: "" }, "corrupt"],
    ["JSON of another kind", { body: '{"ok":true}' }, "corrupt"],
    ["too few results", { body: formatResults([get]) }, "corrupt"],
    ["too many results", { body: formatResults([get, set, set]) }, "corrupt"],
    ["half a reply of its own", { body: formatResults([get, set]).slice(0, -2) }, "corrupt"],
    [
      "a version that nobody chose",
      { body: formatResults([get, formatOutcome("set", { ok: true, version: "other" }, 0)]) },
      "ok",
    ],
    [
      "the entry of another key",
      {
        body: formatResults([
          formatGet(entry("other"), 0),
          formatOutcome("set", { ok: false, current: entry("other") }, 0),
        ]),
      },
      "corrupt",
    ],
    ["results without an outcome", { body: formatResults(['{"status":200}', '{"status":200}']) }, "corrupt"],
    ["bytes that are no UTF-8", { body: "\ufffd" }, "corrupt"],
  ]
  it.each(rubbish)("REL-04: %s for an answer leaves a write unknown", async (_, answer, read) => {
    const server = await serve((_asked, response) => {
      if (answer.body !== "\ufffd") return answer
      response.end(Buffer.from([0xff, 0xfe]))
      return null
    })
    expect(await codes(open(server.url))).toEqual([read, "unknown-outcome"])
  })

  it("REL-04: what is no HTTP at all, and an answer without end", async () => {
    const tcp = createTcpServer((socket) => {
      socket.on("error", () => socket.destroy())
      socket.once("data", () => socket.end("SSH-2.0-OpenSSH\r\n"))
    }).listen(0, "127.0.0.1")
    await once(tcp, "listening")
    onTestFinished(() => void tcp.close())
    expect(await codes(open(`http://127.0.0.1:${(tcp.address() as AddressInfo).port}`))).toEqual([
      "corrupt",
      "unknown-outcome",
    ])

    const endless = await serve((_, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write("x".repeat(65_536)));
      }
      response.on("drain", more)
      more()
      return null
    })
    expect(await codes(open(endless.url, { maxValueBytes: 1_000, deadline: "30s" }))).toEqual([
      "corrupt",
      "unknown-outcome",
    ])
  })
})

describe("connections", () => {
  it("are kept between calls", async () => {
    const server = await serve(results)
    const store = open(server.url)
    for (let call = 0; call < 5; call++) await store.get("a")
    expect(server.asked).toHaveLength(5)
    expect(server.sockets.size).toBe(1)
  })

  it("a kept one that died is replaced: the reads are asked again, once; a write is never sent twice", async () => {
    const dying = new Set<number>()
    const server = await serve((asked, response) => {
      const port = response.socket?.remotePort ?? 0
      if (!dying.has(port)) {
        dying.add(port)
        return results(asked)
      }
      response.socket?.destroy() // the second request on a connection meets its end
      return null
    })
    const store = open(server.url)
    expect(await store.get("a")).toEqual(entry("a"))
    expect(await codes(store)).toEqual(["ok", "unknown-outcome"])
    const sent = server.asked.flatMap(({ body }) => parseBatch(body, 0).map(({ op }) => op))
    expect(sent).toEqual(["get", "get", "set", "get"])
    expect(await store.list()).toEqual({ entries: [], cursor: null })
    expect(server.asked.slice(-2).map(({ path }) => path)).toEqual([
      "/-/v1/records?limit=100",
      "/-/v1/records?limit=100",
    ])
  })

  it("reads are asked again once and no more", async () => {
    let answers = 1
    const server = await serve((asked, response) => {
      if (answers-- > 0) return results(asked)
      response.socket?.destroy()
      return null
    })
    const store = open(server.url)
    await store.get("a")
    await expect(store.get("b")).rejects.toMatchObject({ code: "unavailable" })
    expect(server.asked).toHaveLength(3)
  })

  it("close waits for the calls under way, and leaves no connection", async () => {
    const held: (() => void)[] = []
    const server = await serve((asked, response) => {
      held.push(() => response.end(results(asked).body))
      return null
    })
    const store = open(server.url)
    const call = store.get("a")
    await vi.waitFor(() => expect(held).toHaveLength(1))
    let closed = false
    const closing = store.close().then(() => (closed = true))
    await expect(store.get("b")).rejects.toMatchObject({ code: "closed" })
    expect(closed).toBe(false)
    held[0]?.()
    expect(await call).toEqual(entry("a"))
    await closing
    await store.close()
    await vi.waitFor(() => expect(server.sockets.size).toBe(0))
  })
})

describe("time", () => {
  it("X3: an entry whose end has come by the caller's clock is absent, also when the answer was slow", async () => {
    const clock = fakeClock()
    const server = await serve(() => {
      clock.advance(50) // the answer takes that long
      return { body: formatResults([formatGet({ ...entry("k"), expiresAt: 60 }, 0)]) }
    })
    const store = open(server.url, { clock })
    const sentAt = clock.now()
    expect(await store.get("k")).toMatchObject({ expiresAt: sentAt + 60 })
    const short = await serve(() => {
      clock.advance(50)
      return { body: formatResults([formatGet({ ...entry("k"), expiresAt: 50 }, 0)]) }
    })
    expect(await open(short.url, { clock }).get("k")).toBe(null)
  })
})

describe("the token", () => {
  it("X1: goes with every request", async () => {
    const server = await serve(results)
    await open(server.url, { token: "s3cret" }).get("k")
    const store = open(server.url.replace("//", "//ann:s3cret@"))
    await store.get("k")
    await store.list()
    expect(server.asked.map(({ headers }) => headers.authorization)).toEqual(Array(3).fill("Bearer s3cret"))
  })

  it("LOG-01: is in no message", async () => {
    const server = await serve(() => ({ status: 401, body: "" }))
    for (const url of [server.url, `http://127.0.0.1:${await deadPort()}`]) {
      const error: unknown = await open(url.replace("//", "//ann:s3cret@"))
        .get("session:abc")
        .catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(CoatcheckError)
      expect(`${(error as Error).stack} ${String((error as Error).cause)}`).not.toMatch(/s3cret|session:abc/)
    }
  })

  it("is reported when it would travel unencrypted to another machine", () => {
    const reports: StoreReport[] = []
    const report = (one: StoreReport): void => void reports.push(one)
    for (const url of [
      "http://localhost:1",
      "http://127.0.0.1:1",
      "http://[::1]:1",
      "https://kv.example",
      "http://kv.example",
    ]) {
      open(url, { report, token: "t" })
    }
    open("http://kv.example", { report })
    expect(reports).toEqual([{ store: "http", kind: "warning", message: expect.stringContaining("https") }])
  })
})

describe("settings", () => {
  it("that can't be are refused when the store is made", () => {
    const bad = [{ deadline: 0 }, { deadline: "1y" }, { inFlight: 0 }, { maxQueued: 1.5 }, { maxValueBytes: -1 }]
    for (const options of bad) {
      expect(() => httpStore("http://localhost", options as HttpStoreOptions)).toThrow(TypeError)
    }
  })
})
