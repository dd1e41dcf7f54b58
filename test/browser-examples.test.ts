// The two counters, the visits and the values in a real browser: the story of each as a person lives it, and pages that can be read and
// used by everybody. The counter has a file of its own.

import { memoryStore } from "coatcheck/memory"
import type { Browser, BrowserContext, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { listen, type Listening } from "../examples/shared/listen.ts"
import { readNeighbours, writeNeighbours } from "../examples/shared/neighbours.ts"
import { createTwoCounters } from "../examples/two-counters/two-counters.ts"
import { createValues } from "../examples/values/values.ts"
import { createVisits } from "../examples/visits/visits.ts"
import { faintTexts, launchBrowser } from "./support/browser.ts"
import { freePort } from "./support/processes.ts"

type Name = "two-counters" | "values" | "visits"

let browser: Browser
const addresses = new Map<Name, string>()
const served: Listening[] = []

beforeAll(async () => {
  browser = await launchBrowser()
  const store = memoryStore()
  const ports = [await freePort(), await freePort(), await freePort()] as const
  const names = ["two-counters", "values", "visits"] as const
  const neighbours = readNeighbours(writeNeighbours(names.map((name, n) => [name, ports[n] ?? 0] as const)))
  const report = (line: string) => console.error(line)
  const listeners = [
    await createTwoCounters({ store, report, neighbours }),
    createValues({ store, storeUrl: "memory:", report, neighbours }),
    createVisits({ store, report, neighbours }),
  ]
  for (const [n, name] of names.entries()) {
    const listener = listeners[n]
    if (listener) served.push(await listen(listener, "localhost", ports[n] ?? 0))
    addresses.set(name, `http://localhost:${ports[n]}/`)
  }
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await Promise.all(served.map((one) => one.close()))
})

/** Opens a page in a jar of its own, and notes all that the browser complains about. */
async function visit(name: Name) {
  const context = await browser.newContext({ reducedMotion: "reduce" })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on("console", (message) => complaints.push(message.text()))
  page.on("pageerror", (error) => complaints.push(error.message))
  page.on(
    "response",
    (response) => response.status() >= 400 && complaints.push(`${response.status()} ${response.url()}`),
  )
  await page.goto(addresses.get(name) ?? "")
  return { context, page, complaints }
}

const heading = (page: Page) => page.locator("h1").innerText()
const press = (page: Page, name: string) => page.getByRole("button", { name, exact: true }).click()

async function onlyCookie(context: BrowserContext, name: string) {
  const cookies = await context.cookies()
  expect(cookies.map(({ name: one, httpOnly, sameSite }) => [one, httpOnly, sameSite])).toEqual([[name, true, "Lax"]])
  return cookies[0]?.value
}

describe("in a browser", () => {
  it("B6: the buttons of the two counters work, one HttpOnly cookie is kept, and a reload repeats no press", async () => {
    const { context, page, complaints } = await visit("two-counters")
    const counts = async () => (await heading(page)).match(/\d+$/gm)?.map(Number)
    expect(await counts()).toEqual([1, 0])
    await page.getByRole("link", { name: "Refresh" }).click()
    expect(await counts()).toEqual([2, 0])
    await press(page, "Increment Counter 2")
    expect([page.url(), await counts()]).toEqual([addresses.get("two-counters"), [3, 1]])
    await page.reload()
    expect(await counts()).toEqual([4, 1])
    const before = await onlyCookie(context, "SID")
    expect(await page.evaluate("document.cookie")).toBe("")
    await press(page, "Reset")
    expect(await counts()).toEqual([1, 0])
    expect(await onlyCookie(context, "SID")).not.toBe(before)
    expect(complaints).toEqual([])
    await context.close()
  })

  it("M1 M2 M3: a value is set by the form and by the address bar, shown as text, unset, and missed where another instance has it", async () => {
    const { context, page, complaints } = await visit("values")
    const home = addresses.get("values") ?? ""
    expect(await heading(page)).toBe("No session value set.")
    await page.getByLabel("A value of your own").fill("<script>alert(1)</script>")
    await press(page, "Set")
    expect([page.url(), await heading(page)]).toEqual([home, "Session Value = <script>alert(1)</script>"])
    await page.goto(`${home}session/set/0`)
    expect([page.url(), await heading(page)]).toEqual([home, "Session Value = 0"])
    await onlyCookie(context, "values")
    await press(page, "Unset")
    expect(await heading(page)).toBe("No session value set.")
    await page.goto(`${home}session/set/coat`)
    await page.goto(`${home}session/unset/`)
    expect([page.url(), await heading(page)]).toEqual([home, "No session value set."])
    expect(await page.getByText("Served from process at port:").innerText()).toContain(new URL(home).port)
    // The id of a session that another instance has to itself.
    await context.addCookies([{ name: "values", value: "A".repeat(43), url: home }])
    await page.reload()
    expect(await page.locator(".problem").innerText()).toMatch(/no coat for\. .*behind a load balancer/)
    expect(complaints).toEqual([])
    await context.close()
  })

  it("L1 L2 L5 L6: a person is told that nobody is logged in, mistypes, logs in, visits and logs out", async () => {
    const { context, page, complaints } = await visit("visits")
    expect(await heading(page)).toBe("You are not logged in")
    expect(await context.cookies()).toEqual([])
    await page.getByRole("link", { name: "Log in" }).click()
    const before = await onlyCookie(context, "visits")
    await page.getByLabel("E-mail or name").fill("ada\u0001")
    await press(page, "Log in")
    expect(await page.getByLabel("E-mail or name").getAttribute("aria-invalid")).toBe("true")
    expect(await page.locator("#problem").innerText()).toContain("can’t be seen")
    expect(complaints.splice(0)).toHaveLength(2) // the 400, as the console and as the network tell it

    await page.getByLabel("E-mail or name").fill("ada@example.org")
    await press(page, "Log in")
    expect([page.url(), await heading(page)]).toEqual([addresses.get("visits"), "Visits: 1"])
    expect(await onlyCookie(context, "visits")).not.toBe(before)
    await page.getByRole("link", { name: "Visit again" }).click()
    await page.reload()
    expect(await heading(page)).toBe("Visits: 3")
    expect(await page.locator(".who").innerText()).toBe("Logged in as ada@example.org.")
    await press(page, "Log out")
    expect([page.url(), await heading(page)]).toEqual([addresses.get("visits"), "You are not logged in"])
    expect(await context.cookies()).toEqual([])
    expect(complaints).toEqual([])
    await context.close()
  })

  it("L9: a form that was open before a login elsewhere in the browser is refused by a page that leads to a fresh one", async () => {
    const { context, page } = await visit("visits")
    await page.goto(`${addresses.get("visits")}login`)
    const other = await context.newPage()
    await other.goto(`${addresses.get("visits")}login`)
    await other.getByLabel("E-mail or name").fill("ada")
    await press(other, "Log in")
    await page.getByLabel("E-mail or name").fill("eve")
    await press(page, "Log in")
    expect(await heading(page)).toBe("This form is out of date")
    await page.getByRole("link", { name: "To a fresh form" }).click()
    expect(await page.getByText("You are logged in as ada.").count()).toBe(1)
    await context.close()
  })

  it("L9: another site's link to the address logs nobody out, although the cookie comes along", async () => {
    const { context, page } = await visit("visits")
    await page.goto(`${addresses.get("visits")}login`)
    await page.getByLabel("E-mail or name").fill("grace")
    await press(page, "Log in")
    const logout = `${addresses.get("visits")}logout`
    const theirs = await context.newPage()
    // 127.0.0.1 is another site than localhost. A link is what SameSite=Lax lets the cookie travel with.
    await theirs.route("http://127.0.0.1/", (route) =>
      route.fulfill({ contentType: "text/html", body: `<a href="${logout}">a coat</a>` }),
    )
    await theirs.goto("http://127.0.0.1/")
    const [reply] = await Promise.all([theirs.waitForResponse(logout), theirs.getByRole("link").click()])
    expect(reply.status()).toBe(403)
    expect((await reply.request().allHeaders()).cookie).toContain("visits=")
    await page.reload()
    expect(await heading(page)).toBe("Visits: 2")
    await context.close()
  })

  it("P1: the links lead from each page to the others", async () => {
    const { context, page } = await visit("two-counters")
    for (const name of ["values", "visits", "two-counters"] as const) {
      await page.getByRole("navigation", { name: "Examples" }).getByRole("link", { name, exact: true }).click()
      await page.waitForURL(addresses.get(name) ?? "")
      expect(await page.locator("[aria-current]").innerText()).toBe(name)
    }
    await context.close()
  })

  it("every page can be read and used: contrast in light and dark, 320 pixels, no script", async () => {
    const { context, page } = await visit("two-counters")
    for (const [name, path] of [
      ["two-counters", ""],
      ["two-counters", "nowhere"],
      ["values", "session/set/coat"],
      ["visits", ""],
      ["visits", "login"],
    ] as const) {
      await page.setViewportSize({ width: 1180, height: 900 })
      await page.goto((addresses.get(name) ?? "") + path)
      for (const colorScheme of ["dark", "light"] as const) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" })
        expect([name, path, colorScheme, await page.evaluate(faintTexts)]).toEqual([name, path, colorScheme, []])
      }
      expect(await page.locator("script, [style]").count()).toBe(0)
      await page.setViewportSize({ width: 320, height: 640 })
      expect([name, path, await page.evaluate("document.documentElement.scrollWidth")]).toEqual([name, path, 320])
    }
    await context.close()
  })
})
