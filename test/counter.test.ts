// The counter example as its visitors see it: the program itself, over the service itself, each a process of its own.

import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createSessions, type Store } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { nodeAdapter } from "coatcheck/node"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { createCounter } from "../examples/counter/counter.ts"
import { openGate } from "./support/gate.ts"
import {
  command,
  freePort,
  runSource,
  type Running,
  startCounter,
  startService,
  startSource,
} from "./support/processes.ts"
import { call, visitor } from "./support/visitor.ts"

const secrets = {
  old: "Qk3rW9_hT5mZx8LbV2cN7pYs4Dg6JfAe1RuKiOoSwXq",
  new: "m7Zp2XcVb9Ln4KjHg6FdSaQw3ErTyUi8OoPl5IkJuHt",
}
const folder = mkdtempSync(join(tmpdir(), "counter-"))

let service: Awaited<ReturnType<typeof startService>>
let counters: { store: Awaited<ReturnType<typeof startCounter>>; cookie: Awaited<ReturnType<typeof startCounter>> }

beforeAll(async () => {
  service = await startService()
  const [store, cookie] = await Promise.all([
    startCounter({ KV_URL: service.url }),
    startCounter({ USE_SESSION_STORE: "false", SECRET_KEY: secrets.old }),
  ])
  counters = { store, cookie }
})

afterAll(async () => {
  await Promise.all([service, counters?.store, counters?.cookie].map((one) => one?.stop()))
  rmSync(folder, { recursive: true })
})

/** The number on the page. */
function shown(body: string): number {
  return Number(/<h1 id="heading">Count: (\d+)<\/h1>/.exec(body)?.[1] ?? Number.NaN)
}

/** The key under which the page says that the record is. */
function keyOn(body: string): string {
  return /<dt>Key<\/dt><dd><code class="value">(session:[\w-]{43})<\/code>/.exec(body)?.[1] ?? ""
}

async function stored(key: string): Promise<{ data: { count: number } } | null> {
  const { body } = await call("GET", `${service.url}/${encodeURIComponent(key)}`)
  return (JSON.parse(body) as Record<string, { data: { count: number } } | null>)[key] ?? null
}

function payload(cookie: string): { data: { count: number } } {
  return JSON.parse(Buffer.from(cookie.split(".")[0] ?? "", "base64url").toString()) as { data: { count: number } }
}

