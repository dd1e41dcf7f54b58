import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Writable } from "node:stream"
import { text as readText } from "node:stream/consumers"
import { PassThrough } from "node:stream"
import { afterEach, describe, expect, it } from "vitest"
import { dump, type DumpFlags } from "./dump.ts"
import { Failure, UsageError } from "./fail.ts"

type Handler = (request: IncomingMessage, response: ServerResponse) => void

const running: Server[] = []

afterEach(async () => {
  for (const server of running.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

/** A service made by hand. Answers its address and the requests it has had. */
async function service(handler: Handler): Promise<{ url: string; requests: string[] }> {
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`)
    handler(request, response)
  })
  running.push(server)
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests }
}

/** A service that streams these lines in pieces of a few bytes, as networks do. */
function strict(lines: readonly string[], pieceBytes = 7): Promise<{ url: string; requests: string[] }> {
  return service((_, response) => {
    response.writeHead(200, { "content-type": "application/x-ndjson" })
    const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""))
    for (let from = 0; from < bytes.length; from += pieceBytes) response.write(bytes.subarray(from, from + pieceBytes))
    response.end()
  })
}

interface ClassicHabits {
  readonly telling?: boolean
  readonly filtering?: boolean
  /** Called after each list. */
  readonly listed?: (values: Map<string, string>) => void
}

/** A service of years ago: takes every path for a key, and knows one reply for "absent" and "null". */
function classic(
  values: Map<string, string>,
  habits: ClassicHabits = {},
): Promise<{ url: string; requests: string[] }> {
  return service((request, response) => {
    const [path = "", query] = request.url?.split("?") ?? []
    const key = decodeURIComponent(path.slice(1))
    if (path === "/") {
      const prefix = habits.filtering === false ? "" : (new URLSearchParams(query).get("prefix") ?? "")
      response.end(JSON.stringify({ keys: [...values.keys()].filter((name) => name.startsWith(prefix)) }))
      habits.listed?.(values)
      return
    }
    if (!values.has(key) && habits.telling) response.setHeader("Coatcheck-Absent", "1")
    response.end(`{${JSON.stringify(key)}: ${values.get(key) ?? "null"}}`)
  })
}

/** Dumps into a string. */
async function dumped(
  url: string,
  flags: Partial<DumpFlags> = {},
  env = {},
): Promise<{ out: string; notes: string[] }> {
  const stdout = new PassThrough()
  const notes: string[] = []
  const out = readText(stdout)
  await dump(url, { format: "python", ...flags }, { env, stdout, note: (line) => notes.push(line) })
  stdout.end()
  return { out: await out, notes }
}

const entry = (key: string, value: string, owner: string | null = null): string =>
  `{"key":${JSON.stringify(key)},"value":${value},"version":"v-1_x","ttl":1000,"owner":${JSON.stringify(owner)}}`

const sample = [
  entry("cpsc449", '"https://sites.google.com/view/cpsc449"'),
  entry("github", '"https://github.com/ProfAvery"'),
  entry("twitter", '"https://twitter.com/ProfAvery"'),
]

describe("dump over the strict wire", () => {
  it("D1: prints a Python literal a line, in key order, by one request", async () => {
    const { url, requests } = await strict(sample)
    expect((await dumped(url)).out).toBe(
      "{'cpsc449': 'https://sites.google.com/view/cpsc449'}\n" +
        "{'github': 'https://github.com/ProfAvery'}\n" +
        "{'twitter': 'https://twitter.com/ProfAvery'}\n",
    )
    expect(requests).toEqual(["GET /-/v1/records"])
  })

  it("D2: prints a JSON object a line", async () => {
    const { url } = await strict(sample)
    const { out } = await dumped(url, { format: "json" })
    expect(out.split("\n")[2]).toBe('{"twitter": "https://twitter.com/ProfAvery"}')
  })

  it("prints keys and JSON text with a tab between them", async () => {
    const { url } = await strict([entry('a"b', '{"n": [1e21, -0.0]}'), entry("ünï 日本 😀", "null")])
    const { out } = await dumped(url, { format: "raw" })
    expect(out).toBe('a"b\t{"n": [1e21, -0.0]}\nünï 日本 😀\tnull\n')
  })

  it("K12 D2: cuts out exactly the value, whatever is in it and around it", async () => {
    const trap = '{"a":1,"version":"x","ttl":1,"owner":null}'
    const lines = [
      entry("trap", trap, 'o","version":"y","ttl":2,"owner":"z'),
      entry("back\\slash\\", '"q\\"\\\\"', "\\"),
      entry("digits", "12345678901234567890"),
      `{"version":"v","owner":null,"ttl":null,"value":${trap},"key":"other order"}`,
      `{ "key": "spaced", "value": [1,\t2], "version": "v", "ttl": null, "owner": null }`,
      `{"key":"last","ttl":null,"owner":null,"version":"v","value":${trap}}`,
      `{"key":"early","value":${trap},"owner":null,"version":"v","ttl":1,"more":true}`,
    ]
    const { url } = await strict(lines, 64)
    expect((await dumped(url, { format: "json" })).out.split("\n")).toEqual([
      `{"trap": ${trap}}`,
      `{"back\\\\slash\\\\": "q\\"\\\\"}`,
      `{"digits": 12345678901234567890}`,
      `{"other order": ${trap}}`,
      `{"spaced": [1,\t2]}`,
      `{"last": ${trap}}`,
      `{"early": ${trap}}`,
      "",
    ])
  })

  it("D4: asks for the prefix literally", async () => {
    const { url, requests } = await strict([])
    await dumped(url, { prefix: "a%_&b=ü *" })
    expect(new URL(`http://x${requests[0]?.slice(4)}`).searchParams.get("prefix")).toBe("a%_&b=ü *")
  })

  it("D6: hides ids in every format when asked to", async () => {
    const id = "3kXf9dQ1x_-AbCdEfGhIjKlMnOpQrStUvWxYz012345"
    const { url } = await strict([entry(`session:${id}`, `{"data":{"count":12},"next":"${id}"}`)])
    expect((await dumped(url, { mask: true })).out).toBe(
      "{'session:3kXf9d…': {'data': {'count': 12}, 'next': '3kXf9d…'}}\n",
    )
    for (const format of ["json", "raw"])
      expect((await dumped(url, { mask: true, format })).out).not.toContain("3kXf9dQ")
    expect((await dumped(url)).out).toContain(id)
  })

  it("D3: sends the token from the environment, or the URL's credentials with a warning", async () => {
    const seen: unknown[] = []
    const { url } = await service((request, response) => {
      seen.push(request.headers.authorization)
      response.writeHead(200, { "content-type": "application/x-ndjson" }).end()
    })
    expect((await dumped(url, {}, { COATCHECK_TOKEN: "abc" })).notes).toEqual([])
    const { notes } = await dumped(url.replace("//", "//ann:t0ken@"))
    expect(notes).toHaveLength(1)
    expect(notes[0]).toMatch(/COATCHECK_TOKEN/)
    expect(notes[0]).not.toMatch(/t0ken/)
    expect(seen).toEqual(["Bearer abc", `Basic ${Buffer.from("ann:t0ken").toString("base64")}`])
  })

  it("says what a refusal was and what to do, and asks no second time", async () => {
    const refusals: [number, RegExp][] = [
      [401, /answers 401: who are you\? \[2J \(it wants a token: set COATCHECK_TOKEN\)/],
      [403, /answers 403/],
      [421, /--allow-host/],
      [503, /try again when its store is back/],
    ]
    for (const [status, message] of refusals) {
      const { url, requests } = await service((_, response) => {
        response.writeHead(status, { "content-type": "application/problem+json" })
        response.end(JSON.stringify({ type: "about:blank", title: "t", status, detail: "who are you?\u001b[2J" }))
      })
      const failure: unknown = await dumped(url).catch((error: unknown) => error)
      expect(failure).toBeInstanceOf(Failure)
      expect((failure as Failure).message).toMatch(message)
      expect((failure as Failure).message).not.toMatch(/\p{Cc}/u)
      expect(requests).toHaveLength(1)
    }
  })

  it("fails when the stream breaks off, after printing what came", async () => {
    const { url } = await service((_, response) => {
      response.writeHead(200, { "content-type": "application/x-ndjson" })
      response.write(`${sample[0]}\n${sample[1]?.slice(0, 20)}`, () => response.destroy())
    })
    const stdout = new PassThrough()
    const out = readText(stdout)
    const done = dump(url, { format: "json" }, { env: {}, stdout, note: () => {} })
    await expect(done).rejects.toThrow(/^http:\/\/127.0.0.1:\d+ stopped in the middle of its answer$/)
    stdout.end()
    expect(await out).toBe('{"cpsc449": "https://sites.google.com/view/cpsc449"}\n')
  })

  it.each(['{"key":"a"}', "[]", '{"key":1,"value":1}', "<html>", '{"key":"a","value":1', '{"key":"a","value":tru}'])(
    "fails when a line is no entry: %s",
    async (line) => {
      const { url } = await strict([line])
      await expect(dumped(url)).rejects.toThrow(/no list of entries/)
    },
  )

  it("never holds more than a piece: it waits for whoever reads the output", async () => {
    const value = JSON.stringify("x".repeat(1_000))
    const { url } = await strict(
      Array.from({ length: 5_000 }, (_, index) => entry(`k${index}`, value)),
      65_536,
    )
    let most = 0
    let bytes = 0
    const stdout = new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _, done) {
        most = Math.max(most, stdout.writableLength)
        bytes += chunk.length
        setImmediate(done)
      },
    })
    await dump(url, { format: "json" }, { env: {}, stdout, note: () => {} })
    expect(bytes).toBeGreaterThan(5_000_000)
    expect(most).toBeLessThan(300_000)
  })
})

