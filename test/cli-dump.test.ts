// `coatcheck dump` as a process against real services: what it prints, how much it asks, and how it fails.

import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { execPath } from "node:process"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { openGate } from "./support/gate.ts"
import {
  command,
  type Ending,
  root,
  type Running,
  runSource,
  sourceFlags,
  start,
  startCounter,
  startService,
} from "./support/processes.ts"

let service: Running & { url: string; port: number }

beforeAll(async () => {
  service = await startService()
})
afterAll(() => service.stop())

function dump(...args: string[]): Promise<Ending> {
  return runSource(command, ["dump", ...args])
}

async function post(url: string, body: object): Promise<void> {
  const reply = await fetch(url, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  })
  expect(reply.status).toBe(200)
}

describe("coatcheck dump", () => {
  const sample = {
    twitter: "https://twitter.com/ProfAvery",
    github: "https://github.com/ProfAvery",
    cpsc449: "https://sites.google.com/view/cpsc449",
  }
  const literals = Object.entries(sample)
    .map(([key, value]) => `{'${key}': '${value}'}\n`)
    .sort()

  beforeAll(() => post(service.url, sample))

  it("D1 D3: prints a line a key, in key order, however the address is written", async () => {
    const port = new URL(service.url).port
    const forms = [`localhost:${port}`, `http://127.0.0.1:${port}/`, `:${port}`]
    for (const ending of await Promise.all(forms.map((form) => dump(form)))) {
      expect(ending).toEqual({ code: 0, signal: null, stdout: literals.join(""), stderr: "" })
    }
  })

  it("D2 D4: prints JSON lines, only of the prefix", async () => {
    const { stdout } = await dump("--format", "json", "--prefix", "t", service.url)
    expect(stdout).toBe(`{"twitter": "https://twitter.com/ProfAvery"}\n`)
    expect(JSON.parse(stdout)).toEqual({ twitter: sample.twitter })
  })

  it("K12: keeps the text of numbers all the way", async () => {
    const body = '{"n:1":12345678901234567890,"n:2":1e21,"n:3":[-0.0,\n 2.50]}'
    await fetch(service.url, { method: "POST", body, headers: { "content-type": "application/json" } })
    const [python, json] = await Promise.all(
      ["python", "json"].map((format) => dump("--prefix", "n:", "--format", format, service.url)),
    )
    expect(python?.stdout).toBe("{'n:1': 12345678901234567890}\n{'n:2': 1e21}\n{'n:3': [-0.0, 2.50]}\n")
    expect(json?.stdout).toMatch(/^\{"n:1": 12345678901234567890\}\n\{"n:2": 1e21\}\n\{"n:3": \[-0.0, +2.50\]\}\n$/)
  })

  it("X3: leaves out what has expired", async () => {
    const put = (key: string, ttl: string): Promise<Response> =>
      fetch(`${service.url}/-/v1/records/${key}`, { method: "PUT", body: "1", headers: { "coatcheck-ttl": ttl } })
    await Promise.all([put("x:short", "1"), put("x:long", "60000")])
    await expect.poll(async () => (await fetch(`${service.url}/-/v1/records/x:short`)).status).toBe(404)
    expect((await dump("--prefix", "x:", service.url)).stdout).toBe("{'x:long': 1}\n")
  })

  it("D7: leaves out a key that is deleted while it reads", async () => {
    await post(service.url, { "d:1": 1, "d:2": 2, "d:3": null })
    const gate = await openGate(service.url)
    const held = gate.stopNext(({ method, path }) => method === "GET" && path === "/d%3A2")
    const done = dump("--prefix", "d:", `${gate.url}/?wire=classic`)
    await held.arrived
    await fetch(`${service.url}/d:2`, { method: "DELETE" })
    held.release()
    expect(await done).toEqual({ code: 0, signal: null, stdout: "{'d:1': 1}\n{'d:3': None}\n", stderr: "" })
    await gate.close()
  })
})

describe("coatcheck dump of much", () => {
  let big: typeof service
  beforeAll(async () => {
    big = await startService()
    const body = Object.fromEntries(
      Array.from({ length: 10_000 }, (_, index) => [`key:${String(index).padStart(5, "0")}`, index]),
    )
    await post(big.url, body)
  })
  afterAll(() => big.stop())

  it("D5: reads 10,000 keys by one request, and by a GET a key where only the classic wire is spoken", async () => {
    const gate = await openGate(big.url)
    const strict = await dump("--format", "raw", gate.url)
    expect(gate.arrivals.map(({ path }) => path)).toEqual(["/-/v1/records"])
    const lines = strict.stdout.split("\n")
    expect(lines).toHaveLength(10_001)
    expect(lines[9_999]).toBe("key:09999\t9999")

    const classic = await dump("--format", "raw", "--prefix", "key:099", `${gate.url}?wire=classic`)
    expect(
      gate.arrivals
        .slice(1)
        .map(({ path }) => path)
        .sort(),
    ).toEqual(
      [
        "/?prefix=key%3A099",
        ...lines.slice(9_900, 10_000).map((line) => `/${line.split("\t")[0]?.replace(":", "%3A")}`),
      ].sort(),
    )
    expect(classic.stdout).toBe(`${lines.slice(9_900).join("\n")}`)
    await gate.close()
  })

  it("ends quietly when its reader has seen enough", async () => {
    const child = spawn(process.execPath, [...sourceFlags, command, "dump", big.url], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    })
    let stderr = ""
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()))
    await once(child.stdout, "data")
    child.stdout.destroy()
    const [code] = await once(child, "close")
    expect([code, stderr]).toEqual([0, ""])
  })
})

