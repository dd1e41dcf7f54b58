// The service as real processes, over SQLite files: what a kill leaves behind, two services on one file, the clients of the old
// course notes, and memory under bodies that never end. It runs from the built files, as it is installed, because start-up
// time is part of what is shown.

import { execFile, execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { Agent, request } from "node:http"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest"
import { type Running, root, start } from "./support/processes.ts"

const folder = mkdtempSync(join(tmpdir(), "coatcheck-service-"))
const run = promisify(execFile)
const agents: Agent[] = []

beforeAll(() => {
  execFileSync(join(root, "node_modules/.bin/tsc"), ["-b", "tsconfig.build.json"], { cwd: root })
})
afterAll(() => {
  for (const agent of agents) agent.destroy()
  rmSync(folder, { recursive: true })
})

interface Served extends Running {
  readonly port: number
  /** Milliseconds from the start of the process until it served. */
  readonly startedIn: number
}

interface Answer {
  readonly status: number
  readonly text: string
  readonly etag: string | undefined
}

/** Starts the built command and waits until it serves. */
async function serving(store: string): Promise<Served> {
  const began = performance.now()
  const bin = "packages/server/bin/coatcheck.js"
  const service = start(process.execPath, [bin, "serve", "--port", "0", "--store", store, "--log-format", "plain"])
  onTestFinished(async () => {
    await service.stop("SIGKILL")
  })
  const [, port] = await service.says(/ at http:\/\/localhost:(\d+)/)
  return { ...service, port: Number(port), startedIn: performance.now() - began }
}

/** Asks over connections that are kept, so many at most. */
function client(port: number, connections: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  agents.push(agent)
  return (method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const asked = request({ host: "127.0.0.1", port, method, path, headers, agent }, (reply) => {
        let text = ""
        reply.setEncoding("utf8").on("data", (part: string) => {
          text += part
        })
        reply.on("error", reject)
        reply.on("end", () => resolve({ status: reply.statusCode ?? 0, text, etag: reply.headers.etag }))
      })
      asked.on("error", reject)
      asked.end(body)
    })
}

/** Every key of a service. */
async function keysOf(port: number): Promise<Set<string>> {
  const { text } = await client(port, 1)("GET", "/")
  return new Set((JSON.parse(text) as { keys: string[] }).keys)
}

describe("a kill", () => {
  it("K14: in the middle of 1,000 writes, 20 times: nothing acknowledged is lost, and it starts again in under 2 s", async () => {
    const store = `sqlite:${join(folder, "killed.db")}`
    const acknowledged = new Set<string>()
    const starts: number[] = []
    let service = await serving(store)
    for (let round = 0; round < 20; round++) {
      const ask = client(service.port, 16)
      const fatal = 300 + ((round * 197) % 600) // of the 1,000, another one each round
      let done = 0
      const write = async (index: number): Promise<void> => {
        const key = `round${round}-${index}`
        const { status } = await ask("POST", "/", JSON.stringify({ [key]: { index, text: "x".repeat(200) } }))
        expect(status).toBe(200)
        acknowledged.add(key)
        done += 1
        if (done === fatal) service.child.kill("SIGKILL")
      }
      const writes = await Promise.allSettled(Array.from({ length: 1_000 }, (_, index) => write(index)))
      expect(writes.filter((result) => result.status === "fulfilled").length).toBeGreaterThanOrEqual(fatal)
      expect((await service.ended).signal).toBe("SIGKILL")
      service = await serving(store)
      starts.push(service.startedIn)
      const keys = await keysOf(service.port)
      expect([...acknowledged].filter((key) => !keys.has(key))).toEqual([])
    }
    expect(acknowledged.size).toBeGreaterThan(20 * 300)
    expect(Math.max(...starts)).toBeLessThan(2_000)
    expect((await service.stop()).code).toBe(0)
  }, 120_000)

  it("K14: the memory store says at the start that it is volatile", async () => {
    const service = await serving("memory:")
    expect(service.said()).toMatch(/volatile/)
  })
})

