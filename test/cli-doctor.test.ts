// `coatcheck doctor` as a process: services and stores, well and ill.

import { once } from "node:events"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type RequestListener, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openStore } from "coatcheck/open"
import { afterAll, describe, expect, it } from "vitest"
import { command, type Ending, type Running, runSource, startService, startSource } from "./support/processes.ts"

const folder = mkdtempSync(join(tmpdir(), "coatcheck-doctor-"))
const services: Running[] = []
const servers: Server[] = []

afterAll(async () => {
  await Promise.all(services.map((service) => service.stop()))
  for (const server of servers) server.closeAllConnections()
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  rmSync(folder, { recursive: true })
})

function doctor(args: readonly string[], env: Record<string, string> = {}): Promise<Ending> {
  return runSource(command, ["doctor", ...args], { env })
}

/** The report as `level check` a line. */
function verdicts({ stdout }: Ending): string[] {
  return stdout
    .trim()
    .split("\n")
    .map((line) => line.split(/\s+/, 2).join(" "))
}

async function fake(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, "127.0.0.1")
  servers.push(server)
  await once(server, "listening")
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

describe("coatcheck doctor on a service", () => {
  it("P6: a service that is up is well, exit 0, and nothing is left behind", async () => {
    const service = await startService()
    services.push(service)
    const ending = await doctor(["--write", service.url])
    expect(ending).toMatchObject({ code: 0, stderr: "" })
    expect(verdicts(ending)).toEqual(
      ["reach", "wire", "health", "ready", "access", "speed", "clock", "write"].map((check) => `ok ${check}`),
    )
    expect(await (await fetch(service.url)).json()).toEqual({ keys: [] })
  })

  it("P6: one that is down is told by its URL, without credentials, and why; non-zero", async () => {
    const service = await startService()
    await service.stop()
    const ending = await doctor([service.url.replace("//", "//ann:s3cr3t@")])
    expect(ending.code).toBe(1)
    expect(ending.stdout).toContain(`fail  reach   ${service.url} can't be reached: connection refused`)
    expect(ending.stderr).toContain(`coatcheck: reach: ${service.url} can't be reached: connection refused`)
    expect(ending.stdout + ending.stderr).not.toMatch(/s3cr3t|^\s+at /m)
  })

  it("P6: one that accepts and says nothing is down within seconds", async () => {
    const url = await fake(() => {})
    const from = performance.now()
    const ending = await doctor([url])
    expect(ending.code).toBe(1)
    expect(ending.stdout).toContain(`${url} does not answer`)
    expect(performance.now() - from).toBeLessThan(15_000)
  })

  it("P6: says who may ask, and what is missing", async () => {
    const made = await runSource(command, ["secret", "--token", "web", "--scopes", "read"])
    const [token = "", line = ""] = made.stdout.split("\n")
    writeFileSync(join(folder, "tokens"), `${line}\n`, { mode: 0o600 })
    const args = ["serve", "--port", "0", "--store", "memory:", "--token-file", join(folder, "tokens")]
    const service = startSource(command, args)
    services.push(service)
    const [, url = ""] = await service.says(/ at (http:\/\/localhost:\d+)/)
    const [without, wrong, right] = await Promise.all([
      doctor([url]),
      doctor([url], { COATCHECK_TOKEN: "wrong" }),
      doctor(["--write", url], { COATCHECK_TOKEN: token }),
    ])
    for (const ending of [without, wrong]) {
      expect(ending.code).toBe(1)
      expect(ending.stdout).toMatch(/^fail {2}access.*401.*set COATCHECK_TOKEN/m)
    }
    expect(right.code).toBe(0)
    expect(right.stdout).toMatch(/^ok {4}access {2}the token is known, and one is needed$/m)
    expect(right.stdout).toMatch(/^warn {2}write {3}the token may not write/m)
    expect(right.stdout + right.stderr).not.toContain(token)
  })

  it("P6: warns of a service that speaks the classic wire only, and of a clock that is off", async () => {
    const values = new Map<string, string>()
    const url = await fake((request, response) => {
      const [path = "", query] = request.url?.split("?") ?? []
      const key = decodeURIComponent(path.slice(1))
      response.setHeader("date", new Date(Date.now() - 60_000).toUTCString())
      if (request.method === "POST") {
        response.writeHead(405).end()
      } else if (request.method === "PUT") {
        request.setEncoding("utf8").on("data", (body: string) => {
          for (const [name, value] of Object.entries(JSON.parse(body) as object))
            values.set(name, JSON.stringify(value))
          response.end(body)
        })
      } else if (key === "") {
        const prefix = new URLSearchParams(query).get("prefix") ?? ""
        response.end(JSON.stringify({ keys: [...values.keys()].filter((name) => name.startsWith(prefix)) }))
      } else {
        response.end(`{${JSON.stringify(key)}: ${values.get(key) ?? "null"}}`)
        if (request.method === "DELETE") values.delete(key)
      }
    })
    const ending = await doctor(["--write", url])
    expect(ending).toMatchObject({ code: 0, stderr: "" })
    expect(ending.stdout).toMatch(/^warn {2}wire.*classic only/m)
    expect(ending.stdout).toMatch(/^warn {2}clock.*\d\d s behind/m)
    expect(ending.stdout).toMatch(/^ok {4}write/m)
    expect(values.size).toBe(0)
  })

  it("P6: tells a wrong Host, a store that is away, and something that is no service", async () => {
    const problem =
      (status: number, detail: string): RequestListener =>
      (_, response) => {
        response.writeHead(status, { "content-type": "application/problem+json" })
        response.end(JSON.stringify({ type: "about:blank", title: "t", status, detail }))
      }
    const listed = '{"entries":[],"cursor":null}'
    const urls = await Promise.all([
      fake(problem(421, "wrong host")),
      fake((request, response) =>
        request.url === "/-/ready" ? problem(503, "the store is away")(request, response) : response.end(listed),
      ),
      fake((_, response) => response.end("<html>")),
    ])
    const endings = await Promise.all(urls.map((url) => doctor([url])))
    expect(endings.map(({ code }) => code)).toEqual([1, 1, 1])
    expect(endings[0]?.stdout).toMatch(/^fail {2}reach.*421: wrong host.*--allow-host/m)
    expect(endings[1]?.stdout).toMatch(/^fail {2}ready.*503: the store is away/m)
    expect(endings[2]?.stdout).toMatch(/^fail {2}wire.*is it a Coatcheck service\?$/m)
  })
})

