// fetchAdapter around its handler: whatever kind of Response comes back, and whatever goes wrong with it.

import { afterEach, describe, expect, expectTypeOf, it } from "vitest"
import { type Committer, type Exchange, exchangeOf, type ReplyChange } from "../core/exchange.ts"
import { createSessions } from "../core/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { memoryStore } from "../stores/memory.ts"
import { type FetchAdapterOptions, fetchAdapter } from "./fetch.ts"

const errors: unknown[] = []
const warnings: string[] = []
afterEach(() => {
  errors.length = 0
  warnings.length = 0
})

const settings: FetchAdapterOptions = {
  onError: (error) => errors.push(error),
  warn: (message) => warnings.push(message),
}
const adapter = fetchAdapter({ cookieNames: ["sid"] }, settings)
const exchangeFor = (request: Request): Exchange => (request as unknown as { [exchangeOf]: Exchange })[exchangeOf]
const change: ReplyChange = { setCookie: "sid=ours; Path=/" }
const keeping = (answer: ReplyChange): Committer => ({ commit: () => Promise.resolve(answer) })
const failing = (error: unknown): Committer => ({
  commit: () => {
    throw error as Error // code without types throws what it likes
  },
})

const get = (path = "/", headers: Record<string, string> = {}): Request =>
  new Request(`http://app.test${path}`, { headers })

/** What the adapter makes of a Response, when a session was opened. */
const through = (make: () => Response | Promise<Response>, committer: Committer = keeping(change)): Promise<Response> =>
  adapter((request) => {
    exchangeFor(request).attach(committer)
    return make()
  })(get())

describe("an untouched request", () => {
  it("S3: gives back the very Response of its handler", async () => {
    const response = new Response("body", { headers: { "Cache-Control": "public" } })
    const request = get()
    expect(await adapter(() => response)(request)).toBe(response)
    expect([...response.headers.keys()]).toEqual(["cache-control", "content-type"])
    expect([exchangeFor(request).cookie, exchangeFor(request).secure, exchangeFor(request).sent]).toEqual([
      null,
      false,
      true,
    ])
  })

  it("passes further arguments on", async () => {
    const handle = adapter((_request, env: { readonly name: string }, count: number) => new Response(env.name + count))
    expectTypeOf(handle).parameters.toEqualTypeOf<[Request, { readonly name: string }, number]>()
    expect(await (await handle(get(), { name: "a" }, 1)).text()).toBe("a1")
  })
})

