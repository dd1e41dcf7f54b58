// The visits as people make them: signing in, counting, signing out; over stores that the test can look into, on a clock of its own.

import { setImmediate } from "node:timers/promises"
import { createSessions, type Store, updateEntry } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { fakeClock } from "coatcheck/testing"
import { describe, expect, it } from "vitest"
import { createVisits, type VisitsOptions, visitsKey } from "../examples/visits/visits.ts"
import { asBrowser, failingStore, heading, serveExample } from "./support/examples.ts"
import { storeWith } from "./support/service.ts"
import { call, type Reply, type Sending, type Visitor, visitor } from "./support/visitor.ts"

async function visits(options: Partial<VisitsOptions> = {}) {
  const { store = memoryStore() } = options
  const reports: string[] = []
  const url = await serveExample(createVisits({ report: (line) => reports.push(line), ...options, store }))
  return { url, store, reports }
}

const formType = { "content-type": "application/x-www-form-urlencoded" } as const

function form(fields: Readonly<Record<string, string>>): Sending {
  return { headers: formType, body: new URLSearchParams(fields).toString() }
}

async function tokenOf(one: Visitor, url: string): Promise<string> {
  const { body } = await one.get(`${url}/login`)
  return /name="csrf" value="([^"]+)"/.exec(body)?.[1] ?? ""
}

async function logIn(one: Visitor, url: string, username: string): Promise<Reply> {
  const csrf = await tokenOf(one, url)
  return one.call("POST", `${url}/login`, form({ csrf, username }))
}

/** The number on the page; null: nobody is logged in. */
function shown(body: string): number | null {
  if (heading(body) === "You are not logged in") return null
  return Number(/^Visits: (\d+)$/.exec(heading(body))?.[1] ?? Number.NaN)
}

const idCookie = (url: string, one: Visitor) => one.cookie(url, "visits")