describe.each(["store", "cookie"] as const)("the counter with its data in the %s", (mode) => {
  const url = (path = "/") => counters[mode].url + path

  it("C1 C2: counts 1, 2, 3 for one jar, and another jar apart", async () => {
    const one = visitor()
    const two = visitor()
    expect(shown((await one.get(url())).body)).toBe(1)
    expect(shown((await one.get(url())).body)).toBe(2)
    expect(shown((await two.get(url())).body)).toBe(1)
    expect(shown((await one.get(url("/?again=1"))).body)).toBe(3)
    expect(shown((await two.get(url())).body)).toBe(2)
  })

  it("C3 S13: the cookie is `session`, HttpOnly, SameSite=Lax, for the whole host; replies vary on it and are not kept", async () => {
    const one = visitor()
    const first = await one.get(url())
    expect(first.setCookie).toHaveLength(1)
    expect(first.setCookie[0]).toMatch(/^session=[\w.-]+; Path=\/; HttpOnly; SameSite=Lax$/)
    for (const reply of [first, await one.get(url())]) {
      expect(reply.headers.vary?.split(", ")).toContain("Cookie")
      expect(reply.headers["cache-control"]).toContain("no-store")
    }
  })

  it("C10: reset answers 303 to /, expires the cookie and ends the session; the next load is a new one at 1", async () => {
    const one = visitor()
    await one.get(url())
    const key = keyOn((await one.get(url())).body)
    const before = await one.cookie(url())
    const reply = await one.call("POST", url("/reset"))
    expect(reply.status).toBe(303)
    expect(reply.headers.location).toBe("/")
    expect(reply.setCookie).toHaveLength(1)
    expect(reply.setCookie[0]).toMatch(/^session=; .*Max-Age=0/)
    expect(await one.cookie(url())).toBeUndefined()
    if (mode === "store") expect(await stored(key)).toBeNull()
    const next = await one.get(url())
    expect(shown(next.body)).toBe(1)
    expect(await one.cookie(url())).not.toBe(before)
    expect(keyOn(next.body) === key).toBe(mode === "cookie") // only the store has keys
  })

  it("C11: reset without a session answers 303 and sets no session", async () => {
    const one = visitor()
    const reply = await one.call("POST", url("/reset"))
    expect([reply.status, reply.headers.location]).toEqual([303, "/"])
    expect(await one.cookie(url())).toBeUndefined()
  })

  it("C12 S3: HEAD, the style sheet and the icon don't count and touch no session", async () => {
    const one = visitor()
    const page = await one.get(url())
    const sheet = /href="(\/style\.css\?[0-9a-f]+)"/.exec(page.body)?.[1] ?? ""
    for (const [method, path, type] of [
      ["HEAD", "/", "text/html; charset=utf-8"],
      ["GET", sheet, "text/css; charset=utf-8"],
      ["HEAD", "/style.css", "text/css; charset=utf-8"],
      ["GET", "/icon.svg", "image/svg+xml"],
    ] as const) {
      const reply = await one.call(method, url(path))
      expect([reply.status, reply.headers["content-type"], reply.setCookie]).toEqual([200, type, []])
      expect(reply.body === "").toBe(method === "HEAD")
    }
    expect(shown((await one.get(url())).body)).toBe(2)
  })

  it("C12: the wrong method answers 405 with Allow, an unknown address 404, neither touches a session", async () => {
    for (const [method, path, allow] of [
      ["GET", "/reset", "POST"],
      ["DELETE", "/reset", "POST"],
      ["POST", "/", "GET, HEAD"],
      ["POST", "/style.css", "GET, HEAD"],
    ] as const) {
      const reply = await call(method, url(path))
      expect([reply.status, reply.headers.allow, reply.setCookie]).toEqual([405, allow, []])
    }
    const lost = await call("GET", url("/counter"))
    expect([lost.status, lost.setCookie]).toEqual([404, []])
    expect(lost.body).toContain('<a class="button" href="/">')
  })

  it("every page forbids scripts, frames and guesses of its type", async () => {
    for (const [method, path] of [
      ["GET", "/"],
      ["GET", "/nowhere"],
      ["GET", "/reset"],
      ["POST", "/reset"],
      ["GET", "/style.css"],
    ] as const) {
      const { headers, body } = await call(method, url(path))
      expect(headers["content-security-policy"]).toMatch(
        /^default-src 'none'; style-src 'self';.* frame-ancestors 'none'$/,
      )
      expect(headers["x-content-type-options"]).toBe("nosniff")
      expect(body).not.toMatch(/<script|\sstyle=|\son\w+=/)
    }
  })

  it("CSR-01: a reset from another site is refused and changes nothing; one without labels, as curl sends it, is done", async () => {
    const one = visitor()
    await one.get(url())
    for (const headers of [
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { origin: "null" },
      { origin: "http://evil.test" },
    ]) {
      const reply = await one.call("POST", url("/reset"), { headers })
      expect([reply.status, reply.setCookie]).toEqual([403, []])
    }
    expect(shown((await one.get(url())).body)).toBe(2)
    expect((await one.call("POST", url("/reset"))).status).toBe(303)
    expect(shown((await one.get(url())).body)).toBe(1)
  })

  it("S9 S10: forged and malformed cookies start a new session, and never get into the page as markup", async () => {
    for (const value of [
      "attacker",
      "?prefix=",
      "a/b",
      "../../x",
      '"><script>alert(1)</script>',
      "<b>x</b>.1.<i>y</i>",
      "x".repeat(6_000),
    ]) {
      const { status, body, setCookie } = await call("GET", url(), { headers: { cookie: `session=${value}` } })
      expect([status, shown(body), setCookie.length]).toEqual([200, 1, 1])
      expect(body).not.toMatch(/<script|<b>|<i>/)
    }
  })

  it("the page shows the cookie that the browser holds after it", async () => {
    const one = visitor()
    for (const count of [1, 2]) {
      const { body } = await one.get(url())
      const value = /<dt>Value<\/dt>\s*<dd><code class="value">(.*?)<\/code>/s
        .exec(body)?.[1]
        ?.replace(/<\/?mark>/g, "")
      expect(value).toBe(await one.cookie(url()))
      expect(body).toContain(
        count === 1 || mode === "cookie" ? "Set by the very reply" : "As they were when the cookie was set",
      )
      for (const attribute of ["Path=/", "HttpOnly", "SameSite=Lax"])
        expect(body).toContain(`<code>${attribute}</code>`)
    }
  })
})

