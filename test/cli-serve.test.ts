// `coatcheck serve` as a process: what it says when it starts, what it refuses, how it stops, and what a kill leaves behind.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs"
import { once } from "node:events"
import { type ClientRequest, type IncomingMessage, request } from "node:http"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, describe, expect, it } from "vitest"
import {
  command,
  type Ending,
  type Running,
  root,
  runSource,
  sourceFlags,
  start,
  startSource,
} from "./support/processes.ts"

const folder = mkdtempSync(join(tmpdir(), "coatcheck-serve-"))
const services = new Set<Running>()

afterEach(async () => {
  await Promise.all([...services].map((service) => service.stop("SIGKILL")))
  services.clear()
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Runs `coatcheck serve` to its end; for calls that are refused. */
function refused(args: readonly string[], env: Record<string, string> = {}): Promise<Ending> {
  return runSource(command, ["serve", "--port", "0", ...args], { env })
}

/** Starts `coatcheck serve` and waits until it serves. */
async function serving(args: readonly string[], env: Record<string, string> = {}): Promise<Running & { url: string }> {
  const service = startSource(command, ["serve", ...args], { env })
  services.add(service)
  const [, port = ""] = await service.says(/ at http:\/\/\S+?:(\d+)/)
  return { ...service, url: `http://127.0.0.1:${port}` }
}

function post(url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  })
}

/** A request that has begun, as the service has confirmed, and whose body has not been sent. */
async function halfSent(url: string, body: string): Promise<{ sent: ClientRequest; reply: Promise<IncomingMessage> }> {
  const headers = { "content-type": "application/json", "content-length": body.length, expect: "100-continue" }
  const sent = request(`${url}/`, { method: "POST", headers, agent: false })
  const reply = once(sent, "response").then(([response]) => response as IncomingMessage)
  sent.flushHeaders()
  await once(sent, "continue")
  return { sent, reply }
}

/** One line on stderr, no trace. */
function expectOneLine({ stderr, stdout }: Ending, pattern: RegExp): void {
  expect(stderr).toMatch(/^coatcheck: .+\n$/)
  expect(stderr).toMatch(pattern)
  expect(stderr + stdout).not.toMatch(/^\s+at |node:internal|Error:/m)
}