describe("a Response that depends on a session", () => {
  const kinds: Readonly<
    Record<string, readonly [make: () => Response | Promise<Response>, status: number, body: string]>
  > = {
    "a text": [() => new Response("body", { status: 201, statusText: "Made" }), 201, "body"],
    JSON: [() => Response.json({ a: 1 }), 200, '{"a":1}'],
    "a redirect, whose headers can't be changed": [() => Response.redirect("http://app.test/next", 303), 303, ""],
    "a fetched one, whose headers can't be changed either": [() => fetch("data:text/plain,body"), 200, "body"],
    "nothing at all": [() => new Response(null, { status: 204 }), 204, ""],
    "not modified": [() => new Response(null, { status: 304, headers: { ETag: '"x"' } }), 304, ""],
  }
  it.each(Object.keys(kinds))("CCH-01, CCH-02, CCH-05: %s", async (kind) => {
    const [make, status, body] = kinds[kind]!
    const [bare, response] = [await make(), await through(make)]
    expect([response.status, response.statusText, await response.text()]).toEqual([status, bare.statusText, body])
    expect(response.headers.getSetCookie()).toEqual([change.setCookie])
    expect([response.headers.get("vary"), response.headers.get("cache-control")]).toEqual(["Cookie", "no-store"])
    for (const [name, value] of bare.headers) expect(response.headers.get(name)).toBe(value)
  })

  it("CCH-01, REG-13: one Response that goes to everybody never keeps anybody's cookie", async () => {
    const shared = new Response(null, { status: 204 })
    const mine = await through(() => shared)
    expect(mine.headers.getSetCookie()).toEqual([change.setCookie])
    const theirs = await through(() => shared, keeping({ setCookie: null }))
    expect(theirs.headers.getSetCookie()).toEqual([])
    expect([...shared.headers]).toEqual([])
  })

  it("CKI-15, CCH-05: our cookie takes the place of one of the same name; all others stay", async () => {
    const headers = new Headers([
      ["Set-Cookie", "a=1; Expires=Fri, 20 Nov 2026 12:00:00 GMT"],
      ["Set-Cookie", "sid=theirs"],
      ["Set-Cookie", "b=2"],
      ["Vary", "Accept"],
    ])
    const response = await through(() => new Response("body", { headers }))
    expect(response.headers.getSetCookie()).toEqual([
      "a=1; Expires=Fri, 20 Nov 2026 12:00:00 GMT",
      "b=2",
      change.setCookie,
    ])
    expect(response.headers.get("vary")).toBe("Accept, Cookie")
  })

  it("CCH-01: public directives go, and it is told once", async () => {
    const make = (): Response =>
      new Response("body", { headers: { "Cache-Control": "public, max-age=9", "Surrogate-Control": "max-age=9" } })
    for (let i = 0; i < 2; i++) {
      const response = await through(make, keeping({ setCookie: null }))
      expect([response.headers.get("cache-control"), response.headers.get("surrogate-control")]).toEqual([
        "max-age=9, private",
        null,
      ])
    }
    expect(warnings).toHaveLength(2)
  })

  it("a body streams on after the headers, and the session is committed by then", async () => {
    let push = (_text: string): void => undefined
    let request = get()
    const response = await adapter((own) => {
      request = own
      exchangeFor(own).attach(keeping(change))
      const body = new ReadableStream<string>({
        start(controller) {
          push = (text) => controller.enqueue(text)
        },
      })
      return new Response(body.pipeThrough(new TextEncoderStream()))
    })(request)
    expect(response.headers.getSetCookie()).toEqual([change.setCookie])
    expect(exchangeFor(request).sent).toBe(true)
    exchangeFor(request).attach(failing(new Error("too late")))
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
    for (const text of ["one", "two"]) {
      push(text)
      expect(await reader.read()).toEqual({ done: false, value: text })
    }
    await reader.cancel()
  })

  it("a session that is opened while others are being kept is kept as well", async () => {
    const response = await adapter((request) => {
      const exchange = exchangeFor(request)
      exchange.attach({
        commit: async () => {
          exchange.attach(keeping({ setCookie: "two=2" }))
          return { setCookie: "one=1" }
        },
      })
      return new Response("body")
    })(get())
    expect(response.headers.getSetCookie()).toEqual(["one=1", "two=2"])
  })
})

describe("what goes wrong", () => {
  it("ERR-02, S14: a failed commit replaces the Response and lets go of its body", async () => {
    let cancelled = false
    const body = new ReadableStream({
      cancel() {
        cancelled = true
      },
    })
    const failure = new CoatcheckError("unavailable", "secret")
    const response = await through(() => new Response(body, { headers: { "X-Theirs": "1" } }), failing(failure))
    expect([response.status, response.headers.get("retry-after"), response.headers.get("x-theirs")]).toEqual([
      503,
      "2",
      null,
    ])
    expect(await response.json()).toMatchObject({ status: 503, type: "urn:coatcheck:error:unavailable" })
    expect([cancelled, errors]).toEqual([true, [failure]])
  })

  it("of two systems, the one that was kept still sets its cookie", async () => {
    const response = await adapter((request) => {
      exchangeFor(request).attach(keeping(change))
      exchangeFor(request).attach(failing(new CoatcheckError("conflict", "x")))
      return new Response("body")
    })(get())
    expect([response.status, response.headers.getSetCookie()]).toEqual([409, [change.setCookie]])
    expect(errors).toEqual([])
  })

  it("ERR-01: a handler that throws, rejects, or returns nothing of use is a plain 500", async () => {
    const used = new Response("body")
    await used.text()
    const handlers: readonly (() => Response | Promise<Response>)[] = [
      () => {
        throw new Error("secret")
      },
      () => Promise.reject(new Error("secret")),
      () => undefined as never,
      () => used,
      () => Response.error(),
    ]
    for (const handler of handlers) {
      const response = await through(handler)
      expect(await response.json()).toEqual({ type: "about:blank", title: "Internal Server Error", status: 500 })
      expect([response.status, response.headers.getSetCookie()]).toEqual([500, [change.setCookie]])
      expect(errors.splice(0)).toHaveLength(1)
    }
    expect((await adapter(() => undefined as never)(get())).status).toBe(500)
  })

  it("C12: a problem has no body for HEAD", async () => {
    const handle = adapter(() => Promise.reject(new CoatcheckError("unavailable", "x")))
    const response = await handle(new Request("http://app.test/", { method: "HEAD" }))
    expect([response.status, response.body, response.headers.get("retry-after")]).toEqual([503, null, "2"])
  })

  const wrong: readonly FetchAdapterOptions[] = [
    { secure: true as never },
    { guard: { origins: ["*"] } },
    { onError: 1 as never },
    { warn: "warn" as never },
  ]
  it.each(wrong)("P4: refuses %j when it is created", (options) => {
    expect(() => fetchAdapter({ cookieNames: [] }, options)).toThrow(TypeError)
  })
})

