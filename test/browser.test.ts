// The counter in a real browser: what a person sees, what the browser keeps, and what another site can't do.

import { mkdtempSync, rmSync, statSync } from "node:fs"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Browser, BrowserContext, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { faintTexts, launchBrowser } from "./support/browser.ts"
import { command, runSource, startCounter, startService } from "./support/processes.ts"

const folder = mkdtempSync(join(tmpdir(), "browser-"))
const secret = "Qk3rW9_hT5mZx8LbV2cN7pYs4Dg6JfAe1RuKiOoSwXq"

let browser: Browser
let service: Awaited<ReturnType<typeof startService>>
let counters: Record<"store" | "cookie", Awaited<ReturnType<typeof startCounter>>>

beforeAll(async () => {
  const [started, kv] = await Promise.all([launchBrowser(), startService()])
  browser = started
  service = kv
  const [store, cookie] = await Promise.all([
    startCounter({ KV_URL: `http://localhost:${kv.port}` }),
    startCounter({ USE_SESSION_STORE: "false", SECRET_KEY: secret }),
  ])
  counters = { store, cookie }
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await Promise.all([service, counters?.store, counters?.cookie].map((one) => one?.stop()))
  rmSync(folder, { recursive: true })
})

const modes = ["store", "cookie"] as const
type Mode = (typeof modes)[number]

/** By the name that the browser's owner would type. */
const address = (mode: Mode) => `http://localhost:${new URL(counters[mode].url).port}/`

/** Opens a page in a jar of its own, and notes all that the browser complains about. */
async function visit(mode: Mode, options: Parameters<Browser["newContext"]>[0] = {}) {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  const complaints: string[] = []
  page.on("console", (message) => complaints.push(message.text()))
  page.on("pageerror", (error) => complaints.push(error.message))
  page.on("requestfailed", (request) => {
    const why = request.failure()?.errorText ?? ""
    // Who goes on to the next page before the icon is there does not want it any more.
    if (why !== "net::ERR_ABORTED") complaints.push(`${request.url()}: ${why}`)
  })
  page.on(
    "response",
    (response) => response.status() >= 400 && complaints.push(`${response.status()} ${response.url()}`),
  )
  await page.goto(address(mode))
  return { context, page, complaints }
}

async function count(page: Page): Promise<number> {
  return Number((await page.locator("h1").innerText()).replace("Count: ", ""))
}

function keyOn(page: Page): Promise<string> {
  return page.locator("dt:has-text('Key') + dd").first().innerText()
}

async function sessionCookie(context: BrowserContext) {
  const cookies = await context.cookies()
  expect(cookies.map(({ name }) => name)).toEqual(["session"])
  return cookies[0]!
}

describe.each(modes)("in a browser, with the data in the %s", (mode) => {
  it("C1 C2 B6: two browsers count apart, the buttons work, one HttpOnly cookie, and nothing to complain about", async () => {
    const one = await visit(mode)
    const two = await visit(mode)
    expect([await count(one.page), await count(two.page)]).toEqual([1, 1])
    await one.page.getByRole("link", { name: "Count again" }).click()
    expect(await count(one.page)).toBe(2)
    await one.page.reload()
    expect([await count(one.page), await count(two.page)]).toEqual([3, 1])

    const { httpOnly, sameSite, path, secure, expires } = await sessionCookie(one.context)
    expect({ httpOnly, sameSite, path, secure, expires }).toEqual({
      httpOnly: true,
      sameSite: "Lax",
      path: "/",
      secure: false,
      expires: -1,
    })
    expect(await one.page.evaluate("document.cookie")).toBe("")
    expect([...one.complaints, ...two.complaints]).toEqual([])
    await Promise.all([one.context.close(), two.context.close()])
  })

  it("C10 B6: Reset starts again, and reloading after it repeats the load, not the reset", async () => {
    const { context, page, complaints } = await visit(mode)
    await page.reload()
    const before = await sessionCookie(context)
    await page.getByRole("button", { name: "Reset" }).click()
    expect(page.url()).toBe(address(mode))
    expect(await count(page)).toBe(1)
    expect((await sessionCookie(context)).value).not.toBe(before.value)
    await page.reload()
    expect(await count(page)).toBe(2)
    expect(complaints).toEqual([])
    await context.close()
  })

  it("the page needs no script", async () => {
    const { context, page } = await visit(mode, { javaScriptEnabled: false })
    await page.getByRole("link", { name: "Count again" }).click()
    expect(await count(page)).toBe(2)
    await page.getByRole("button", { name: "Reset" }).click()
    expect(await count(page)).toBe(1)
    await context.close()
  })

  it("the page can be read and used: contrast, keyboard, 320 pixels, both colour schemes", async () => {
    for (const colorScheme of ["light", "dark"] as const) {
      const { context, page } = await visit(mode, {
        colorScheme,
        viewport: { width: 1180, height: 900 },
        reducedMotion: "reduce",
      })
      expect(await page.evaluate(faintTexts)).toEqual([])
      await page.screenshot({ path: join(folder, `${mode}-${colorScheme}.png`), fullPage: true })
      expect(statSync(join(folder, `${mode}-${colorScheme}.png`)).size).toBeGreaterThan(20_000)
      await page.setViewportSize({ width: 320, height: 640 })
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(320)
      await page.screenshot({ path: join(folder, `${mode}-${colorScheme}-narrow.png`), fullPage: true })
      for (const name of ["Count again", "Reset"]) {
        await page.keyboard.press("Tab")
        expect(await page.evaluate("document.activeElement.textContent")).toBe(name)
        expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid")
      }
      await context.close()
    }
  })
})