describe("the counter with its data in the cookie", () => {
  const url = () => `${counters.cookie.url}/`

  it("C3: the cookie is another one after each load, and holds the count in plain sight", async () => {
    const one = visitor()
    const seen = new Set<string>()
    for (const count of [1, 2, 3, 4, 5]) {
      const { setCookie, body } = await one.get(url())
      expect(setCookie).toHaveLength(1)
      const cookie = (await one.cookie(url())) ?? ""
      seen.add(cookie)
      expect(payload(cookie).data.count).toBe(count)
      expect(body).toMatch(new RegExp(`<mark>\\s+&quot;count&quot;: ${count}</mark>`))
    }
    expect(seen.size).toBe(5)
  })

  it("C4: with one character changed, wherever it is, the cookie counts for nothing", async () => {
    const one = visitor()
    await one.get(url())
    await one.get(url())
    const cookie = (await one.cookie(url())) ?? ""
    const places = [0, 1, 40, cookie.indexOf(".") + 1, cookie.lastIndexOf(".") + 1, cookie.length - 1]
    for (const at of places) {
      const changed = cookie.slice(0, at) + (cookie[at] === "1" ? "2" : "1") + cookie.slice(at + 1)
      const { status, body } = await call("GET", url(), { headers: { cookie: `session=${changed}` } })
      expect([at, status, shown(body)]).toEqual([at, 200, 1])
    }
    expect(shown((await one.get(url())).body)).toBe(3)
  })

  it("C7: more than a cookie holds is an error before the reply, and the old session stays", async () => {
    const sessions = createSessions<{ text: string }>({ carrier: "signed", secret: secrets.old })
    const errors: unknown[] = []
    const handle = nodeAdapter(sessions, { onError: (error) => errors.push(error) })
    const server = createServer(
      handle(async (request, response) => {
        const session = await sessions.open(request)
        const { length } = session.data.text ?? ""
        session.data.text = "x".repeat(Number(request.url?.slice(1)))
        response.end(String(length))
      }),
    )
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const one = visitor()
    expect((await one.get(`${base}/1000`)).status).toBe(200)
    const { status, setCookie, body } = await one.get(`${base}/4000`)
    expect(status).toBe(413)
    expect(setCookie).toEqual([])
    expect(body).not.toContain("xxxx")
    expect(errors).toEqual([expect.objectContaining({ code: "too-large" })])
    expect((await one.get(`${base}/1`)).body).toBe("1000")
    await new Promise((resolve) => server.close(resolve))
  })

  it("C13: it counts on after a restart when SECRET_KEY is set; unset, it warns and starts again", async () => {
    const one = visitor()
    const settings = { USE_SESSION_STORE: "false", SECRET_KEY: secrets.old }
    expect(shown((await one.get(url())).body)).toBe(1)
    const again = await startCounter(settings)
    expect(again.said()).not.toContain("SECRET_KEY")
    expect(shown((await one.get(`${again.url}/`)).body)).toBe(2)

    const unset = await startCounter({ USE_SESSION_STORE: "false" })
    await unset.says(/SECRET_KEY is not set, .* `npx coatcheck secret`/)
    expect(shown((await one.get(`${unset.url}/`)).body)).toBe(1)
    expect(shown((await one.get(`${unset.url}/`)).body)).toBe(2)
    await Promise.all([again.stop(), unset.stop()])
  })

  it("C15: cookies of an older secret are still good, new ones are made with the first; a dropped secret's are ignored", async () => {
    const one = visitor()
    await one.get(url())
    const old = (await one.cookie(url())) ?? ""
    const settings = { USE_SESSION_STORE: "false" }
    const [both, newOnly] = await Promise.all([
      startCounter({ ...settings, SECRET_KEY: `${secrets.new},${secrets.old}` }),
      startCounter({ ...settings, SECRET_KEY: secrets.new }),
    ])
    expect(shown((await one.get(`${both.url}/`)).body)).toBe(2)
    expect(shown((await one.get(`${newOnly.url}/`)).body)).toBe(3)
    expect(shown((await call("GET", `${newOnly.url}/`, { headers: { cookie: `session=${old}` } })).body)).toBe(1)
    await Promise.all([both.stop(), newOnly.stop()])
  })
})

