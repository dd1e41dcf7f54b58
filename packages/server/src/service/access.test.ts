import { createHash } from "node:crypto"
import { networkInterfaces } from "node:os"
import { memoryStore } from "coatcheck/memory"
import { describe, expect, it } from "vitest"
import { ask, serve } from "../../../../test/support/service.ts"
import { createService } from "./serve.ts"
import { findToken, parseTokens } from "./tokens.ts"

const digest = (token: string): string => createHash("sha256").update(token).digest("hex")
const entry = (name: string, scopes: string, token: string): string => `${name} ${scopes} sha256:${digest(token)}`
const tokens = [
  entry("reader", "read", "r-token"),
  entry("writer", "write", "w-token"),
  entry("app", "read,write", "a-token"),
]
const bearer = (token: string) => ({ headers: { Authorization: `Bearer ${token}` } })
const basic = (pair: string, scheme = "Basic") => ({
  headers: { Authorization: `${scheme} ${Buffer.from(pair).toString("base64")}` },
})

describe("tokens", () => {
  it("X1: without credentials, or with wrong ones, everything but the probes is 401", async () => {
    const { ask } = await serve({ tokens })
    const wrong = [
      {},
      bearer("nope"),
      bearer(""),
      basic("a-token:"),
      basic("a-token"),
      basic("user:nope"),
      { headers: { Authorization: "a-token" } },
    ]
    const paths = ["/", "/foo", "/-/v1/records", "/-/v1/records/foo", "/-/v1/batch", "/-/metrics"]
    for (const credentials of wrong) {
      for (const path of paths) {
        for (const method of ["GET", "POST", "PUT", "DELETE", "OPTIONS"]) {
          const answer = await ask(method, path, credentials)
          expect([answer.status, answer.headers["content-type"]], `${method} ${path}`).toEqual([
            401,
            "application/problem+json",
          ])
          expect(answer.headers["www-authenticate"]).toMatch(/^Bearer .*Basic /)
        }
      }
    }
    for (const path of ["/-/health", "/-/ready"]) expect((await ask("GET", path)).status).toBe(200)
  })

  it("X1: Bearer and Basic are both taken; with Basic the password is the token", async () => {
    const { ask } = await serve({ tokens })
    for (const credentials of [
      bearer("a-token"),
      basic("user:a-token"),
      basic(":a-token"),
      basic("u:a-token", "basic"),
    ]) {
      expect((await ask("GET", "/", credentials)).status).toBe(200)
    }
    const { headers } = bearer("a-token")
    expect(
      (await ask("GET", "/", { headers: { Authorization: headers.Authorization.replace("Bearer", "bEARER") } })).status,
    ).toBe(200)
  })

  it("X1: a password may hold colons", () => {
    const [token] = parseTokens([entry("n", "read", "a:b")])
    expect(findToken([token!], basic("user:a:b").headers.Authorization)).toBe(token)
  })

  it("X1: read reads, write writes, and neither does the other's", async () => {
    const { ask } = await serve({ tokens })
    const op = (text: string): string => `{"ops":[${text}]}`
    const get = op('{"op":"get","key":"a"}')
    const set = op('{"op":"set","key":"a","value":1}')
    const calls = [
      ["write", "POST", "/", '{"a":1}'],
      ["write", "PUT", "/-/v1/records/a", "1"],
      ["write", "PATCH", "/-/v1/records/a", undefined],
      ["write", "POST", "/-/v1/batch", set],
      ["read", "GET", "/", undefined],
      ["read", "GET", "/a", undefined],
      ["read", "HEAD", "/a", undefined],
      ["read", "GET", "/-/v1/records", undefined],
      ["read", "GET", "/-/v1/records/a", undefined],
      ["read", "POST", "/-/v1/batch", get],
      ["write", "DELETE", "/-/v1/records/a", undefined],
      ["write", "DELETE", "/a", undefined],
    ] as const
    for (const [scope, method, path, body] of calls) {
      for (const [holder, token] of [
        ["read", "r-token"],
        ["write", "w-token"],
        ["both", "a-token"],
      ] as const) {
        const headers = { ...bearer(token).headers, "Coatcheck-TTL": "60000" }
        const { status } = await ask(method, path, body === undefined ? { headers } : { headers, body })
        const allowed = holder === "both" || holder === scope
        expect(status === 403, `${holder} ${method} ${path}: ${status}`).toBe(!allowed)
      }
    }
    const mixed = op('{"op":"get","key":"a"},{"op":"set","key":"a","value":1}')
    for (const token of ["r-token", "w-token"]) {
      expect((await ask("POST", "/-/v1/batch", { ...bearer(token), body: mixed })).status).toBe(403)
    }
    expect((await ask("GET", "/a", bearer("a-token"))).headers["coatcheck-absent"]).toBe("1")
  })

  it("X1: who may only write learns no value by a condition that fails", async () => {
    const { ask, store } = await serve({ tokens })
    await store.set("a", '"confidential"')
    const condition = { "If-Match": '"no-version"' }
    const wrong = '"if":{"version":"no-version"}'
    const calls = [
      ["PUT", "/-/v1/records/a", { "If-None-Match": "*" }, "1"],
      ["PUT", "/-/v1/records/a", condition, "1"],
      ["PATCH", "/-/v1/records/a", { ...condition, "Coatcheck-TTL": "1" }, undefined],
      ["DELETE", "/-/v1/records/a", condition, undefined],
      ["POST", "/-/v1/batch", {}, '{"ops":[{"op":"set","key":"a","value":1,"if":"absent"}]}'],
      ["POST", "/-/v1/batch", {}, `{"ops":[{"op":"set","key":"a","value":1,${wrong}}]}`],
      ["POST", "/-/v1/batch", {}, '{"ops":[{"op":"touch","key":"a","ttl":1,"version":"no-version"}]}'],
      ["POST", "/-/v1/batch", {}, '{"ops":[{"op":"delete","key":"a","version":"no-version"}]}'],
    ] as const
    for (const [method, path, fields, body] of calls) {
      const asked = (token: string) => {
        const headers = { ...bearer(token).headers, ...fields }
        return ask(method, path, body === undefined ? { headers } : { headers, body })
      }
      const refused = await asked("w-token")
      expect([refused.status, refused.json], `${method} ${body}`).toEqual([
        403,
        expect.objectContaining({ detail: "This token's scopes don't include read" }),
      ])
      expect((await asked("a-token")).text, `${method} ${body}`).toContain("confidential")
    }
    expect((await store.get("a"))?.value).toBe('"confidential"')
  })

  it("X1: the presented token is found by its digest, whichever entry it is", () => {
    const parsed = parseTokens(tokens)
    expect(["r-token", "w-token", "a-token"].map((token) => findToken(parsed, `Bearer ${token}`)?.name)).toEqual([
      "reader",
      "writer",
      "app",
    ])
    expect(findToken(parsed, `Bearer ${digest("r-token")}`)).toBeNull()
  })

  it("P4: an entry that can't be meant stops the start, and the message holds none of it", () => {
    const good = entry("n", "read", "t")
    const bad = [
      [],
      [""],
      ["# comment"],
      ["n read"],
      ["n read md5:00"],
      [`n read sha256:${"0".repeat(63)}`],
      [`n read sha256:${"g".repeat(64)}`],
      [`n all sha256:${digest("t")}`],
      [`n read, write sha256:${digest("t")}`],
      [`${good} more`],
      [good, good],
      [`n\u0000 read sha256:${digest("t")}`],
    ]
    for (const entries of bad) {
      const start = () => createService(memoryStore(), { tokens: entries })
      expect(start, JSON.stringify(entries)).toThrow(TypeError)
      expect(start).toThrow(/^(?!.*(?:[0-9a-f]{16}|md5)).*[Tt]oken/)
    }
  })
})