describe("starting", () => {
  it("P2 K14: says address, store and access, and that the memory store is volatile", async () => {
    const service = await serving(["--port", "0", "--store", "memory:", "--log-format", "json"])
    await service.says(/memory is volatile/)
    const lines = service
      .said()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const ready = lines.find(({ url }) => url !== undefined)
    expect(ready).toMatchObject({
      level: 30,
      url: service.url.replace("127.0.0.1", "localhost"),
      store: "memory",
      durable: false,
      access: "open to everybody on this machine",
    })
    expect(ready?.["msg"]).toMatch(/^serving memory: \(memory, volatile\) at http:\/\/localhost:\d+; access: open/)
    expect(lines.some(({ level, msg }) => level === 40 && /memory is volatile/.test(String(msg)))).toBe(true)
    expect((await post(service.url, { a: 1 })).status).toBe(200)
    expect((await service.stop()).code).toBe(0)
  })

  it("P2: listens on both loopback addresses under one port, and lets flags go before the environment", async () => {
    const database = `sqlite:${join(folder, "both.db")}`
    const env = { PORT: "1", HOST: "192.0.2.1", STORE_URL: "nonsense:", LOG_FORMAT: "plain", LOG_LEVEL: "info" }
    const service = await serving(["--port", "0", "--host", "localhost", "--store", database], env)
    expect(service.said()).toMatch(/^\d\d:\d\d:\d\d info {2}serving sqlite:.*both\.db \(sqlite, durable\) at /m)
    const { port } = new URL(service.url)
    for (const host of ["127.0.0.1", "localhost"])
      expect((await fetch(`http://${host}:${port}/-/health`)).status).toBe(200)
  })

  it("P5: refuses another address than loopback without a token, and opens no store", async () => {
    const file = join(folder, "never.db")
    for (const host of ["0.0.0.0", "::"]) {
      const ending = await refused(["--host", host, "--store", `sqlite:${file}`])
      expect(ending.code).toBe(2)
      expectOneLine(ending, /refusing to listen on \S+ without a token.*coatcheck secret --token/)
    }
    expect(() => statSync(file)).toThrow(/ENOENT/)
  })

  it("P5 ADM-05: listens elsewhere with a token, which neither arguments nor logs show", async () => {
    const made = await runSource(command, ["secret", "--token", "web", "--scopes", "read"])
    const [token = "", line = ""] = made.stdout.split("\n")
    const file = join(folder, "tokens")
    writeFileSync(file, `# who\n${line}\n`, { mode: 0o644 })
    chmodSync(file, 0o644)
    const service = await serving(["--port", "0", "--host", "0.0.0.0", "--store", "memory:", "--token-file", file])
    expect(service.said()).toContain("access: 1 token in")
    expect(service.said()).toMatch(/can be read by everyone on this machine: chmod o-r/)
    expect((await fetch(service.url)).status).toBe(401)
    expect((await fetch(service.url, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200)
    expect((await post(service.url, { a: 1 }, { authorization: `Bearer ${token}` })).status).toBe(403)
    const hash = line.split("sha256:")[1] ?? ""
    const seen = readFileSync(`/proc/${service.child.pid}/cmdline`, "utf8") + service.said()
    expect(hash).toHaveLength(64)
    expect(seen).not.toContain(token)
    expect(seen).not.toContain(hash)
  })

  it("X2: answers to the hosts that it was told, from flags given twice", async () => {
    const args = [
      "--port",
      "0",
      "--store",
      "memory:",
      "--allow-host",
      "kv.example,a.example",
      "--allow-host",
      "b.example",
    ]
    const service = await serving(args)
    const ask = async (host: string): Promise<number | undefined> => {
      const sent = request(service.url, { headers: { host } }).end()
      const [response] = (await once(sent, "response")) as [IncomingMessage]
      response.resume()
      return response.statusCode
    }
    expect(await Promise.all(["kv.example", "a.example", "b.example", "evil.example"].map(ask))).toEqual([
      200, 200, 200, 421,
    ])
  })

  it("X4: logs neither keys, values nor credentials", async () => {
    const service = await serving(["--port", "0", "--store", "memory:", "--log-level", "debug"])
    await post(
      service.url,
      { "session:id-5ecret": "value-5ecret" },
      { cookie: "c=5ecret", authorization: "Bearer 5ecret" },
    )
    await fetch(`${service.url}/session:id-5ecret?q=5ecret`)
    const { stdout, stderr } = await service.stop()
    expect(stdout.split("\n").filter((line) => line.includes('"request"')).length).toBe(2)
    expect(stdout + stderr).not.toContain("5ecret")
  })
})

describe("refusing", () => {
  it("P4: says a bad setting in one line, exit 2", async () => {
    const tokens = join(folder, "bad-tokens")
    writeFileSync(tokens, "# fine\nweb read pa55word\n")
    const calls: [string[], Record<string, string>, RegExp][] = [
      [["--port", "abc"], {}, /--port must be a port/],
      [["--store", "mongodb://u:pa55word@h/x"], {}, /store/i],
      [[], { STORE_URL: "what" }, /store/i],
      [
        ["--store", "memory:", "--token-file", join(folder, "none")],
        {},
        /token file .*none can't be read: there is no such file/,
      ],
      [["--store", "memory:", "--token-file", tokens], {}, /line 2 of the token file/],
      [["--store", "memory:", "--allow-host", "http://x"], {}, /--allow-host/],
      [["--store", "memory:"], { LOG_LEVEL: "loud" }, /LOG_LEVEL/],
    ]
    const endings = await Promise.all(calls.map(([args, env]) => refused(args, env)))
    for (const [index, ending] of endings.entries()) {
      expectOneLine(ending, calls[index]?.[2] ?? /never/)
      expect(ending.stderr).not.toContain("pa55word")
      expect(ending.code).toBe(2)
    }
  })

  it("P4: says in one line that the port is in use, exit 1", async () => {
    const taken = createServer().listen(0, "127.0.0.1")
    await once(taken, "listening")
    const { port } = taken.address() as { port: number }
    const ending = await runSource(command, ["serve", "--store", "memory:", "--port", String(port)])
    taken.close()
    expect(ending.code).toBe(1)
    expectOneLine(ending, new RegExp(`can't listen on port ${port} of localhost: it is in use`))
  })

  it("P4: leaves a damaged database as it is, says so in one line, exit 1", async () => {
    const good = join(folder, "good.db")
    const service = await serving(["--port", "0", "--store", `sqlite:${good}`])
    for (let index = 0; index < 20; index += 1) await post(service.url, { [`k${index}`]: "x".repeat(2_000) })
    await service.stop()
    const whole = readFileSync(good)
    const rubbish = join(folder, "rubbish.db")
    writeFileSync(rubbish, "this is no database\n".repeat(500))
    const cut = join(folder, "cut.db")
    writeFileSync(cut, whole)
    truncateSync(cut, Math.floor(whole.length / 2) + 100)
    const overwritten = join(folder, "overwritten.db")
    writeFileSync(overwritten, Buffer.concat([Buffer.alloc(4_096, "rubbish "), whole.subarray(4_096)]))
    const readOnly = join(mkdtempSync(join(folder, "ro-")), "read-only.db")
    writeFileSync(readOnly, whole)
    chmodSync(readOnly, 0o444)

    for (const file of [rubbish, cut, overwritten, readOnly]) {
      const before = readFileSync(file)
      const ending = file === readOnly ? await asNobody(file) : await refused(["--store", `sqlite:${file}`])
      expect(ending.code, file).toBe(1)
      expectOneLine(ending, /sqlite store/)
      expect(readFileSync(file).equals(before), file).toBe(true)
    }
  })
})

/** Serves a file as a user who is not root, since root may write everything. */
function asNobody(file: string): Promise<Ending> {
  const args = [...sourceFlags, command, "serve", "--port", "0", "--store", `sqlite:${file}`]
  if (process.getuid?.() !== 0) return start(process.execPath, args).ended
  chmodSync(folder, 0o755)
  chmodSync(join(file, ".."), 0o755)
  return start("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, ...args], {
    cwd: root,
    env: { HOME: "/tmp", TMPDIR: mkTemporary() },
  }).ended
}

function mkTemporary(): string {
  const made = join(folder, "tmp-of-nobody")
  mkdirSync(made, { recursive: true })
  chmodSync(made, 0o777)
  return made
}

describe("stopping", () => {
  it.each(["SIGTERM", "SIGINT"] as const)(
    "F-DRAIN-1: %s lets a request under way finish, then exits with 0",
    async (signal) => {
      const service = await serving(["--port", "0", "--store", "memory:"])
      const { sent, reply } = await halfSent(service.url, '{"a":1}')
      service.child.kill(signal)
      await service.says(/draining|stopping/)
      sent.end('{"a":1}')
      const response = await reply
      expect(response.statusCode).toBe(200)
      expect(response.headers.connection).toBe("close")
      response.resume()
      const ending = await service.ended
      expect([ending.code, ending.signal]).toEqual([0, null])
      expect(ending.stdout).toMatch(/stopped/)
      expect(ending.stderr).toBe("")
    },
  )

  it("F-DRAIN-1: a second SIGTERM ends it at once", async () => {
    const service = await serving(["--port", "0", "--store", "memory:"])
    const { sent, reply } = await halfSent(service.url, '{"a":1}')
    reply.catch(() => {})
    service.child.kill("SIGTERM")
    await service.says(/stopping/)
    service.child.kill("SIGTERM")
    const ending = await service.ended
    sent.destroy()
    expect([ending.code, ending.signal]).toEqual([143, null])
  })

  it("K14: keeps what it acknowledged when it is killed", async () => {
    const database = `sqlite:${join(folder, "killed.db")}`
    const first = await serving(["--port", "0", "--store", database])
    expect((await post(first.url, { foo: "bar" })).status).toBe(200)
    await first.stop("SIGKILL")
    const second = await serving(["--port", "0", "--store", database])
    expect(await (await fetch(`${second.url}/foo`)).json()).toEqual({ foo: "bar" })
  })
})