describe("dump over the classic wire", () => {
  it("D5: does a GET a key against a service that speaks nothing else", async () => {
    const values = new Map([
      ["zed", "1e21"],
      ["foo", '"bar"'],
      ["fob", '{"b":[null,true,12345678901234567890]}'],
    ])
    const { url, requests } = await classic(values)
    expect((await dumped(`${url}/`)).out).toBe(
      "{'fob': {'b': [None, True, 12345678901234567890]}}\n{'foo': 'bar'}\n{'zed': 1e21}\n",
    )
    expect(requests).toEqual(["GET /-/v1/records", "GET /", "GET /fob", "GET /foo", "GET /zed"])
  })

  it("asks only the classic wire when the URL says so", async () => {
    const { url, requests } = await classic(new Map([["a", "1"]]))
    await dumped(`${url}?wire=classic`)
    expect(requests).toEqual(["GET /", "GET /a"])
  })

  it.each([true, false])("D4: prints only keys with the prefix, when the service filters: %s", async (filtering) => {
    const values = new Map(["foo", "fob", "zed", "Foo"].map((key) => [key, "1"]))
    const { url } = await classic(values, { filtering })
    expect((await dumped(url, { prefix: "f", format: "raw" })).out).toBe("fob\t1\nfoo\t1\n")
  })

  it.each([true, false])(
    "D7: leaves out a key deleted meanwhile and keeps a stored null, when the service tells: %s",
    async (telling) => {
      const values = new Map([
        ["gone", "1"],
        ["kept", "null"],
        ["other", "2"],
      ])
      const { url } = await classic(values, { telling, listed: (all) => all.delete("gone") })
      expect((await dumped(url)).out).toBe("{'kept': None}\n{'other': 2}\n")
    },
  )

  it("K11: reaches keys of every kind, in the order of their bytes", async () => {
    const keys = ["a/b", "a?b", "a#b", "a%b", "k y", "ünï", "..", "__proto__", "keys", "-/x", "\u{1f600}", "\uff5e"]
    const { url } = await classic(new Map(keys.map((key) => [key, JSON.stringify(key)])))
    const { out } = await dumped(url, { format: "json" })
    const byBytes = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    expect(out).toBe(byBytes.map((key) => `{${JSON.stringify(key)}: ${JSON.stringify(key)}}\n`).join(""))
  })

  it("D5: keeps a few GETs under way, never many", async () => {
    let now = 0
    let most = 0
    const keys = Array.from({ length: 100 }, (_, index) => `k${index}`)
    const { url } = await service((request, response) => {
      now += 1
      most = Math.max(most, now)
      response.on("finish", () => (now -= 1))
      const key = request.url?.slice(1) ?? ""
      setImmediate(() => response.end(key === "" ? JSON.stringify({ keys }) : `{"${key}":1}`))
    })
    expect((await dumped(url)).out.split("\n")).toHaveLength(101)
    expect(most).toBeGreaterThan(1)
    expect(most).toBeLessThanOrEqual(8)
  })

  it.each(["<html>hello</html>", '{"a":1}', '{"keys":[1]}', "[]"])(
    "fails when what answers is something else: %s",
    async (body) => {
      const { url } = await service((_, response) => response.end(body))
      await expect(dumped(url)).rejects.toThrow(/is it a Coatcheck service\?$/)
    },
  )

  it("follows no redirect", async () => {
    const { url, requests } = await service((_, response) => response.writeHead(302, { location: "/login" }).end())
    await expect(dumped(url)).rejects.toThrow(/answers 302/)
    expect(requests).toEqual(["GET /-/v1/records", "GET /"])
  })
})

describe("dump without a service", () => {
  it("D3: names host and port of one that can't be reached, and no credentials", async () => {
    const { url } = await strict([])
    running.splice(0)[0]?.close()
    const failure: unknown = await dumped(url.replace("//", "//ann:s3cr3t@")).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(Failure)
    expect((failure as Failure).message).toContain(`${url} can't be reached: connection refused`)
    expect((failure as Failure).message).not.toContain("s3cr3t")
  })

  it("refuses a format that it does not have", async () => {
    await expect(dumped("localhost:1", { format: "xml" })).rejects.toThrow(UsageError)
    await expect(dumped("localhost:1", { format: "xml" })).rejects.toThrow(/--format must be one of python, json, raw/)
  })
})
