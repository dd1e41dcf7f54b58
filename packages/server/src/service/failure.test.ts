import { CoatcheckError, errorCodes, type Store } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { describe, expect, it } from "vitest"
import { keptLog, serve, storeWith } from "../../../../test/support/service.ts"
import { printable } from "./failure.ts"

const key = "session:Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"
const leak = `INSERT INTO entries VALUES ('${key}') failed at /var/lib/kv.db on db.internal`

/** A store whose every verb rejects. */
function failing(make: () => Error): Store {
  const fail = (): Promise<never> => Promise.reject(make()) // whatever a broken driver throws
  return { ...memoryStore(), get: fail, set: fail, touch: fail, delete: fail, list: fail }
}

const calls = [
  ["GET", "/"],
  ["GET", `/${key}`],
  ["DELETE", `/${key}`],
  ["POST", "/", `{"${key}":1}`],
  ["POST", "/", `{"${key}":1,"b":2}`],
  ["GET", "/-/v1/records"],
  ["GET", `/-/v1/records/${key}`],
  ["PUT", `/-/v1/records/${key}`, "1"],
  ["PATCH", `/-/v1/records/${key}`],
  ["DELETE", `/-/v1/records/${key}`],
] as const

describe("a store that fails", () => {
  it.each(errorCodes)("ERR-01: %s is a problem document that shows nothing of the inside", async (code) => {
    const own = ["invalid", "too-large", "conflict"].includes(code)
    const cause = new Error(leak)
    const { ask } = await serve(
      {},
      failing(() => new CoatcheckError(code, own ? "Say it better" : leak, { cause })),
    )
    for (const [method, path, body] of calls) {
      const answer = await ask(method, path, {
        headers: { "Coatcheck-TTL": "5" },
        ...(body === undefined ? {} : { body }),
      })
      expect(answer.status, code).not.toBe(500)
      expect(answer.headers["content-type"]).toBe("application/problem+json")
      const problem = answer.json as Record<string, unknown>
      expect(Object.keys(problem).sort()).toEqual(["detail", "status", "title", "type"])
      expect(problem).toMatchObject({
        status: answer.status,
        type: expect.stringMatching(/^(urn:coatcheck:error:[a-z-]+|about:blank)$/),
      })
      expect(answer.text).not.toMatch(/session:|INSERT|\/var|internal|\bat /)
    }
  })

  it("ERR-02: is a 503 that says when to come again, and a full one is 507", async () => {
    for (const code of ["unavailable", "unknown-outcome", "closed", "corrupt", "denied"] as const) {
      const { ask } = await serve(
        {},
        failing(() => new CoatcheckError(code, leak)),
      )
      for (const [method, path, body] of calls) {
        const answer = await ask(method, path, {
          headers: { "Coatcheck-TTL": "5" },
          ...(body === undefined ? {} : { body }),
        })
        expect([answer.status, answer.headers["retry-after"]], `${method} ${path}`).toEqual([503, "1"])
      }
    }
    const { ask } = await serve(
      {},
      failing(() => new CoatcheckError("full", leak)),
    )
    expect((await ask("POST", "/", { body: '{"a":1}' })).status).toBe(507)
  })

  it("ERR-02: recovers by itself", async () => {
    const base = memoryStore()
    let down = true
    const store = storeWith(
      { get: (name) => (down ? Promise.reject(new CoatcheckError("unavailable", "down")) : base.get(name)) },
      base,
    )
    const { ask } = await serve({}, store)
    expect((await ask("GET", "/foo")).status).toBe(503)
    down = false
    expect((await ask("GET", "/foo")).status).toBe(200)
  })

  it("ERR-03: an error that is no CoatcheckError, even one thrown at once, is answered and logged", async () => {
    for (const thrown of [new Error(leak), new TypeError(leak), leak, null, undefined]) {
      const { log, lines } = keptLog()
      const raise = (): never => {
        throw thrown as Error // what a driver of somebody's may do
      }
      const store = { ...failing(() => thrown as Error), get: raise, list: raise }
      const { ask } = await serve({ log }, store)
      for (const [method, path, body] of calls) {
        const answer = await ask(method, path, {
          headers: { "Coatcheck-TTL": "5" },
          ...(body === undefined ? {} : { body }),
        })
        const type = method === "GET" ? "unavailable" : "unknown-outcome"
        expect([answer.status, answer.json], `${method} ${path}`).toMatchObject([
          503,
          { type: `urn:coatcheck:error:${type}` },
        ])
        expect(answer.text).not.toMatch(/session:|INSERT|\/var|internal/)
      }
      expect(lines.filter((line) => line.includes('"level":"error"')).length).toBeGreaterThanOrEqual(4) // a line for each kind of path
      expect(lines.join("\n")).not.toMatch(/session:|INSERT|\/var|internal/)
    }
  })

  it("ERR-03: a store that throws where it should reject does not take the process down", async () => {
    const { ask } = await serve({}, storeWith({ get: (() => "no promise") as never }))
    expect((await ask("GET", "/-/health")).status).toBe(200)
    expect([200, 503]).toContain((await ask("GET", "/-/ready")).status)
  })
})