describe("names and origins", () => {
  it("KVS-09: only the service's own names, with its port, may be asked under", async () => {
    const { ask, port } = await serve()
    const own = [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`, `LocalHost:${port}`]
    const foreign = [
      "evil.test",
      `evil.test:${port}`,
      "localhost",
      `localhost:${port + 1}`,
      `localhost.:${port}`,
      `localhost.evil.test:${port}`,
      `127.0.0.1.nip.io:${port}`,
      `127.0.0.2:${port}`,
      `user@localhost:${port}`,
      `localhost:${port}/`,
      `localhost:0${port}`,
      "::1",
      "*",
    ]
    for (const path of ["/", "/foo", "/-/v1/records", "/-/health", "/-/ready"]) {
      for (const host of own) expect((await ask("GET", path, { headers: { Host: host } })).status, host).toBe(200)
      for (const host of foreign) {
        const answer = await ask("GET", path, { headers: { Host: host } })
        expect([answer.status, answer.headers["content-type"]], host).toEqual([421, "application/problem+json"])
      }
    }
  })

  it("KVS-09: more names can be allowed, with one port or with any", async () => {
    const { ask } = await serve({ allowHosts: ["kv.internal", "Other.Internal:8080", "[fd00::1]"] })
    const status = async (host: string): Promise<number> => (await ask("GET", "/", { headers: { Host: host } })).status
    for (const host of ["kv.internal", "KV.internal:9", "other.internal:8080", "[fd00::1]:5"])
      expect(await status(host)).toBe(200)
    for (const host of ["other.internal", "other.internal:80", "a.kv.internal", "kv.internal:x", "kv.internal:"]) {
      expect(await status(host), host).toBe(421)
    }
    for (const host of ["", "http://kv", "kv/x", "a b", "*", "kv:x"]) {
      expect(() => createService(memoryStore(), { allowHosts: [host] }), host).toThrow(TypeError)
    }
  })

  it("KVS-09: a missing, empty or second Host is 400, and a target that names another one 421", async () => {
    const { raw, port } = await serve()
    const own = `localhost:${port}`
    const status = async (start: string, ...fields: string[]): Promise<string | undefined> => {
      const text = await raw(`${[start, ...fields, "Connection: close"].join("\r\n")}\r\n\r\n`)
      expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
      return /^HTTP\/1\.1 (\d+)/.exec(text)?.[1]
    }
    expect(await status("GET / HTTP/1.1")).toBe("400")
    expect(await status("GET / HTTP/1.0")).toBe("400")
    expect(await status("GET / HTTP/1.1", "Host:")).toBe("400")
    expect(await status("GET / HTTP/1.1", `Host: ${own}`, `Host: ${own}`)).toBe("400")
    expect(await status("GET / HTTP/1.1", `Host: ${own}`, "host: evil.test")).toBe("400")
    expect(await status(`GET http://${own}/ HTTP/1.1`, `Host: ${own}`)).toBe("200")
    expect(await status(`GET http://${own} HTTP/1.1`, `Host: ${own}`)).toBe("200")
    expect(await status(`GET http://${own}?prefix=x HTTP/1.1`, `Host: ${own}`)).toBe("200")
    expect(await status("GET http://evil.test/ HTTP/1.1", `Host: ${own}`)).toBe("421")
    expect(await status(`GET http://${own}/ HTTP/1.1`, "Host: evil.test")).toBe("421")
    expect(await status(`GET http://user@${own}/ HTTP/1.1`, `Host: ${own}`)).toBe("421")
    expect(await status(`GET ftp://${own}/ HTTP/1.1`, `Host: ${own}`)).toBe("421")
    expect(await status(`GET * HTTP/1.1`, `Host: ${own}`)).toBe("421")
  })

  it("X2: a foreign page is refused whatever the method, and nothing is stored", async () => {
    const { ask, port, store } = await serve()
    await store.set("foo", "1")
    const foreign: Record<string, string>[] = [
      { Origin: "http://evil.test" },
      { Origin: "null" },
      { Origin: "" },
      { Origin: `http://localhost:${port + 1}` },
      { Origin: `http://localhost:${port}.evil.test` },
      { Origin: `http://127.0.0.1:${port}` },
      { Origin: `http://localhost:${port}/` },
      { "Sec-Fetch-Site": "cross-site" },
      { "Sec-Fetch-Site": "same-site" },
      { "Sec-Fetch-Site": "banana" },
      { "Sec-Fetch-Site": "same-origin", Origin: "http://evil.test" },
      { "Sec-Fetch-Site": "cross-site", Origin: `http://localhost:${port}` },
    ]
    for (const headers of foreign) {
      for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
        for (const path of ["/", "/foo", "/-/v1/records/foo", "/-/v1/batch", "/-/health"]) {
          const preflight = { "Access-Control-Request-Method": "DELETE" }
          const answer = await ask(method, path, { headers: { ...headers, ...preflight } })
          expect(answer.status, `${method} ${path} ${JSON.stringify(headers)}`).toBe(403)
          expect(Object.keys(answer.headers).filter((name) => name.startsWith("access-control"))).toEqual([])
        }
      }
    }
    expect((await store.list()).entries).toHaveLength(1)
  })

  it("X2: the service's own pages, the address bar and programs are let in", async () => {
    const { ask, port } = await serve()
    const own: Record<string, string>[] = [
      {},
      { Origin: `http://localhost:${port}`, "Sec-Fetch-Site": "same-origin" },
      { Origin: `https://localhost:${port}` },
      { "Sec-Fetch-Site": "none" },
    ]
    for (const headers of own) expect((await ask("POST", "/", { headers, body: '{"a":1}' })).status).toBe(200)
  })
})

