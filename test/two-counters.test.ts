// The two counters as their visitors see them, over a store that the test can look into; and as a program.

import type { Store } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { describe, expect, it } from "vitest"
import { createTwoCounters } from "../examples/two-counters/two-counters.ts"
import { asBrowser, failingStore, heading, serveExample } from "./support/examples.ts"
import { runSource, startSource } from "./support/processes.ts"
import { storeWith } from "./support/service.ts"
import { call, visitor } from "./support/visitor.ts"

async function twoCounters(store = memoryStore()) {
  const reports: string[] = []
  const url = await serveExample(await createTwoCounters({ store, report: (line) => reports.push(line) }))
  return { url, store, reports }
}

/** The two numbers on the page. */
function shown(body: string): readonly number[] {
  const [, first, second] = /Counter 1: (\d+)<\/span>\s*<span>Counter 2: (\d+)/.exec(heading(body)) ?? []
  return [Number(first), Number(second)]
}

describe("two counters", () => {
  it("B1: each load adds one to counter 1; the button adds one to counter 2 and leads back by a 303; two jars count apart", async () => {
    const { url } = await twoCounters()
    const [one, two] = [visitor(), visitor()]
    expect(shown((await one.get(`${url}/`)).body)).toEqual([1, 0])
    expect(shown((await one.get(`${url}/`)).body)).toEqual([2, 0])
    const pressed = await one.call("POST", `${url}/increment`)
    expect([pressed.status, pressed.headers.location]).toEqual([303, "/"])
    expect(shown((await one.get(`${url}/`)).body)).toEqual([3, 1])
    expect(shown((await two.get(`${url}/`)).body)).toEqual([1, 0])
  })

  it("B2: increment as the very first request makes counter 2 one", async () => {
    const { url } = await twoCounters()
    const one = visitor()
    expect((await one.call("POST", `${url}/increment`)).status).toBe(303)
    expect(shown((await one.get(`${url}/`)).body)).toEqual([1, 1])
  })

  it("B3: reset ends the session and both begin again under a new id; without a session it is a 303 like any other", async () => {
    const { url, store } = await twoCounters()
    const one = visitor()
    await one.call("POST", `${url}/increment`)
    await one.get(`${url}/`)
    const before = await one.cookie(url, "SID")
    const reply = await one.call("POST", `${url}/reset`)
    expect([reply.status, reply.headers.location, await one.cookie(url, "SID")]).toEqual([303, "/", undefined])
    expect((await store.list()).entries).toEqual([])
    expect(shown((await one.get(`${url}/`)).body)).toEqual([1, 0])
    expect(await one.cookie(url, "SID")).not.toBe(before)
    expect((await call("POST", `${url}/reset`)).status).toBe(303)
  })

  it("B4: an unknown or deleted SID is a fresh session under another id", async () => {
    const { url, store } = await twoCounters()
    const unknown = "A".repeat(43)
    const first = await call("GET", `${url}/`, { headers: { cookie: `SID=${unknown}` } })
    expect([first.status, shown(first.body)]).toEqual([200, [1, 0]])
    expect(first.setCookie[0]).toMatch(/^SID=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax$/)
    expect(first.setCookie[0]).not.toContain(unknown)

    const one = visitor()
    await one.get(`${url}/`)
    await one.get(`${url}/`)
    for (const { key } of (await store.list()).entries) await store.delete(key)
    const again = await one.get(`${url}/`)
    expect([again.status, shown(again.body)]).toEqual([200, [1, 0]])
  })

  it("B5: the record holds both counts as numbers, and the page shows it", async () => {
    const { url, store } = await twoCounters()
    const one = visitor()
    await one.get(`${url}/`)
    const [entry] = (await store.list({ prefix: "session:" })).entries
    expect(JSON.parse(entry?.value ?? "")).toMatchObject({ data: { count1: 1, count2: 0 } })
    await one.call("POST", `${url}/increment`)
    const { body } = await one.get(`${url}/`)
    const { value = "" } = (await store.get(entry?.key ?? "")) ?? {}
    expect(JSON.parse(value)).toMatchObject({ data: { count1: 2, count2: 1 } })
    expect(body).toContain(`<code class="value">${entry?.key}</code>`)
    expect(body).toMatch(/<mark>\s+&quot;count2&quot;: 1<\/mark>/)
  })

  it("S11: fifty presses and fifty loads of one session at once are exactly fifty of each", async () => {
    // All hundred have read the same record before the first of them goes on.
    const base = memoryStore()
    let readers = 0
    let goOn = () => {}
    const allHaveRead = new Promise<void>((resolve) => (goOn = resolve))
    const get: Store["get"] = async (key) => {
      const entry = await base.get(key)
      if (readers > 0) {
        readers -= 1
        if (readers === 0) goOn()
        await allHaveRead
      }
      return entry
    }
    const { url } = await twoCounters(storeWith({ get }, base))
    const one = visitor()
    await one.get(`${url}/`)
    readers = 100
    const replies = await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        n % 2 ? one.get(`${url}/`) : one.call("POST", `${url}/increment`, { body: "x=1" }),
      ),
    )
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200, 303]))
    expect(shown((await one.get(`${url}/`)).body)).toEqual([52, 50])
  })

  it("CSR-01: other sites can press neither button", async () => {
    const { url } = await twoCounters()
    const one = visitor()
    await one.get(`${url}/`)
    for (const path of ["/increment", "/reset"]) {
      const reply = await one.call("POST", url + path, { headers: { "sec-fetch-site": "cross-site" } })
      expect([reply.status, reply.setCookie]).toEqual([403, []])
    }
    expect(shown((await one.get(`${url}/`)).body)).toEqual([2, 0])
  })

  it("HEAD does not count; wrong methods are 405 with Allow, unknown and broken addresses 404 and 400, for people and for programs", async () => {
    const { url, store } = await twoCounters()
    expect((await call("HEAD", `${url}/`)).status).toBe(200)
    for (const [method, path, status, allow] of [
      ["GET", "/increment", 405, "POST"],
      ["GET", "/reset", 405, "POST"],
      ["PUT", "/", 405, "GET, HEAD"],
      ["POST", "/style.css", 405, "GET, HEAD"],
      ["GET", "/nowhere", 404, undefined],
      ["GET", "/%zz", 400, undefined],
    ] as const) {
      const person = await call(method, url + path, { headers: asBrowser })
      expect([person.status, person.headers.allow, person.setCookie]).toEqual([status, allow, []])
      expect(person.body).toContain('<a class="button" href="/">')
      expect(person.headers["content-security-policy"]).toContain("default-src 'none'")
      const program = await call(method, url + path)
      expect([program.status, program.headers["content-type"]]).toEqual([status, "text/plain; charset=utf-8"])
      expect(program.body.split("\n")).toHaveLength(3)
    }
    expect((await store.list()).entries).toEqual([])
  })

  it("S14: with the store away a person gets a page and a program two lines, and the session goes on when it is back", async () => {
    const { store, fault } = failingStore()
    const { url, reports } = await twoCounters(store)
    const one = visitor()
    await one.get(`${url}/`)
    fault.on = true
    for (const [method, path] of [
      ["GET", "/"],
      ["POST", "/increment"],
      ["POST", "/reset"],
    ] as const) {
      const person = await one.call(method, url + path, { headers: asBrowser })
      expect([person.status, person.headers["retry-after"], person.setCookie]).toEqual([503, "2", []])
      expect(heading(person.body)).toBe("The cloakroom is closed for a moment")
      expect((await one.call(method, url + path)).body).toMatch(/^The cloakroom is closed.*\n.*try again.*\n$/)
    }
    expect(reports).toHaveLength(6)
    fault.on = false
    expect(shown((await one.get(`${url}/`)).body)).toEqual([2, 0])
  })
})

