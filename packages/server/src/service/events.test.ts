import { createHash } from "node:crypto"
import { once } from "node:events"
import { type IncomingMessage, request } from "node:http"
import { CoatcheckError, type Store } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { eventReader, type StreamEvent } from "coatcheck/protocol"
import { describe, expect, it, onTestFinished, vi } from "vitest"
import { keptLog, type Listening, received, serve, storeWith } from "../../../../test/support/service.ts"

const path = "/-/v1/events"

interface Stream {
  readonly reply: IncomingMessage
  readonly events: StreamEvent[]
  /** How many signs of life came. */
  alive(): number
  /** Resolves with the keys told since the opening, when there are so many. */
  keys(count: number): Promise<(string | null)[]>
}

/** A stream that has begun. */
async function listen(service: Listening, query = "", headers: Record<string, string> = {}): Promise<Stream> {
  const asked = request({
    host: "127.0.0.1",
    port: service.port,
    path: path + query,
    headers: { Host: `localhost:${service.port}`, ...headers },
    agent: false,
  })
  asked.end()
  onTestFinished(() => {
    asked.destroy()
  })
  const [reply] = (await once(asked, "response")) as [IncomingMessage]
  reply.on("error", () => {}) // a stream that is cut
  const events: StreamEvent[] = []
  let alive = 0
  const read = eventReader((event) => (event.type === "alive" ? (alive += 1) : events.push(event)))
  reply.setEncoding("utf8").on("data", read)
  const told = () => events.flatMap((event) => (event.type === "change" ? [event.key] : []))
  await vi.waitFor(() => expect(events.length).toBeGreaterThan(0))
  return {
    reply,
    events,
    alive: () => alive,
    async keys(count) {
      await vi.waitFor(() => expect(told().length).toBeGreaterThanOrEqual(count))
      return told()
    },
  }
}

describe("what is told", () => {
  it("each write, by whatever door it came, and no refusal and no read", async () => {
    const service = await serve()
    const { ask } = service
    const stream = await listen(service)
    expect(stream.events).toEqual([{ type: "open", coherent: true, heartbeat: 1_000 }])
    await ask("POST", "/", { body: '{"a":1,"b":2}' })
    await ask("GET", "/a")
    await ask("PUT", "/-/v1/records/c", { body: "1" })
    await ask("PUT", "/-/v1/records/c", { body: "2", headers: { "If-None-Match": "*" } })
    await ask("PUT", "/-/v1/records/c", { body: "3", headers: { "If-Match": "*" } })
    await ask("PATCH", "/-/v1/records/c", { headers: { "Coatcheck-TTL": "1000" } })
    await ask("PATCH", "/-/v1/records/absent", { headers: { "Coatcheck-TTL": "1000" } })
    await ask("DELETE", "/-/v1/records/c")
    await ask("DELETE", "/b")
    const ops = [
      { op: "set", key: "d é\u2028", value: 1 },
      { op: "get", key: "a" },
      { op: "delete", key: "a" },
    ]
    await ask("POST", "/-/v1/batch", { body: JSON.stringify({ ops }) })
    const keys = await stream.keys(8)
    expect(new Set(keys.slice(0, 2))).toEqual(new Set(["a", "b"]))
    expect(keys.slice(2)).toEqual(["c", "c", "c", "c", "b", "d é\u2028", "a"])
  })

  it("a write of which nobody knows whether it happened, and none that surely did not", async () => {
    const fails = (code: "unknown-outcome" | "full" | "unavailable") => ({
      set: async () => {
        throw new CoatcheckError(code, "as planned")
      },
    })
    const engine = memoryStore()
    let verbs: Partial<Store> = {}
    const store = storeWith({ set: (...call) => ({ ...engine, ...verbs }).set(...call) }, engine)
    const service = await serve({}, store)
    const stream = await listen(service)
    for (const code of ["full", "unavailable", "unknown-outcome"] as const) {
      verbs = fails(code)
      await service.ask("PUT", `/-/v1/records/${code}`, { body: "1" })
    }
    verbs = { set: () => Promise.reject(new Error("a store that breaks its contract")) }
    await service.ask("PUT", "/-/v1/records/stray", { body: "1" })
    expect(await stream.keys(2)).toEqual(["unknown-outcome", "stray"])
  })

  it("only keys of the prefix, which is literal; and everything, where anything may have changed", async () => {
    let tell = (_key: string | null): void => {}
    const engine = memoryStore()
    const service = await serve({}, storeWith({ watch: (onChange) => ((tell = onChange), () => {}) }, engine))
    const some = await listen(service, "?prefix=a%2F*")
    const all = await listen(service)
    for (const key of ["a/b", "b", "a/*", "a/*b"]) {
      await service.ask("PUT", `/-/v1/records/${encodeURIComponent(key)}`, { body: "1" })
    }
    for (const key of ["c", "a/*c"]) tell(key) // in one tick
    await all.keys(6)
    tell(null)
    expect(await some.keys(4)).toEqual(["a/*", "a/*b", "a/*c", null])
    expect(await all.keys(7)).toEqual(["a/b", "b", "a/*", "a/*b", "c", "a/*c", null])
  })

  it("what others write, where the engine tells; and where it can't, the stream says so", async () => {
    let tell = (_key: string | null): void => {}
    let watching = 0
    const shared = { ...memoryStore().info, shared: true }
    const watched = storeWith({
      info: shared,
      watch(onChange) {
        tell = onChange
        watching += 1
        return () => void (watching -= 1)
      },
    })
    const service = await serve({}, watched)
    expect(watching).toBe(0)
    const streams = await Promise.all([listen(service), listen(service)])
    expect(watching).toBe(1)
    expect(streams[0].events).toEqual([{ type: "open", coherent: true, heartbeat: 1_000 }])
    tell("theirs")
    for (const stream of streams) expect(await stream.keys(1)).toEqual(["theirs"])
    for (const { reply } of streams) reply.destroy()
    await vi.waitFor(() => expect(watching).toBe(0))

    const deaf = await serve({}, storeWith({ info: shared }))
    expect((await listen(deaf)).events).toEqual([{ type: "open", coherent: false, heartbeat: 1_000 }])
  })

  it("F-SLOW-3: an engine that could not be watched once costs who comes later nothing", async () => {
    let isDown = true
    const service = await serve(
      { limits: { heartbeatMs: 10 } },
      storeWith({
        watch() {
          if (isDown) throw new CoatcheckError("unavailable", "down")
          return () => {}
        },
      }),
    )
    await expect(listen(service)).rejects.toMatchObject({ code: "ECONNRESET" })
    isDown = false
    const stream = await listen(service)
    await vi.waitFor(() => expect(stream.alive()).toBeGreaterThan(1))
  })

  it("F-SLOW-3: a sign of life when there is nothing to tell", async () => {
    const stream = await listen(await serve({ limits: { heartbeatMs: 10 } }))
    expect(stream.events).toEqual([{ type: "open", coherent: true, heartbeat: 10 }])
    await vi.waitFor(() => expect(stream.alive()).toBeGreaterThan(1))
  })
})