describe("the counter with its data in the store", () => {
  it("C1 C2: of many loads at once in one jar each gets a number of its own", async () => {
    const one = visitor()
    const url = `${counters.store.url}/`
    await one.get(url)
    const loads = await Promise.all(Array.from({ length: 30 }, () => one.get(url)))
    const numbers = loads.map(({ body }) => shown(body)).toSorted((a, b) => a - b)
    expect(numbers).toEqual(Array.from({ length: 30 }, (_, index) => index + 2))
  })

  const url = () => `${counters.store.url}/`

  it("C8: over 12 loads the id in the cookie stays the same, and it is set once", async () => {
    const one = visitor()
    const set: string[] = []
    const held = new Set<string | undefined>()
    for (let load = 0; load < 12; load++) {
      set.push(...(await one.get(url())).setCookie)
      held.add(await one.cookie(url()))
    }
    expect(set).toHaveLength(1)
    expect([...held]).toEqual([expect.stringMatching(/^[\w-]{43}$/)])
  })

  it("C9: the record is readable at the service by the key on the page, with the count that the page shows", async () => {
    const one = visitor()
    for (const count of [1, 2, 3]) {
      const { body } = await one.get(url())
      expect(shown(body)).toBe(count)
      const key = keyOn(body)
      expect(await stored(key)).toMatchObject({ v: 1, owner: null, data: { count } })
      expect(body).toContain(`curl ${service.url}/${encodeURIComponent(key)}<`)
      expect(body).toContain(`npx coatcheck dump ${service.url}<`)
      expect(body).toMatch(new RegExp(`<mark>\\s+&quot;count&quot;: ${count}</mark>`))
    }
  })

  it("S11: 60 loads of one session at once count exactly", async () => {
    const one = visitor()
    await one.get(url())
    const replies = await Promise.all(Array.from({ length: 60 }, () => one.get(url())))
    const counts = replies.map(({ body }) => shown(body))
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(2)
    expect(Math.max(...counts)).toBe(61)
    expect(shown((await one.get(url())).body)).toBe(62)
  })

  it("C13: it counts on after a restart of the page", async () => {
    const one = visitor()
    await one.get(url())
    const again = await startCounter({ KV_URL: service.url })
    expect(shown((await one.get(`${again.url}/`)).body)).toBe(2)
    await again.stop()
  })

  it("C14: a store without a method is refused at start, by the method's name", () => {
    for (const verb of ["get", "set", "touch", "delete", "list", "close"] as const) {
      const { [verb]: _missing, ...rest } = memoryStore()
      const start = () => createCounter({ store: rest as Store, secrets: [], service: null, report: () => {} })
      expect(start).toThrow(TypeError)
      expect(start).toThrow(`${verb}()`)
    }
  })

  it("S4: a load costs the session one read and one write, and the lesson one more read", async () => {
    const counts = { get: 0, set: 0, other: 0 }
    const store = memoryStore()
    const counting: Store = {
      ...store,
      get: (key) => (counts.get++, store.get(key)),
      set: (...args) => (counts.set++, store.set(...args)),
      touch: (...args) => (counts.other++, store.touch(...args)),
      delete: (...args) => (counts.other++, store.delete(...args)),
    }
    const server = createServer(createCounter({ store: counting, secrets: [], service: null, report: () => {} }))
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const one = visitor()
    await one.get(base)
    expect(counts).toEqual({ get: 1, set: 1, other: 0 }) // nothing to read for a newcomer, but for the lesson
    await one.get(base)
    expect(counts).toEqual({ get: 3, set: 2, other: 0 })
    await new Promise((resolve) => server.close(resolve))
  })

  it("S12: a load in flight while the session is reset brings nothing back, and lets the browser begin anew", async () => {
    const gate = await openGate(service.url)
    const slow = await startCounter({ KV_URL: gate.url })
    const one = visitor()
    const key = keyOn((await one.get(url())).body)
    const cookie = `session=${await one.cookie(url())}`

    const stopped = gate.stopNext(({ method, body }) => method === "PUT" || body.includes('"set"'))
    const inFlight = call("GET", `${slow.url}/`, { headers: { cookie, accept: "text/html" } })
    await stopped.arrived
    expect((await one.call("POST", `${url()}reset`)).status).toBe(303)
    stopped.release()

    const late = await inFlight
    expect([late.status, late.setCookie]).toEqual([409, []])
    expect(late.body).toContain("This session has ended")
    expect(await stored(key)).toBeNull()
    expect(shown((await one.get(url())).body)).toBe(1)
    await slow.stop()
    await gate.close()
  })

  it("S14: with the store down it answers 503 within the deadline, says nothing of its inside, and recovers by itself", async () => {
    const port = await freePort()
    const file = `sqlite:${join(folder, "down.db")}`
    let kv: Running = await startService(file, port)
    const counter = await startCounter({ KV_URL: `http://127.0.0.1:${port}` })
    const one = visitor()
    await one.get(`${counter.url}/`)
    await kv.stop()

    for (const client of [one, visitor()]) {
      for (const [accept, type] of [
        ["text/html,*/*;q=0.8", "text/html"],
        ["*/*", "application/problem+json"],
      ] as const) {
        const began = performance.now()
        const reply = await client.get(`${counter.url}/`, { headers: { accept } })
        expect(reply.status).toBe(503)
        expect(reply.headers["content-type"]).toContain(type)
        expect(reply.headers["retry-after"]).toMatch(/^\d+$/)
        expect(reply.setCookie).toEqual([])
        expect(reply.body).not.toMatch(/\bat .*:\d+|ECONN|127\.0\.0\.1/)
        expect(performance.now() - began).toBeLessThan(5_000)
      }
    }

    kv = await startService(file, port)
    expect(shown((await one.get(`${counter.url}/`)).body)).toBe(2)
    await Promise.all([counter.stop(), kv.stop()])
  })
})