describe("the programs of the examples", () => {
  const programs = [
    ["two-counters", "--port", "PORT", "5010"],
    ["values", "--app-port", "APP_PORT", "5020"],
    ["visits", "--port", "PORT", "5030"],
  ] as const

  it.each(programs)(
    "P2 P4: %s tells its options, says in a line what is wrong, serves, and ends quietly",
    async (name, option, variable, port) => {
      const file = `examples/${name}/server.ts`
      const env = { STORE_URL: "memory:" }
      const program = startSource(file, [], { env: { ...env, [variable]: "0" } })
      const [help, bad, unknown] = await Promise.all([
        runSource(file, ["--help"]),
        runSource(file, [], { env: { ...env, [variable]: "five" } }),
        runSource(file, ["--prot", "1"]),
      ])
      expect(help.code).toBe(0)
      for (const word of [option, variable, port, "STORE_URL"]) expect(help.stdout).toContain(word)
      expect(bad).toMatchObject({
        code: 2,
        stderr: `${name}: ${variable} (environment) must be a number from 0 to 65535\n`,
      })
      expect(unknown).toMatchObject({ code: 2, stderr: `${name}: Unknown option '--prot'; --help lists the options\n` })

      const [, taken = ""] = await program.says(/the memory store; the page is ready at http:\/\/localhost:(\d+)/)
      const second = await runSource(file, [option, taken], { env })
      expect(second.code).toBe(1)
      expect(second.stderr).toContain(
        `${name}: port ${taken} is already in use; choose another with ${option} or ${variable}`,
      )
      expect((await call("GET", `http://127.0.0.1:${taken}/`)).status).toBe(200)
      const ending = await program.stop("SIGINT")
      expect([ending.code, ending.stdout.split("\n").slice(1)]).toEqual([0, ["GET / 200", "stopped", ""]])
    },
  )
})