describe("coatcheck doctor on a store", () => {
  it("P6: opens it as an application would, and leaves nothing behind", async () => {
    const service = startSource(command, ["serve", "--port", "0", "--store", `sqlite:${join(folder, "a.db")}`])
    services.push(service)
    await service.says(/ at http/)
    const [sqlite, memory] = await Promise.all([
      doctor(["--write", `sqlite:${join(folder, "a.db")}`]),
      doctor(["memory:"]),
    ])
    expect(sqlite).toMatchObject({ code: 0, stderr: "" })
    expect(verdicts(sqlite)).toEqual(["ok open", "ok reach", "ok keeps", "ok speed", "ok write", "ok intact"])
    expect(sqlite.stdout).toMatch(/keeps {3}durable; several processes/)
    expect(memory).toMatchObject({ code: 0, stderr: "" })
    expect(memory.stdout).toMatch(/^warn {2}keeps.*volatile/m)
  })

  it("P6: says what is wrong, and makes no file", async () => {
    const missing = join(folder, "missing.db")
    const rubbish = join(folder, "rubbish.db")
    writeFileSync(rubbish, "no database ".repeat(1_000), { mode: 0o600 })
    const endings = await Promise.all([
      doctor([`sqlite:${missing}`]),
      doctor([`sqlite:${rubbish}`]),
      doctor(["nonsense:x"]),
    ])
    expect(endings.map(({ code }) => code)).toEqual([1, 1, 2])
    expect(endings[0]?.stdout).toMatch(/^fail {2}open .*missing\.db is not there/m)
    expect(endings[1]?.stdout).toMatch(/^fail {2}open .*rubbish\.db/m)
    expect(existsSync(missing)).toBe(false)
  })
  it("F-POW-2: counts the damaged records of a file, also behind its first page, and says what to do; exit 1", async () => {
    const path = join(folder, "flipped.db")
    const store = await openStore(`sqlite:${path}`)
    const keys = Array.from({ length: 1_200 }, (_, i) => `key-${String(i).padStart(4, "0")}`)
    await Promise.all(keys.map((key) => store.set(key, JSON.stringify(`value of ${key}`))))
    await store.close()
    const whole = await doctor([`sqlite:${path}`])
    expect(whole).toMatchObject({ code: 0, stderr: "" })
    expect(whole.stdout).toMatch(/^ok {4}intact {2}1,200 records read, none is damaged$/m)

    const bytes = readFileSync(path)
    for (const key of ["key-0000", "key-0007", "key-1199"]) {
      const at = bytes.indexOf(`value of ${key}`)
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    }
    writeFileSync(path, bytes)
    const ending = await doctor([`sqlite:${path}`])
    expect(ending.code).toBe(1)
    expect(ending.stdout).toMatch(
      /^fail {2}intact {2}3 damaged records, beside 1,197 that are whole: .*restore a backup/m,
    )
    expect(ending.stdout.match(/damaged/g)).toHaveLength(1)
    expect(ending.stderr).toMatch(/^coatcheck: intact: 3 damaged records/)
    expect(ending.stdout + ending.stderr).not.toContain("key-")
    expect(readFileSync(path).equals(bytes)).toBe(true)
  })
})