describe("the log", () => {
  const token = "tok_3f9a1c7be2d84f6ab0c1"
  const value = "value-7d1e9b"

  it("X4, LOG-01: holds no key, value, token or cookie at any level", async () => {
    const { log, lines } = keptLog()
    const { createHash } = await import("node:crypto")
    const hex = createHash("sha256").update(token).digest("hex")
    const { ask } = await serve({ log, tokens: [`app read,write sha256:${hex}`] })
    const headers = {
      Authorization: `Bearer ${token}`,
      Cookie: `session=${key}`,
      "User-Agent": key,
      "Coatcheck-TTL": "500",
    }
    for (const [method, path, body] of calls) {
      await ask(method, path, { headers, ...(body === undefined ? {} : { body: body.replaceAll("1", `"${value}"`) }) })
      await ask(method, path, body === undefined ? {} : { body })
    }
    await ask("POST", "/-/v1/batch", { headers, body: `{"ops":[{"op":"get","key":"${key}"}]}` })
    await ask("GET", `/?prefix=${key}`, { headers })
    expect(lines.length).toBeGreaterThan(2 * calls.length)
    expect(lines.join("\n")).not.toMatch(new RegExp([key.slice(8), value, token, token.slice(4), "session="].join("|")))
  })

  it("tells each request by method, kind of path, status, time and holder", async () => {
    const { log, lines } = keptLog()
    const { ask } = await serve({ log })
    await ask("POST", "/", { body: '{"a":1}' })
    await ask("GET", "/-/v1/records/nope")
    const told = lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line.message === "request")
    expect(told).toMatchObject([
      { level: "debug", method: "POST", route: "root", status: 200, ms: expect.any(Number) },
      { level: "debug", method: "GET", route: "record", status: 404 },
    ])
  })

  it("is not given requests when its level is above debug", async () => {
    const { log, lines } = keptLog()
    const { ask } = await serve({ log: { ...log, isLevelEnabled: (level) => level !== "debug" } })
    await ask("GET", "/foo")
    expect(lines.filter((line) => line.includes('"request"'))).toEqual([])
  })

  it("X4: a failure is told with the driver's code and without its words", async () => {
    const { log, lines } = keptLog()
    const cause = Object.assign(new Error(leak), { code: "SQLITE_FULL" })
    const { ask } = await serve(
      { log },
      failing(() => new CoatcheckError("full", "The store has no room", { cause })),
    )
    await ask("POST", "/", { body: `{"${key}":1}` })
    const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>).find((line) => line.level === "error")
    expect(told).toMatchObject({
      store: "memory",
      code: "full",
      cause: "SQLITE_FULL",
      route: "root",
      message: "The store has no room",
    })
  })

  it("X4: a store that is down does not fill the log: failures of one kind share a line", async () => {
    const { log, lines } = keptLog()
    const { ask } = await serve(
      { log },
      failing(() => new CoatcheckError("unavailable", "down")),
    )
    const began = performance.now()
    for (let index = 0; index < 50; index++) await ask("GET", `/key${index}`)
    const seconds = (performance.now() - began) / 1_000
    const told = lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line.level === "error")
    expect(told.length).toBeGreaterThan(0)
    expect(told.length).toBeLessThanOrEqual(1 + seconds)
  })

  it("LOG-03: nobody can forge a line or steer a terminal", async () => {
    expect(printable("a\r\nb\u001b[2Jc\u0085d\u2028e\u007f\u0000ü")).toBe(
      "a\\u000d\\u000ab\\u001b[2Jc\\u0085d\\u2028e\\u007f\\u0000ü",
    )
    const { log, lines } = keptLog()
    const forged = "x\r\n2026-11-20 info forged\u001b[31m"
    const cause = Object.assign(new Error("no"), { code: forged })
    const { ask, raw, port } = await serve(
      { log },
      failing(() => new CoatcheckError("unavailable", forged, { cause })),
    )
    await ask("GET", "/%0D%0Aforged%1B")
    await ask("GET", `/?prefix=${encodeURIComponent(forged)}`)
    await raw(`GET / HTTP/1.1\r\nHost: localhost:${port}\r\nUser-Agent: \u001b[31mforged\r\nConnection: close\r\n\r\n`)
    const texts = lines
      .flatMap((line) => Object.values(JSON.parse(line) as Record<string, unknown>))
      .filter((field) => typeof field === "string")
    expect(texts.length).toBeGreaterThan(5)
    for (const text of texts) expect(text).not.toMatch(/\p{Cc}/u)
  })
})