describe("visits", () => {
  it("L1: who is not logged in is told so, gets no cookie, and is counted nowhere", async () => {
    const { url, store } = await visits()
    const { status, body, setCookie } = await call("GET", `${url}/`)
    expect([status, shown(body), setCookie]).toEqual([200, null, []])
    expect(body).toContain("You are not logged in")
    expect((await store.list()).entries).toEqual([])
  })

  it("L2: logging in leads to the first page by a 303 under a new id, which greets by name and counts 1, 2, 3", async () => {
    const { url } = await visits()
    const one = visitor()
    const csrf = await tokenOf(one, url)
    const before = await idCookie(url, one)
    const reply = await one.call("POST", `${url}/login`, form({ csrf, username: " Ada Lovelace " }))
    expect([reply.status, reply.headers.location]).toEqual([303, "/"])
    expect(await idCookie(url, one)).not.toBe(before)
    const old = await call("GET", `${url}/`, { headers: { cookie: `visits=${before}` } })
    expect(shown(old.body)).toBeNull()
    for (const count of [1, 2, 3]) {
      const { body } = await one.get(`${url}/`)
      expect(body).toContain("Logged in as Ada Lovelace.")
      expect(shown(body)).toBe(count)
    }
  })

  it("L3: the count ends at most 30 seconds after every visit, the first too", async () => {
    const clock = fakeClock()
    const { url, store } = await visits({ clock, store: memoryStore({ clock }) })
    const one = visitor()
    await logIn(one, url, "ada")
    for (const count of [1, 2, 3]) {
      expect(shown((await one.get(`${url}/`)).body)).toBe(count)
      const entry = await store.get(visitsKey("ada"))
      expect(entry).toMatchObject({ value: String(count), expiresAt: clock.now() + 30_000 })
      clock.advance(29_000)
    }
  })

  it("L4: 31 seconds after the last visit the count begins at 1, and the login is still there", async () => {
    const clock = fakeClock()
    const { url } = await visits({ clock, store: memoryStore({ clock }) })
    const one = visitor()
    await logIn(one, url, "ada")
    for (const count of [1, 2, 3]) {
      expect(shown((await one.get(`${url}/`)).body)).toBe(count)
      clock.advance(20_000)
    }
    clock.advance(11_000)
    expect(shown((await one.get(`${url}/`)).body)).toBe(1)
  })

  it("L5: logging out ends the login, by the button and by the address, and the count goes on at the next login", async () => {
    const { url, store } = await visits()
    const one = visitor()
    for (const [round, method] of ["POST", "GET"].entries()) {
      await logIn(one, url, "ada")
      expect(shown((await one.get(`${url}/`)).body)).toBe(round + 1)
      const id = await idCookie(url, one)
      const reply = await one.call(method, `${url}/logout`)
      expect([reply.status, reply.headers.location, await idCookie(url, one)]).toEqual([303, "/", undefined])
      const copied = await call("GET", `${url}/`, { headers: { cookie: `visits=${id}` } })
      expect(shown(copied.body)).toBeNull()
      expect((await store.list({ owner: "ada" })).entries).toEqual([])
    }
    expect((await call("GET", `${url}/logout`)).status).toBe(303)
  })

  it("L6: a missing, empty, unseen, doubled or enormous name is a 400 that logs nobody in and keeps the form", async () => {
    const { url, store } = await visits()
    const one = visitor()
    for (const field of [
      "",
      "&username=",
      "&username=+%20+",
      "&username=a&username=b",
      "&username=a%00b",
      "&username=a%0Ab",
      "&username=a%E2%80%AEb",
      `&username=${"x".repeat(101)}`,
      `&username=${"x".repeat(1_000_000)}`,
      `&username[toString]=x`,
    ]) {
      const csrf = await tokenOf(one, url)
      const body = `csrf=${csrf}${field}`
      const person = await one.call("POST", `${url}/login`, { headers: { ...formType, ...asBrowser }, body })
      expect([field.slice(0, 30), person.status]).toEqual([field.slice(0, 30), 400])
      const program = await one.call("POST", `${url}/login`, { headers: formType, body })
      expect([program.status, program.headers["content-type"]]).toEqual([400, "text/plain; charset=utf-8"])
      if (field.length < 1_000) expect(person.body).toContain('aria-invalid="true" aria-describedby="problem"')
    }
    expect(shown((await one.get(`${url}/`)).body)).toBeNull()
    expect((await store.list({ prefix: "visits:" })).entries).toEqual([])
    expect((await logIn(one, url, "x".repeat(100))).status).toBe(303)
  })

  it("L6: a name of markup is shown as text", async () => {
    const { url } = await visits()
    const one = visitor()
    await logIn(one, url, `<img src=x onerror="alert(1)">`)
    for (const path of ["/", "/login"]) {
      const { body } = await one.get(url + path)
      expect(body).toContain("ogged in as &lt;img src=x onerror=&quot;alert(1)&quot;&gt;.")
      expect(body).not.toContain("<img")
    }
  })

  it("L7: a name that equals the key of another record meets neither that record nor somebody else's count", async () => {
    const { url, store } = await visits()
    const [one, two] = [visitor(), visitor()]
    await logIn(one, url, "ada")
    await one.get(`${url}/`)
    const keys = (await store.list()).entries.map(({ key }) => key)
    expect(keys).toHaveLength(2)
    for (const name of [...keys, "visits:ada", "visits:", "session:", "__proto__"]) {
      await logIn(two, url, name)
      expect(shown((await two.get(`${url}/`)).body)).toBe(1)
    }
    expect(shown((await one.get(`${url}/`)).body)).toBe(2)
  })

  it("L8: a hundred visits at once, from two browsers on two instances of one store, are a hundred", async () => {
    const store = memoryStore()
    // Reads end a turn later, so that both instances read while the other one is about to write.
    const get: Store["get"] = async (key) => {
      const entry = await store.get(key)
      await setImmediate()
      return entry
    }
    const slow = () => storeWith({ get }, store)
    const [first, second] = [await visits({ store: slow() }), await visits({ store: slow() })]
    const jars = [visitor(), visitor()] as const
    await logIn(jars[0], first.url, "ada")
    await logIn(jars[1], second.url, "ada")
    const replies = await Promise.all(
      Array.from({ length: 100 }, (_, n) => (n % 2 ? jars[0].get(`${first.url}/`) : jars[1].get(`${second.url}/`))),
    )
    const counts = replies.map(({ body }) => shown(body) ?? 0).toSorted((a, b) => a - b)
    expect(counts).toEqual(Array.from({ length: 100 }, (_, n) => n + 1)) // each visit has a number of its own
    expect(await updateEntry<number>(store, visitsKey("ada"), (count = 0) => count)).toBe(100)
  })

  it("L9: a login without a token, with a made-up one, with another's or one from before a login is a 403 and logs nobody in", async () => {
    const { url } = await visits()
    const [one, two] = [visitor(), visitor()]
    const others = await tokenOf(two, url)
    const own = await tokenOf(one, url)
    for (const fields of [{}, { csrf: "" }, { csrf: "x".repeat(43) }, { csrf: others }]) {
      const reply = await one.call("POST", `${url}/login`, form({ ...fields, username: "ada" }))
      expect([reply.status, reply.body]).toEqual([403, expect.stringContaining("This form is out of date")])
    }
    expect(shown((await one.get(`${url}/`)).body)).toBeNull()
    expect((await one.call("POST", `${url}/login`, form({ csrf: own, username: "ada" }))).status).toBe(303)
    expect((await one.call("POST", `${url}/login`, form({ csrf: own, username: "eve" }))).status).toBe(403)
    expect((await one.get(`${url}/`)).body).toContain("Logged in as ada.")
  })

  it("L9 CSR-01: another site can log nobody in or out, not by a form and not by a link to the address", async () => {
    const { url } = await visits()
    const one = visitor()
    const csrf = await tokenOf(one, url)
    const foreign = { "sec-fetch-site": "cross-site" }
    const { body } = form({ csrf, username: "eve" })
    const login = await one.call("POST", `${url}/login`, { headers: { ...formType, ...foreign }, body: body ?? "" })
    expect([login.status, shown((await one.get(`${url}/`)).body)]).toEqual([403, null])
    await logIn(one, url, "ada")
    for (const [method, headers] of [
      ["POST", foreign],
      ["GET", foreign],
      ["GET", { "sec-fetch-site": "same-site" }],
      ["GET", { referer: "http://evil.test/" }],
    ] as const) {
      const reply = await one.call(method, `${url}/logout`, { headers })
      expect([reply.status, reply.setCookie]).toEqual([403, []])
    }
    expect(shown((await one.get(`${url}/`)).body)).toBe(1)
    expect((await one.call("GET", `${url}/logout`, { headers: { "sec-fetch-site": "none" } })).status).toBe(303)
    expect(shown((await one.get(`${url}/`)).body)).toBeNull()
  })

  it("L10: idleness ends the login, and visits in time keep it", async () => {
    const clock = fakeClock()
    const { url } = await visits({ clock, store: memoryStore({ clock }), idle: "30m" })
    const one = visitor()
    await logIn(one, url, "ada")
    for (let round = 0; round < 3; round++) {
      clock.advance(29 * 60_000)
      expect(shown((await one.get(`${url}/`)).body)).toBe(1)
    }
    clock.advance(31 * 60_000)
    expect(shown((await one.get(`${url}/`)).body)).toBeNull()
  })

  it("SES-09: ending all sessions of a name from outside logs it out here", async () => {
    const { url, store } = await visits()
    const one = visitor()
    await logIn(one, url, "ada")
    expect(await createSessions({ store }).revoke({ owner: "ada" })).toBe(1)
    expect(shown((await one.get(`${url}/`)).body)).toBeNull()
  })

  it("HEAD counts nothing; wrong methods are 405 with Allow, unknown addresses 404, for people and for programs", async () => {
    const { url, store } = await visits()
    const one = visitor()
    await logIn(one, url, "ada")
    expect((await one.call("HEAD", `${url}/`)).status).toBe(200)
    expect(await store.get(visitsKey("ada"))).toBeNull()
    for (const [method, path, status, allow] of [
      ["POST", "/", 405, "GET, HEAD"],
      ["PUT", "/login", 405, "GET, HEAD, POST"],
      ["HEAD", "/logout", 405, "GET, POST"],
      ["DELETE", "/logout", 405, "GET, POST"],
      ["POST", "/icon.svg", 405, "GET, HEAD"],
      ["GET", "/nowhere", 404, undefined],
      ["GET", "/toString", 404, undefined],
    ] as const) {
      const person = await one.call(method, url + path, { headers: asBrowser })
      expect([path, person.status, person.headers.allow]).toEqual([path, status, allow])
      if (method !== "HEAD") expect(person.body).toContain('<a class="button" href="/">')
      expect(person.headers["content-security-policy"]).toContain("default-src 'none'")
      const program = await one.call(method, url + path)
      expect([program.status, program.headers["content-type"]]).toEqual([status, "text/plain; charset=utf-8"])
    }
    expect(shown((await one.get(`${url}/`)).body)).toBe(1)
  })

  it("S14: with the store away every page is a 503 that a person can read, and the login is there when it is back", async () => {
    const { store, fault } = failingStore()
    const { url, reports } = await visits({ store })
    const one = visitor()
    await logIn(one, url, "ada")
    const csrf = await tokenOf(one, url)
    fault.on = true
    for (const [method, path, sending] of [
      ["GET", "/", {}],
      ["GET", "/login", {}],
      ["POST", "/login", form({ csrf, username: "eve" })],
      ["POST", "/logout", {}],
    ] as const) {
      const reply = await one.call(method, url + path, { ...sending, headers: { ...sending.headers, ...asBrowser } })
      expect([path, reply.status, reply.headers["retry-after"], reply.setCookie]).toEqual([path, 503, "2", []])
      expect(heading(reply.body)).toBe("The cloakroom is closed for a moment")
    }
    expect(reports).toHaveLength(4)
    fault.on = false
    expect((await one.get(`${url}/`)).body).toContain("Logged in as ada.")
  })
})