describe("where it listens", () => {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((address) => address && !address.internal && address.family === "IPv4")?.address

  it("P5: on both loopback addresses under one port, and nowhere else", async () => {
    const { port } = await serve()
    expect((await fetch(`http://127.0.0.1:${port}/-/health`)).status).toBe(200)
    const hasIpv6 = Object.values(networkInterfaces())
      .flat()
      .some((address) => address?.address === "::1")
    if (hasIpv6) expect((await fetch(`http://[::1]:${port}/-/health`)).status).toBe(200)
    if (outside) await expect(fetch(`http://${outside}:${port}/-/health`)).rejects.toThrow("fetch failed")
  })

  it("P5: refuses an address that others can reach as long as there are no tokens", async () => {
    for (const host of ["0.0.0.0", "::", "192.0.2.1", "kv.internal", "127.0.0.1.evil.test", "::ffff:127.0.0.1"]) {
      const service = createService(memoryStore())
      await expect(service.listen({ port: 0, host }), host).rejects.toThrow(TypeError)
      await service.close()
    }
    for (const host of ["127.0.0.1", "localhost"]) {
      const service = createService(memoryStore())
      const { port } = await service.listen({ port: 0, host })
      expect((await ask(port, "GET", "/-/health")).status).toBe(200)
      await service.close()
    }
  })

  it("P5: with tokens it listens where it is told, under the names it was told", async () => {
    const service = createService(memoryStore(), { tokens, allowHosts: ["kv.internal"] })
    const { port } = await service.listen({ port: 0, host: "0.0.0.0" })
    const status = async (host: string): Promise<number> =>
      (await ask(port, "GET", "/", { headers: { Host: host, ...bearer("a-token").headers } })).status
    expect(await status("kv.internal")).toBe(200)
    expect(await status(`0.0.0.0:${port}`)).toBe(421)
    await service.close()
  })

  it("P5: listens once, on a port that is free", async () => {
    const { service, port } = await serve()
    await expect(service.listen({ port: 0 })).rejects.toThrow(TypeError)
    const other = createService(memoryStore())
    await expect(other.listen({ port })).rejects.toMatchObject({ code: "EADDRINUSE" })
    await other.close()
  })
})

describe("limits that can't be meant", () => {
  it("P4: are refused by name", () => {
    for (const limits of [
      { bodyBytes: 0 },
      { bodyBytes: -1 },
      { headersMs: 1.5 },
      { requestMs: Number.NaN },
      { headersMs: 30_001 },
      { heartbeatMs: 31_001 },
      { nosuch: 1 } as object,
    ]) {
      const [name] = Object.keys(limits)
      expect(() => createService(memoryStore(), { limits })).toThrow(
        new RegExp(`limits\\.${name}|limits knows no setting "${name}"`),
      )
    }
  })
})
