// A key-value service for one test, over a memory store unless told otherwise, and two ways to talk to it: whole requests, and raw
// bytes for what no client library would send.

import { once } from "node:events"
import { type IncomingHttpHeaders, request } from "node:http"
import { connect, type Socket } from "node:net"
import { createService, type Logger, type Service, type ServiceOptions } from "@coatcheck/server"
import type { Store } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { onTestFinished } from "vitest"

/** An answer, whole. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** The text as JSON. */
  readonly json: unknown
}

/** What a request may have besides method and path. */
export interface Asking {
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string | Buffer
}

/** A service that listens. */
export interface Listening {
  readonly service: Service
  readonly store: Store
  readonly port: number
  readonly url: string
  ask(method: string, path: string, asking?: Asking): Promise<Answer>
  /** Writes bytes on a connection of its own and gives all that comes back until the service closes it. */
  raw(bytes: string | Buffer): Promise<string>
  /** A connection of its own. */
  connect(): Promise<Socket>
}

/** Starts a service that ends with the test. */
export async function serve(options: ServiceOptions = {}, store: Store = memoryStore()): Promise<Listening> {
  const service = createService(store, options)
  onTestFinished(() => service.close({ deadline: 1 }))
  const { port } = await service.listen({ port: 0 })
  return {
    service,
    store,
    port,
    url: `http://localhost:${port}`,
    ask: (method, path, asking) => ask(port, method, path, asking),
    raw: (bytes) => raw(port, bytes),
    connect: () => open(port),
  }
}

/** One request on a connection of its own. The path goes out as it is. */
export function ask(port: number, method: string, path: string, asking: Asking = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { Host: `localhost:${port}`, ...asking.headers }
    const asked = request({ host: "127.0.0.1", port, method, path, headers, agent: false }, (reply) => {
      const chunks: Buffer[] = []
      reply.on("data", (chunk: Buffer) => chunks.push(chunk))
      reply.on("error", reject)
      reply.on("end", () => {
        const text = Buffer.concat(chunks).toString()
        resolve({
          status: reply.statusCode ?? 0,
          headers: reply.headers,
          text,
          get json() {
            return JSON.parse(text)
          },
        })
      })
    })
    asked.on("error", reject)
    asked.end(asking.body)
  })
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1")
  onTestFinished(() => {
    socket.destroy()
  })
  await once(socket, "connect")
  return socket
}

async function raw(port: number, bytes: string | Buffer): Promise<string> {
  const socket = await open(port)
  socket.write(bytes, "latin1")
  return received(socket)
}

/** All that comes in on a connection until the other side closes it. */
export async function received(socket: Socket): Promise<string> {
  let text = ""
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1")
  })
  socket.on("error", () => {}) // a reset ends it too
  await once(socket, "close")
  return text
}

/** A log that keeps what it is told, a line of JSON each. */
export function keptLog(): { readonly log: Logger; readonly lines: string[] } {
  const lines: string[] = []
  const keep =
    (level: string) =>
    (fields: object, message: string): void => {
      lines.push(JSON.stringify({ level, message, ...fields }))
    }
  return { log: { debug: keep("debug"), info: keep("info"), warn: keep("warn"), error: keep("error") }, lines }
}

/** A store in which some verbs are replaced. */
export function storeWith(verbs: Partial<Store>, base: Store = memoryStore()): Store {
  return { ...base, ...verbs }
}
