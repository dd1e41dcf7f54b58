// The values as their visitors see them: on one instance, and on two behind a hand that takes turns, as a load balancer does.

import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { memoryStore } from "coatcheck/memory"
import { openStore } from "coatcheck/open"
import { afterAll, describe, expect, it, onTestFinished } from "vitest"
import { storePlace } from "../examples/values/store-place.ts"
import { createValues } from "../examples/values/values.ts"
import { asBrowser, failingStore, heading, serveExample } from "./support/examples.ts"
import { call, type Visitor, visitor } from "./support/visitor.ts"

const folder = mkdtempSync(join(tmpdir(), "values-"))
afterAll(() => rmSync(folder, { recursive: true }))

async function values(store = memoryStore(), storeUrl = "memory:") {
  const reports: string[] = []
  const url = await serveExample(createValues({ store, storeUrl, report: (line) => reports.push(line) }))
  return { url, port: new URL(url).port, store, reports }
}

const formType = { "content-type": "application/x-www-form-urlencoded" } as const
const form = (value: string) => ({ headers: formType, body: new URLSearchParams({ value }).toString() })

/** What the page says; null: no value. */
async function shown(one: Visitor, url: string): Promise<string | null> {
  const text = heading((await one.get(`${url}/`)).body)
  if (text === "No session value set.") return null
  return /^Session Value = (.*)$/s.exec(text)?.[1] ?? "no such heading"
}