describe("a stream of changes", () => {
  it("K15 KVS-07: is chunked, kept by nobody, without a body to HEAD, and takes nothing else than GET", async () => {
    const service = await serve()
    const { reply } = await listen(service, "", { "Last-Event-ID": "7" })
    expect([reply.statusCode, reply.headers["content-type"], reply.headers["cache-control"]]).toEqual([
      200,
      "text/event-stream",
      "no-store",
    ])
    expect([reply.headers["transfer-encoding"], reply.headers["content-length"]]).toEqual(["chunked", undefined])
    expect([reply.headers["connection"], reply.headers["x-accel-buffering"]]).toEqual(["close", "no"])
    const head = await service.ask("HEAD", path)
    expect([head.status, head.headers["content-type"], head.text]).toEqual([200, "text/event-stream", ""])
    const options = await service.ask("OPTIONS", path)
    expect([options.status, options.headers.allow]).toEqual([204, "GET, HEAD, OPTIONS"])
    expect((await service.ask("POST", path, { body: "{}" })).status).toBe(405)
    for (const query of ["?owner=a", "?prefix=a&prefix=b", `?prefix=${"a".repeat(513)}`, "?prefix=%00"]) {
      expect((await service.ask("GET", path + query)).status, query).toBe(400)
    }
  })

  it("X1 X2: is for those who may read, under a right name, from no foreign page", async () => {
    const token = (name: string, scope: string) =>
      `${name} ${scope} sha256:${createHash("sha256").update(name).digest("hex")}`
    const service = await serve({ tokens: [token("reader", "read"), token("writer", "write,admin")] })
    const { ask } = service
    expect((await ask("GET", path)).status).toBe(401)
    expect((await ask("GET", path, { headers: { Authorization: "Bearer writer" } })).status).toBe(403)
    await listen(service, "", { Authorization: "Bearer reader" })
    const open = await serve()
    expect((await open.ask("GET", path, { headers: { Host: "evil.test" } })).status).toBe(421)
    expect((await open.ask("GET", path, { headers: { Origin: "http://evil.test" } })).status).toBe(403)
  })

  it("a listener that falls behind is cut off, and costs the others nothing", async () => {
    const { log, lines } = keptLog()
    const service = await serve({ log, limits: { eventBytes: 10_000 } })
    const reading = await listen(service)
    const slow = await service.connect()
    slow.write(`GET ${path} HTTP/1.1\r\nHost: localhost:${service.port}\r\n\r\n`)
    await once(slow, "readable") // and from here on it reads no more
    const cut = () => lines.some((line) => line.includes("fell behind"))
    const key = (n: number) => `${"k".repeat(500)}${n}`
    let written = 0
    while (!cut() && written < 100_000) {
      const ops = Array.from({ length: 256 }, () => ({ op: "set", key: key(written++), value: 1 }))
      await service.ask("POST", "/-/v1/batch", { body: JSON.stringify({ ops }) })
    }
    expect(cut()).toBe(true)
    expect(await received(slow)).not.toMatch(/\n0\r\n\r\n$/) // cut, and not ended
    expect((await reading.keys(written)).at(-1)).toBe(key(written - 1))
    expect(lines.filter((line) => line.includes("kkkk"))).toEqual([])
  }, 20_000)

  it("no more of them than were allowed, and a place is free again when one goes", async () => {
    const service = await serve({ limits: { listeners: 2 } })
    const [first] = await Promise.all([listen(service), listen(service)])
    const refused = await service.ask("GET", path)
    expect([refused.status, refused.headers["retry-after"]]).toEqual([503, "1"])
    first.reply.destroy()
    await vi.waitFor(async () => {
      const asked = await listen(service)
      expect(asked.reply.statusCode).toBe(200)
    })
  })

  it("F-DRAIN-1: ends at once when the service stops, whole, and none begins any more", async () => {
    const service = await serve()
    const half = await service.connect()
    half.write(`GET ${path} HTTP/1.1\r\nHost: localhost:${service.port}\r\nX-Half`)
    const stream = await listen(service)
    const ended = once(stream.reply, "end")
    const closing = service.service.close()
    await ended
    half.write(": 1\r\n\r\n")
    expect(await received(half)).toMatch(/^HTTP\/1\.1 503 [^]*\r\nRetry-After: 1\r\n/)
    await closing
  })
})
