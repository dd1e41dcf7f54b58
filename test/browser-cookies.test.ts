// What Chromium really does with cookies: the facts that our cookie rules rest on. When a browser changes its mind, this says so.

import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { type CookieOptions, createSessions } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { nodeAdapter } from "coatcheck/node"
import type { Browser } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { launchBrowser } from "./support/browser.ts"

let browser: Browser
const servers: Server[] = []

beforeAll(async () => {
  browser = await launchBrowser()
}, 60_000)

afterAll(async () => {
  await browser?.close()
  for (const server of servers) server.closeAllConnections()
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
})

async function serve(listener: Parameters<typeof createServer>[1]): Promise<string> {
  const server = createServer(listener as never)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  // Browsers treat localhost as a secure origin, so that Secure cookies and their prefixes work there over plain HTTP.
  return `http://localhost:${(server.address() as AddressInfo).port}/`
}

/** The cookies that a fresh browser holds after a reply with these Set-Cookie fields. */
async function kept(fields: readonly string[], script = "") {
  const url = await serve((_, response) => {
    response.setHeader("content-type", "text/html")
    response.setHeader("set-cookie", fields)
    response.end("<!doctype html><title>x</title>")
  })
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(url)
  if (script) await page.evaluate(script)
  const visible = await page.evaluate<string>("document.cookie")
  const cookies = await context.cookies()
  await context.close()
  return { names: cookies.map(({ name }) => name).toSorted(), cookies, visible }
}

describe("cookies in Chromium", () => {
  it("CKI-02: a __Host-Http- cookie must be HttpOnly, and no script can see it or make one", async () => {
    const fence = "; Path=/; Secure"
    const { names, visible } = await kept(
      [`__Host-Http-good=1${fence}; HttpOnly`, `__Host-Http-open=1${fence}`, `__Host-plain=1${fence}`],
      `document.cookie = "__Host-Http-forged=1${fence}"; document.cookie = "__Host-forged=1${fence}"`,
    )
    // A plain __Host- cookie can be made by a script: the reason for the longer name.
    expect(names).toEqual(["__Host-Http-good", "__Host-forged", "__Host-plain"])
    expect(visible).not.toContain("Http")
  })

  it("CKI-03: a prefix whose promise is broken loses the cookie, in whatever case it is written", async () => {
    const { names } = await kept([
      "__Host-a=1; Path=/; HttpOnly",
      "__host-b=1; Path=/; HttpOnly",
      "__Host-c=1; Path=/deep; Secure; HttpOnly",
      "__Host-d=1; Path=/; Domain=localhost; Secure; HttpOnly",
      "__SECURE-e=1; Path=/; HttpOnly",
      "__Host-kept=1; Path=/; Secure; HttpOnly",
    ])
    expect(names).toEqual(["__Host-kept"])
  })

  it("CKI-07: 4,096 bytes of name and value are kept, one more is dropped without a word", async () => {
    const { names } = await kept([`fits=${"x".repeat(4_092)}; Path=/`, `over=${"x".repeat(4_093)}; Path=/`])
    expect(names).toEqual(["fits"])
  })

  it("CKI-08: a longer Max-Age than 400 days is cut to 400 days", async () => {
    const { cookies } = await kept(["long=1; Path=/; Max-Age=99999999"])
    const days = (cookies[0]!.expires - Date.now() / 1_000) / 86_400
    expect(days).toBeGreaterThan(399.9)
    expect(days).toBeLessThan(400.1)
  })

  it("CKI-14: SameSite=None without Secure is dropped", async () => {
    expect((await kept(["none=1; Path=/; SameSite=None", "both=1; Path=/; SameSite=None; Secure"])).names).toEqual([
      "both",
    ])
  })
})

describe("our cookies in Chromium", () => {
  const settings: [string, CookieOptions, { https: boolean; name: string }][] = [
    ["by default on HTTP", {}, { https: false, name: "session" }],
    ["by default on HTTPS", {}, { https: true, name: "__Host-Http-session" }],
    ["with a name and a path", { name: "sid", path: "/" }, { https: false, name: "sid" }],
    ["with a domain", { name: "sid", domain: "localhost" }, { https: false, name: "sid" }],
    ["SameSite=Strict", { sameSite: "strict" }, { https: true, name: "__Host-Http-session" }],
    ["SameSite=None", { sameSite: "none", secure: true }, { https: true, name: "__Host-Http-session" }],
    [
      "partitioned",
      { partitioned: true, secure: true, sameSite: "none" },
      { https: true, name: "__Host-Http-session" },
    ],
    ["persistent", { persistent: true }, { https: true, name: "__Host-Http-session" }],
  ]

  it.each(settings)(
    "CKI-01 CKI-12: are kept and led back, and removed by the end of the session: %s",
    async (_, cookie, { https, name }) => {
      const sessions = createSessions<{ n: number }>({ store: memoryStore(), cookie })
      const handle = nodeAdapter(sessions, { trustProxies: ["127.0.0.1"] })
      const url = await serve(
        handle(async (request, response) => {
          if (request.url === "/favicon.ico") return void response.writeHead(404).end()
          response.setHeader("content-type", "text/html")
          const session = await sessions.open(request)
          if (request.url === "/end") await session.destroy()
          else session.data.n = (session.data.n ?? 0) + 1
          response.end(request.url === "/end" ? "ended" : String(session.data.n))
        }),
      )
      const context = await browser.newContext(https ? { extraHTTPHeaders: { "x-forwarded-proto": "https" } } : {})
      const page = await context.newPage()
      await page.goto(url)
      await page.goto(url)
      expect(await page.locator("body").innerText()).toBe("2")
      const [held, ...more] = await context.cookies()
      expect(more).toEqual([])
      expect(held).toMatchObject({ name, httpOnly: true, secure: https, path: "/" })
      await page.goto(`${url}end`)
      expect(await context.cookies()).toEqual([])
      await page.goto(url)
      expect(await page.locator("body").innerText()).toBe("1")
      await context.close()
    },
  )
})