describe("values", () => {
  it("M1: shows that no value is set and who served it; sets, shows and unsets, by address and by form, and leads back by a 303", async () => {
    const { url, port } = await values()
    const one = visitor()
    const { status, body, setCookie } = await one.get(`${url}/`)
    expect([status, heading(body), setCookie]).toEqual([200, "No session value set.", []])
    expect(body).toContain(`Served from process at port: ${port}<`)
    for (const [method, set, unset, sending] of [
      ["GET", "/session/set/coat", "/session/unset/", {}],
      ["GET", "/session/set/coat", "/session/unset", {}],
      ["POST", "/session/set/coat", "/session/unset/", {}],
      ["POST", "/session/set", "/session/unset", form("coat")],
    ] as const) {
      const reply = await one.call(method, url + set, sending)
      expect([set, reply.status, reply.headers.location]).toEqual([set, 303, "/"])
      expect(await shown(one, url)).toBe("coat")
      expect(await shown(visitor(), url)).toBeNull()
      const gone = await one.call(method, url + unset)
      expect([gone.status, gone.headers.location, await shown(one, url)]).toEqual([303, "/", null])
    }
    expect((await call("GET", `${url}/session/unset/`)).setCookie).toEqual([])
  })

  it("M2: markup is shown as text, 0 is a value, an address is decoded exactly once", async () => {
    const { url } = await values()
    const one = visitor()
    for (const [path, text] of [
      ["%3Cscript%3Ealert(1)%3C%2Fscript%3E", "&lt;script&gt;alert(1)&lt;/script&gt;"],
      ["0", "0"],
      ["false", "false"],
      ["a%2Fb", "a/b"],
      ["a/b", "a/b"],
      ["a%252Fb", "a%2Fb"],
      ["%C3%BCn%C3%AF", "ünï"],
      ["a+b%20c", "a+b c"],
      ["__proto__", "__proto__"],
    ] as const) {
      expect((await one.get(`${url}/session/set/${path}`)).status).toBe(303)
      expect(await shown(one, url)).toBe(text)
    }
    await one.call("POST", `${url}/session/set`, form(`<script>alert("1")</script>`))
    expect(await shown(one, url)).toBe("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;")
    expect((await one.get(`${url}/`)).body).not.toContain("<script")
  })

  it("what is no value is a 400 that changes nothing", async () => {
    const { url } = await values()
    const one = visitor()
    await one.get(`${url}/session/set/coat`)
    for (const [method, path, sending] of [
      ["GET", "/session/set/", {}],
      ["GET", "/session/set/%zz", {}],
      ["GET", `/session/set/${"x".repeat(1_001)}`, {}],
      ["POST", "/session/set", {}],
      ["POST", "/session/set", form("")],
      ["POST", "/session/set", form("x".repeat(1_001))],
      ["POST", "/session/set", form("x".repeat(100_000))],
      ["POST", "/session/set", { headers: formType, body: "other=1" }],
    ] as const) {
      const reply = await one.call(method, url + path, sending)
      expect([method, path.slice(0, 30), reply.status]).toEqual([method, path.slice(0, 30), 400])
    }
    expect(await shown(one, url)).toBe("coat")
    await one.call("POST", `${url}/session/set`, form("x".repeat(1_000)))
    expect(await shown(one, url)).toHaveLength(1_000)
  })

  it("CSR-01: no other site sets or unsets a value, not by a form and not by a link to the address", async () => {
    const { url } = await values()
    const one = visitor()
    await one.get(`${url}/session/set/coat`, { headers: { "sec-fetch-site": "none" } })
    for (const headers of [
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { origin: "http://evil.test" },
      { referer: "http://evil.test/" },
    ]) {
      for (const [method, path] of [
        ["GET", "/session/set/evil"],
        ["GET", "/session/unset/"],
        ["POST", "/session/set/evil"],
        ["POST", "/session/unset"],
      ] as const) {
        const reply = await one.call(method, url + path, { headers })
        expect([reply.status, reply.setCookie]).toEqual([403, []])
      }
    }
    expect(await shown(one, url)).toBe("coat")
  })

  it("M3: of two instances with stores of their own the other one shows nothing, and says why in a sentence", async () => {
    const one = visitor()
    const pair = [await values(), await values()] as const
    await one.get(`${pair[0].url}/session/set/coat`)
    for (let turn = 0; turn < 6; turn++) {
      const { url, port } = pair[turn % 2 ? 1 : 0]
      const { body, setCookie } = await one.get(`${url}/`)
      expect([heading(body), setCookie]).toEqual([turn % 2 ? "No session value set." : "Session Value = coat", []])
      expect(body).toContain(`Served from process at port: ${port}<`)
      expect(body).toContain("behind a load balancer, a value that one instance has set is gone")
      expect(body.includes("brought a ticket that this process has no coat for")).toBe(turn % 2 === 1)
    }
  })

  it("M4: of two instances that share a store either shows the value whenever it is asked, and no warning is on the page", async () => {
    const one = visitor()
    const address = `sqlite:${join(folder, "shared.db")}`
    const stores = [await openStore(address), await openStore(address)] as const
    onTestFinished(async () => void (await Promise.all(stores.map((store) => store.close()))))
    const pair = [
      await values(stores[0], "redis://user:hunter2@shared"),
      await values(stores[1], "redis://user:hunter2@shared"),
    ] as const
    for (let turn = 0; turn < 20; turn++) {
      const [here, there] = turn % 2 ? ([pair[0], pair[1]] as const) : ([pair[1], pair[0]] as const)
      await one.get(`${here.url}/session/set/coat-${turn}`)
      expect(await shown(one, there.url)).toBe(`coat-${turn}`)
    }
    const { body } = await one.get(`${pair[0].url}/`)
    expect(body).toContain("Every instance that is given the same address finds the value there")
    expect(body).not.toMatch(/is gone when|no coat for|hunter2/)
  })

  it("M3: which stores an instance has to itself is told from the URL, whatever else it holds", () => {
    const reach = (url: string) => storePlace(url).reach
    expect(["memory:", "file:./var/a", "sqlite:./a.db"].map(reach)).toEqual(["process", "machine", "machine"])
    for (const url of ["http://h:1", "HTTPS://h", "redis://u:p@h", "redis+cluster://a:1,b:2", "postgres://u:p@h/d"]) {
      expect([url, reach(url)]).toEqual([url, "all"])
      expect(storePlace(url).name).not.toMatch(/[:@]/)
    }
  })

  it("HEAD sets nothing; wrong methods are 405 with Allow, unknown addresses 404, for people and for programs", async () => {
    const { url, store } = await values()
    for (const [method, path, status, allow] of [
      ["POST", "/", 405, "GET, HEAD"],
      ["HEAD", "/session/set/coat", 405, "GET, POST"],
      ["PUT", "/session/set/coat", 405, "GET, POST"],
      ["GET", "/session/set", 405, "POST"],
      ["DELETE", "/session/unset", 405, "GET, POST"],
      ["POST", "/style.css", 405, "GET, HEAD"],
      ["GET", "/nowhere", 404, undefined],
    ] as const) {
      const person = await call(method, url + path, { headers: asBrowser })
      expect([path, person.status, person.headers.allow, person.setCookie]).toEqual([path, status, allow, []])
      if (method !== "HEAD") expect(person.body).toContain('<a class="button" href="/">')
      expect(person.headers["content-security-policy"]).toContain("default-src 'none'")
      const program = await call(method, url + path)
      expect([program.status, program.headers["content-type"]]).toEqual([status, "text/plain; charset=utf-8"])
    }
    const head = await call("HEAD", `${url}/`)
    expect([head.status, head.body]).toEqual([200, ""])
    expect((await store.list()).entries).toEqual([])
  })

  it("S14: with the store away every page is a 503 that a person can read, and the value is there when it is back", async () => {
    const { store, fault } = failingStore()
    const { url, reports } = await values(store)
    const one = visitor()
    await one.get(`${url}/session/set/coat`)
    fault.on = true
    for (const path of ["/", "/session/set/hat", "/session/unset/"]) {
      const reply = await one.get(url + path, { headers: asBrowser })
      expect([path, reply.status, reply.headers["retry-after"], reply.setCookie]).toEqual([path, 503, "2", []])
      expect(heading(reply.body)).toBe("The cloakroom is closed for a moment")
    }
    expect(reports).toHaveLength(3)
    fault.on = false
    expect(await shown(one, url)).toBe("coat")
  })
})