describe("two services on one SQLite file", () => {
  it("KVS-02 KVS-03: decide every condition as one", async () => {
    const store = `sqlite:${join(folder, "shared.db")}`
    const services = await Promise.all([serving(store), serving(store)])
    const asks = services.map(({ port }) => client(port, 8))
    const path = "/-/v1/records/counter"
    const creations = await Promise.all(
      Array.from({ length: 64 }, (_, index) => asks[index % 2]!("PUT", path, "0", { "If-None-Match": "*" })),
    )
    const statuses = creations.map(({ status }) => status)
    expect(statuses.filter((status) => status === 201)).toHaveLength(1)
    expect(statuses.filter((status) => status === 412)).toHaveLength(63)

    let written = 0
    const increment = async (_: unknown, index: number): Promise<void> => {
      const ask = asks[index % 2]!
      for (let done = 0; done < 25; ) {
        const current = await ask("GET", path)
        const answer = await ask("PUT", path, String(Number(current.text) + 1), { "If-Match": current.etag! })
        expect([204, 412]).toContain(answer.status)
        if (answer.status === 412) continue
        done += 1
        written += 1
      }
    }
    await Promise.all(Array.from({ length: 8 }, increment))
    expect(written).toBe(200)
    for (const ask of asks) expect((await ask("GET", path)).text).toBe("200")
  }, 60_000)

  it("K16: 1,000 parallel writes to different keys are 1,000 keys, without one 5xx", async () => {
    const store = `sqlite:${join(folder, "parallel.db")}`
    const services = await Promise.all([serving(store), serving(store)])
    const asks = services.map(({ port }) => client(port, 500))
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, (_, index) => asks[index % 2]!("PUT", "/", `{"key${index}":${index}}`)),
    )
    expect(answers.filter(({ status }) => status !== 200)).toEqual([])
    for (const { port } of services) expect((await keysOf(port)).size).toBe(1_000)
  }, 60_000)
})

describe("the lines of the old course notes", () => {
  it("K17: HTTPie sets, gets, lists and deletes", async () => {
    const { port } = await serving("memory:")
    const http = async (...line: string[]): Promise<string> =>
      (await run("http", ["--ignore-stdin", "--check-status", "--body", "--pretty=none", ...line])).stdout.trim()
    expect(await http(`:${port}`, "foo=bar")).toBe('{"foo":"bar"}')
    expect(await http(`:${port}/foo`)).toBe('{"foo":"bar"}')
    expect(await http(`:${port}?prefix=f`)).toBe('{"keys":["foo"]}')
    expect(await http("DELETE", `:${port}/foo`)).toBe('{"foo":"bar"}')
    expect(await http(`:${port}/foo`)).toBe('{"foo":null}')
    expect(await http("--form", `:${port}`, "form=val", "x=1")).toBe('{"form":"val","x":"1"}')
    expect(await http("--multipart", `:${port}`, "form=val", "x=1")).toBe('{"form":"val","x":"1"}')
  })
})

describe("bodies that never end", () => {
  it("K13: are refused by 413 with memory flat", async () => {
    const { port, child } = await serving("memory:")
    const peakKiB = (): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1])
    const ask = client(port, 1)
    const framings = ["Content-Length: 10000000000", "Transfer-Encoding: chunked"]
    const round = () => Promise.all(framings.flatMap((framing) => [endless(port, framing), endless(port, framing)]))
    // What bodies at the limit cost, and how much room the collector takes for a first round of endless ones, is not what is looked
    // for: more of them must not cost more.
    for (let index = 0; index < 16; index++) await ask("POST", "/", JSON.stringify({ key: "x".repeat(1_000_000) }))
    const answers = [...(await round()), ...(await round())]
    const before = peakKiB()
    for (let index = 0; index < 4; index++) answers.push(...(await round()))
    for (const text of answers) {
      expect(text).toMatch(/^HTTP\/1\.1 413 [^]*\r\nContent-Type: application\/problem\+json\r\n[^]*"status":413/)
    }
    expect(peakKiB() - before).toBeLessThan(32 * 1_024)
    expect((await ask("GET", "/-/health")).status).toBe(200)
  }, 60_000)
})

/** Sends a body that does not end, as fast as it is taken, until the service closes the connection. Gives what it answered. */
async function endless(port: number, framing: string): Promise<string> {
  const socket = connect(port, "127.0.0.1")
  const piece = Buffer.from(
    framing.startsWith("Transfer") ? `10000\r\n${"x".repeat(0x10000)}\r\n` : "x".repeat(0x10000),
  )
  let text = ""
  socket.on("data", (part) => {
    text += String(part)
  })
  socket.on("error", () => {}) // closed while we send: that is what is waited for
  const closed = new Promise((resolve) => socket.on("close", resolve))
  socket.write(`POST / HTTP/1.1\r\nHost: localhost:${port}\r\n${framing}\r\n\r\n`)
  const pump = (): void => {
    while (!socket.destroyed && socket.write(piece));
  }
  socket.on("drain", pump)
  pump()
  await closed
  return text
}
