// A page without any store, in a process of its own that also asks for it: how long such a page takes on this machine now. Told a number by
// IPC, it asks so many times, one behind the other, and answers with the milliseconds of each.

import { once } from "node:events"
import { Agent, createServer, request } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as pause } from "node:timers/promises"

const EVERY_MS = 10

const server = createServer((_, reply) => reply.end("plain")).listen(0, "127.0.0.1")
await once(server, "listening")
const { port } = server.address() as AddressInfo // a TCP server has one
const agent = new Agent({ keepAlive: true })

async function ask(): Promise<number> {
  const began = performance.now()
  const asked = request({ host: "127.0.0.1", port, agent }).end()
  const [reply] = await once(asked, "response")
  await once(reply.resume(), "end")
  return performance.now() - began
}

async function answer(count: number): Promise<void> {
  const times: number[] = []
  for (; times.length < count; await pause(EVERY_MS)) times.push(await ask())
  process.send?.(times)
}

process.on("message", (count: number) => void answer(count))
process.send?.("ready")
