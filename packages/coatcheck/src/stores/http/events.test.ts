import { once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import { describe, expect, it, onTestFinished, vi } from "vitest"
import { serve } from "../../../../../test/support/service.ts"
import type { Store, StoreReport } from "../../core/store.ts"
import { formatChange, formatOpening, heartbeat } from "../../protocol/events.ts"
import { httpStore } from "../http.ts"

interface Watched {
  readonly store: Store
  readonly reports: StoreReport[]
  readonly seen: (string | null)[]
  stop(): void
  /** Resolves when this was told since it was last asked. */
  tells(key: string | null): Promise<void>
}

/** A store that is watched. */
function watched(port: number, options: { token?: string; deadline?: number } = {}): Watched {
  const reports: StoreReport[] = []
  const store = httpStore(`http://127.0.0.1:${port}`, { report: (report) => reports.push(report), ...options })
  onTestFinished(() => store.close())
  const seen: (string | null)[] = []
  const stop = store.watch?.((key) => seen.push(key)) ?? expect.fail("it can be watched")
  let asked = 0
  return {
    store,
    reports,
    seen,
    stop,
    async tells(key) {
      await vi.waitFor(() => expect(seen.slice(asked)).toContain(key), { timeout: 5_000 })
      asked = seen.indexOf(key, asked) + 1
    },
  }
}

/** Somebody who answers every request in this way, and the connections to them. */
async function answering(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const sockets = new Set<Socket>()
  const server = createServer(answer).listen(0, "127.0.0.1")
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })
  await once(server, "listening")
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return { port: (server.address() as AddressInfo).port, sockets } // a TCP server has one
}

const opening = (coherent: boolean) => formatOpening({ coherent, heartbeat: 10 })

describe("watching a service", () => {
  it("tells what others write, as soon as it has begun", async () => {
    const { port } = await serve()
    const { seen, tells } = watched(port)
    await tells(null) // it has begun: before, anything may have happened
    const writer = httpStore(`http://127.0.0.1:${port}`)
    onTestFinished(() => writer.close())
    await writer.set("a", "1")
    await writer.touch("a", Date.now() + 60_000)
    await writer.delete("a")
    await tells("a")
    await vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(2))
    expect(seen.slice(1).every((key) => key === "a")).toBe(true)
  })

  it("S14: tells null when the service goes, and again and again while it is gone", async () => {
    const service = await serve()
    const { seen, tells, reports } = watched(service.port)
    await tells(null)
    await service.service.close({ deadline: 1 })
    await vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(4), { timeout: 5_000 })
    expect([new Set(seen), reports]).toEqual([new Set([null]), []])
  })

  it("F-SLOW-3: takes a connection that went silent for a dead one", async () => {
    const live = await answering((_request, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" })
      response.write(opening(true)) // and never again
    })
    const store = httpStore(`http://127.0.0.1:${live.port}`, { deadline: 100 })
    const seen: (string | null)[] = []
    const stop = store.watch?.((key) => seen.push(key))
    await vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(4)) // begun, silent, begun, silent
    expect(new Set(seen)).toEqual(new Set([null]))
    stop?.()
    await store.close()
  })

  it.each([404, 401, 403, 421])("says once what to do about a %s, and null for as long as it lasts", async (status) => {
    const { port } = await answering((_request, response) => response.writeHead(status).end())
    const { reports, seen } = watched(port)
    await vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(3))
    expect(reports).toEqual([
      { store: "http", kind: "warning", message: expect.stringMatching(/^The service at http:\/\/127\.0\.0\.1:\d+ /) },
    ])
    expect(new Set(seen)).toEqual(new Set([null]))
  })

  it.each([
    ["something that is no stream", "text/html", "<html>"],
    ["a stream of something else", "text/event-stream", "data: {}\n\n"],
    ["a line without end", "text/event-stream", "x".repeat(10_000)],
  ])("takes %s for a break, and not for a change", async (_name, type, body) => {
    const { port } = await answering((_request, response) =>
      response.writeHead(200, { "Content-Type": type }).end(body),
    )
    const { reports, seen } = watched(port)
    await vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(2))
    expect([new Set(seen), reports]).toEqual([new Set([null]), []])
  })

  it("F-SLOW-3: takes a stream that lives and never says what it is good for for a dead one, and null meanwhile", async () => {
    let asked = 0
    const { port } = await answering((_request, response) => {
      asked += 1
      response.writeHead(200, { "Content-Type": "text/event-stream" })
      const timer = setInterval(() => response.write(heartbeat), 5)
      response.once("close", () => clearInterval(timer))
    })
    const { seen } = watched(port, { deadline: 50 })
    await vi.waitFor(() => expect(asked).toBeGreaterThanOrEqual(3), { timeout: 5_000 })
    expect(seen.length).toBeGreaterThanOrEqual(3)
    expect(new Set(seen)).toEqual(new Set([null]))
  })

  it("says once that writes of others are not heard of, and null again and again besides", async () => {
    const { port } = await answering((_request, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" })
      response.write(opening(false))
      response.write(formatChange("k"))
      const timer = setInterval(() => response.write(heartbeat), 5)
      response.once("close", () => clearInterval(timer))
    })
    const { reports, seen } = watched(port)
    await vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(5))
    expect(seen.slice(0, 5)).toEqual([null, "k", null, null, null])
    expect(reports.map(({ message }) => message)).toEqual([expect.stringContaining("other processes")])
  })

  it("one connection serves all who watch, and is closed with the last of them or with the store", async () => {
    const { sockets, port } = await answering((_request, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" })
      response.write(opening(true))
    })
    const { store, seen, stop } = watched(port)
    const others: (string | null)[] = []
    const stopOther = store.watch?.((key) => others.push(key))
    await vi.waitFor(() => expect([seen.length, others.length]).toEqual([1, 1]))
    expect(sockets.size).toBe(1)
    stop()
    stop()
    expect(sockets.size).toBe(1)
    stopOther?.()
    await vi.waitFor(() => expect(sockets.size).toBe(0))
    const again = store.watch?.(() => {})
    await vi.waitFor(() => expect(sockets.size).toBe(1))
    await store.close()
    await vi.waitFor(() => expect(sockets.size).toBe(0))
    again?.()
    store.watch?.(() => expect.fail("it is closed"))
  })

  it("whoever stops while being told is told no more, and nothing connects again", async () => {
    const { port, sockets } = await answering((_request, response) => void response.destroy())
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
    onTestFinished(() => void vi.useRealTimers())
    const store = httpStore(`http://127.0.0.1:${port}`)
    let told = 0
    const ended = new Promise<void>((resolve) => {
      const stop = store.watch?.(() => {
        told += 1
        stop?.()
        resolve()
      })
    })
    await ended
    expect([told, vi.getTimerCount()]).toEqual([1, 0])
    vi.useRealTimers()
    await vi.waitFor(() => expect(sockets.size).toBe(0))
    await store.close()
  })

  it("the classic wire can't be watched", () => {
    expect(httpStore("http://127.0.0.1:1/?wire=classic").watch).toBeUndefined()
  })
})