describe("coatcheck dump of sessions", () => {
  it("D6 C9: prints two browsers' sessions with their counts, and hides their ids when asked to", async () => {
    const own = await startService()
    const counter = await startCounter({ STORE_URL: own.url })
    const cookies: string[] = []
    for (const loads of [2, 3]) {
      let cookie = ""
      for (let load = 0; load < loads; load += 1) {
        const reply = await fetch(counter.url, { headers: cookie === "" ? {} : { cookie } })
        cookie = reply.headers.getSetCookie()[0]?.split(";")[0] ?? cookie
      }
      cookies.push(cookie.split("=")[1] ?? "")
    }
    const [plain, masked] = await Promise.all([
      dump("--format", "json", own.url),
      dump("--format", "json", "--mask", own.url),
    ])
    const records = plain.stdout
      .trim()
      .split("\n")
      .map((line) => Object.entries(JSON.parse(line) as Record<string, Recorded>)[0])
    expect(records.map((record) => Number(record?.[1].data.count)).sort((a, b) => a - b)).toEqual([2, 3])
    for (const [key = ""] of records.map((record) => record ?? [])) {
      expect(key).toMatch(/^session:[\w-]{43}$/)
      expect(masked.stdout).not.toContain(String(key).slice("session:".length))
      expect(masked.stdout).toContain(`${String(key).slice(0, 14)}…`)
    }
    for (const id of cookies) {
      expect(id).toHaveLength(43)
      expect(plain.stdout + masked.stdout).not.toContain(id)
    }
    await Promise.all([counter.stop(), own.stop()])
  })
})

interface Recorded {
  readonly data: { readonly count: number }
}

describe("coatcheck dump that fails", () => {
  it("D3: without an argument prints its usage on stderr, exit 2", async () => {
    const ending = await dump()
    expect(ending).toMatchObject({ code: 2, stdout: "" })
    expect(ending.stderr).toMatch(/missing required argument 'url'\nUsage: coatcheck dump \[options\] <url>\n/)
  })

  it("D3 ADM-05: unreachable is one line that names host and port and no credentials, exit 1", async () => {
    const gone = await startService()
    await gone.stop()
    const port = new URL(gone.url).port
    const ending = await dump(`http://ann:s3cr3t@127.0.0.1:${port}/`)
    expect(ending).toMatchObject({ code: 1, stdout: "" })
    const [warning, failure, ...rest] = ending.stderr.split("\n")
    expect(warning).toMatch(/COATCHECK_TOKEN/)
    expect(failure).toMatch(new RegExp(`^coatcheck: http://127.0.0.1:${port} can't be reached: connection refused`))
    expect(rest).toEqual([""])
    expect(ending.stderr).not.toContain("s3cr3t")
  })
})

describe("coatcheck", () => {
  it("tells its version, which is the package's", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "packages/server/package.json"), "utf8")) as {
      version: string
    }
    expect(await runSource(command, ["--version"])).toMatchObject({ code: 0, stdout: `${version}\n` })
  })

  it("P4: refuses what it does not know, points to its help, exit 2", async () => {
    const calls = [
      ["serve", "--prot", "1"],
      ["dump", "a", "b"],
      ["secret", "extra"],
      ["frob"],
      ["dump", "--format", "xml", "localhost:1"],
      [],
    ]
    const endings = await Promise.all(calls.map((call) => runSource(command, call)))
    for (const { code, stdout, stderr } of endings) {
      expect([code, stdout]).toEqual([2, ""])
      expect(stderr).toMatch(/coatcheck|Usage/)
      expect(stderr).not.toMatch(/^\s+at /m)
    }
    expect(endings[0]?.stderr).toMatch(/unknown option '--prot'.*--port.*See coatcheck serve --help/s)
  })

  it("P4: says in one line when its output can't be written, exit 1", async () => {
    const line = `exec "$@" > /dev/full`
    const { code, stdout, stderr } = await start("sh", ["-c", line, "sh", execPath, ...sourceFlags, command, "secret"])
      .ended
    expect([code, stdout, stderr]).toEqual([1, "", "coatcheck: the output can't be written (ENOSPC)\n"])
  })

  it("prints one fresh secret and nothing else", async () => {
    const [one, two] = await Promise.all([runSource(command, ["secret"]), runSource(command, ["secret"])])
    for (const { code, stdout, stderr } of [one, two]) {
      expect([code, stderr]).toEqual([0, ""])
      expect(stdout).toMatch(/^[\w-]{43}\n$/)
    }
    expect(one.stdout).not.toBe(two.stdout)
  })
})