describe("unsafe requests", () => {
  const post = (headers: Record<string, string>, url = "http://app.test/"): Request =>
    new Request(url, { method: "POST", headers })

  it("CSR-01, CSR-04: are guarded, and their replies vary on it, whatever kind of Response it is", async () => {
    const redirect = adapter(() => Response.redirect("http://app.test/", 302))
    const passed = await redirect(post({ "Sec-Fetch-Site": "same-origin" }))
    expect([passed.status, passed.headers.get("vary"), passed.headers.get("cache-control")]).toEqual([
      302,
      "Sec-Fetch-Site, Origin",
      null,
    ])
    const refused = await redirect(post({ "Sec-Fetch-Site": "cross-site" }))
    expect([refused.status, refused.headers.get("vary")]).toEqual([403, "Sec-Fetch-Site, Origin"])
  })

  it("CSR-02: the own origin is that of the URL, where there is no Host", async () => {
    const handle = adapter(() => new Response("body"))
    expect((await handle(post({ Origin: "http://app.test" }))).status).toBe(200)
    expect((await handle(post({ Origin: "http://evil.test" }))).status).toBe(403)
    expect((await handle(post({ Origin: "https://app.test" }, "https://app.test/"))).status).toBe(200)
    expect((await handle(post({ Origin: "http://app.test", Host: "other.test" }))).status).toBe(403)
  })
})

describe("sessions on it", () => {
  it("opened twice it is the same session; two systems share a request, through one adapter or two", async () => {
    const sessions = createSessions<{ count: number }>({ store: memoryStore() })
    const more = createSessions({ store: memoryStore(), cookie: { name: "more" } })
    const handler = async (request: Request): Promise<Response> => {
      const session = await sessions.open(request)
      session.data.count = (session.data.count ?? 0) + 1
      ;(await more.open(request)).data.seen = true
      return new Response(`${(await sessions.open(request)) === session} ${session.data.count}`)
    }
    const [one, two] = [fetchAdapter(sessions), fetchAdapter(more)]
    for (const handle of [one(handler), one(two(handler)), two(one(handler))]) {
      const created = await handle(get())
      const cookies = created.headers.getSetCookie().map((field) => field.slice(0, field.indexOf(";")))
      expect(cookies.map((cookie) => cookie.replace(/=.*/, "")).toSorted()).toEqual(["more", "session"])
      const next = await handle(get("/", { cookie: cookies.join("; ") }))
      expect([await created.text(), await next.text(), next.headers.getSetCookie()]).toEqual(["true 1", "true 2", []])
      expect([next.headers.get("vary"), next.headers.get("cache-control")]).toEqual(["Cookie", "private"])
    }
  })

  it("CKI-01: over HTTPS the cookie is prefixed and Secure, by the URL or by what the application says", async () => {
    const sessions = createSessions<{ count: number }>({ store: memoryStore() })
    const handler = async (request: Request): Promise<Response> => {
      ;(await sessions.open(request)).data.count = 1
      return new Response("body")
    }
    const name = async (handle: (request: Request) => Promise<Response>, url: string): Promise<string | undefined> =>
      (await handle(new Request(url))).headers.getSetCookie()[0]?.split("=")[0]
    expect(await name(fetchAdapter(sessions)(handler), "https://app.test/")).toBe("__Host-Http-session")
    expect(await name(fetchAdapter(sessions)(handler), "http://app.test/")).toBe("session")
    expect(await name(fetchAdapter(sessions, { secure: () => true })(handler), "http://app.test/")).toBe(
      "__Host-Http-session",
    )
  })
})