describe("in a browser, with the data in the cookie", () => {
  it("C3: the cookie is another one on each load, and whoever holds it can read the count in it", async () => {
    const { context, page } = await visit("cookie")
    const values = new Set<string>()
    for (let load = 1; load <= 12; load++) {
      if (load > 1) await page.reload()
      const { value } = await sessionCookie(context)
      values.add(value)
      const record = JSON.parse(Buffer.from(value.split(".")[0]!, "base64url").toString()) as {
        data: { count: number }
      }
      expect(record.data.count).toBe(load)
      expect(await page.locator("pre mark").innerText()).toContain(`"count": ${load}`)
    }
    expect(values.size).toBe(12)
    await context.close()
  })
})

describe("in a browser, with the data in the store", () => {
  it("C8: over 12 loads the id stays the same, and holds no data", async () => {
    const { context, page } = await visit("store")
    const { value } = await sessionCookie(context)
    for (let load = 2; load <= 12; load++) await page.reload()
    expect(await count(page)).toBe(12)
    expect((await sessionCookie(context)).value).toBe(value)
    expect(value).toMatch(/^[\w-]{43}$/)
    expect(Buffer.from(value, "base64url").toString("latin1")).not.toContain("count")
    await context.close()
  })

  it("C9: the address on the page, typed into the browser, shows the record with the count that the page shows", async () => {
    const { context, page } = await visit("store")
    await page.reload()
    const key = await keyOn(page)
    const command = await page.locator(".look code").first().innerText()
    await page.goto(command.replace(/^curl /, ""))
    expect(page.url()).toBe(`http://localhost:${service.port}/${encodeURIComponent(key)}`)
    const record = JSON.parse(await page.locator("body").innerText()) as Record<string, unknown>
    expect(record[key]).toMatchObject({ data: { count: 2 } })
    await context.close()
  })

  it("D6: dump lists the sessions of both browsers, with their counts", async () => {
    const one = await visit("store")
    const two = await visit("store")
    for (let load = 0; load < 3; load++) await one.page.reload()
    for (let load = 0; load < 5; load++) await two.page.reload()
    const { stdout } = await runSource(command, ["dump", "--prefix", "session:", service.url])
    const lines = stdout.split("\n")
    for (const { page } of [one, two]) {
      const key = await keyOn(page)
      const line = lines.filter((text) => text.includes(key))
      expect(line).toHaveLength(1)
      expect(line[0]).toContain(`{'count': ${await count(page)}}`)
    }
    await Promise.all([one.context.close(), two.context.close()])
  })
})

describe("another site", () => {
  let elsewhere: Server
  let port = 0

  /** A page that tries everything a page can do to another site: a form, fetches, a picture, a frame. */
  const hostile = (target: string) => `<!doctype html><title>elsewhere</title>
<form method="post" action="${target}reset"><button>Win a coat</button></form>
<img src="${target}" alt=""><iframe src="${target}"></iframe>
<script>
  const attempts = [
    fetch("${target}reset", { method: "POST", mode: "no-cors", credentials: "include" }),
    fetch("${target}reset", { method: "POST", mode: "cors", credentials: "include" }),
    fetch("${target}", { mode: "no-cors", credentials: "include" }),
  ]
  Promise.allSettled(attempts).then(() => { document.title = "done" })
</script>`

  /** How many resets the counter has done. */
  const resets = (mode: Mode) => counters[mode].said().split("POST /reset 303").length

  beforeAll(async () => {
    elsewhere = createServer((request, response) => {
      const mode = request.url === "/cookie" ? "cookie" : "store"
      response.setHeader("content-type", "text/html")
      response.end(hostile(address(mode)))
    })
    await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", resolve))
    port = (elsewhere.address() as AddressInfo).port
  })

  afterAll(async () => {
    elsewhere.closeAllConnections()
    await new Promise((resolve) => elsewhere.close(resolve))
  })

  // 127.0.0.1 and localhost are two sites; localhost under another port is the same site, but another origin.
  it.each(["127.0.0.1", "localhost"])(
    "CSR-01: a page of http://%s on another port can't reset anybody's counter",
    async (host) => {
      for (const mode of modes) {
        const context = await browser.newContext()
        const mine = await context.newPage()
        await mine.goto(address(mode))
        await mine.reload()
        const before = await sessionCookie(context)
        const done = resets(mode)

        const theirs = await context.newPage()
        const refused: number[] = []
        theirs.on("response", (reply) => reply.request().method() === "POST" && refused.push(reply.status()))
        await theirs.goto(`http://${host}:${port}/${mode}`)
        await theirs.waitForFunction("document.title === 'done'")
        const [reply] = await Promise.all([
          theirs.waitForResponse((one) => one.request().isNavigationRequest() && one.url().endsWith("/reset")),
          theirs.getByRole("button").click(),
        ])
        expect(reply.status()).toBe(403)
        expect(new Set(refused)).toEqual(new Set([403]))
        expect(resets(mode)).toBe(done)

        // Its picture and frame may have loaded the page as the same site does, but nobody has ended the session.
        await mine.reload()
        expect(await count(mine)).toBeGreaterThanOrEqual(3)
        if (mode === "store") expect((await sessionCookie(context)).value).toBe(before.value)
        await context.close()
      }
    },
  )
})