describe("both modes", () => {
  it("S2: one setting switches the mode; the same program tells the same story in both", async () => {
    const story = async (base: string) => {
      const one = visitor()
      const told: unknown[] = []
      for (const [method, path] of [
        ["GET", "/"],
        ["GET", "/"],
        ["POST", "/reset"],
        ["GET", "/"],
        ["HEAD", "/"],
        ["GET", "/"],
        ["GET", "/reset"],
        ["POST", "/reset"],
        ["POST", "/reset"],
      ] as const) {
        const { status, headers, body } = await one.call(method, base + path)
        told.push([method, path, status, headers.location, headers.allow, shown(body)])
      }
      return told
    }
    const inStore = await story(counters.store.url)
    expect(inStore[3]).toEqual(["GET", "/", 200, undefined, undefined, 1])
    expect(await story(counters.cookie.url)).toEqual(inStore)
  })

  it("D6: dump lists two visitors' sessions with their counts, and --mask hides what names them", async () => {
    const kv = await startService()
    const counter = await startCounter({ KV_URL: kv.url })
    const [one, two] = [visitor(), visitor()]
    await one.get(`${counter.url}/`)
    await one.get(`${counter.url}/`)
    const key = keyOn((await two.get(`${counter.url}/`)).body)
    const { stdout, code } = await runSource(command, ["dump", kv.url])
    expect(code).toBe(0)
    const lines = stdout.trimEnd().split("\n")
    expect(lines).toHaveLength(2)
    expect(
      lines.map((line) => Number(/^\{'session:.*'count': (\d+)/.exec(line)?.[1])).toSorted((a, b) => a - b),
    ).toEqual([1, 2])
    const masked = await runSource(command, ["dump", "--mask", kv.url])
    expect(stdout).toContain(key)
    expect(masked.stdout).not.toContain(key)
    await Promise.all([counter.stop(), kv.stop()])
  })

  it("the service's credentials are never on the page", async () => {
    const counter = await startCounter({ KV_URL: service.url.replace("//", "//reader:hunter2@") })
    const { body } = await call("GET", `${counter.url}/`)
    expect(shown(body)).toBe(1)
    expect(body).not.toContain("hunter2")
    expect(counter.said()).not.toContain("hunter2")
    await counter.stop()
  })
})

describe("the counter's start and end", () => {
  it("P4: a bad setting is one clear line, a non-zero exit and no trace", async () => {
    const rows: [string, Record<string, string>][] = [
      ["PORT (environment) must be a number", { PORT: "http" }],
      ["KV_URL (environment) must be a URL", { KV_URL: "nowhere" }],
      ["npx coatcheck secret", { USE_SESSION_STORE: "false", SECRET_KEY: "short" }],
      ["A store's URL begins with one of", { STORE_URL: "gopher://x" }],
    ]
    const ends = await Promise.all(rows.map(([, env]) => runSource("examples/counter/server.ts", [], { env })))
    for (const [i, { code, stdout, stderr }] of ends.entries()) {
      expect(stderr).toContain(rows[i]?.[0])
      expect(stderr).toMatch(/^counter: [^\n]+\n$/)
      expect([code, stdout]).toEqual([2, ""])
    }
  })

  it("P4: a port in use is one clear line and a non-zero exit", async () => {
    const port = new URL(counters.store.url).port
    const { code, stderr } = await runSource("examples/counter/server.ts", ["--port", port, "--host", "127.0.0.1"])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^counter: .*already in use[^\n]*--port[^\n]*\n$/)
  })

  it("P1: it answers on both loopback addresses, and ends with 0 on SIGINT and on SIGTERM, also when told twice", async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const env = { STORE_URL: "memory:" }
      const counter = startSource("examples/counter/server.ts", ["--port", "0"], { env })
      const [, port] = await counter.says(/ready at http:\/\/localhost:(\d+)/)
      expect(shown((await call("GET", `http://127.0.0.1:${port}/`)).body)).toBe(1)
      counter.child.kill(signal)
      counter.child.kill(signal)
      expect((await counter.ended).code).toBe(0)
    }
  })

  it("--help lists the options", async () => {
    const { code, stdout } = await runSource("examples/counter/server.ts", ["--help"])
    expect(code).toBe(0)
    expect(stdout).toContain("--use-session-store")
  })
})
