// Cases of the adapter suite: what a page costs, whose session it sees, and when its reply may leave.

import assert from "node:assert/strict"
import { type AdapterBench, adapterCase, sessionCookie } from "./adapter-case.ts"
import type { AdapterCase } from "./adapter-harness.ts"

const ID = /^[\w-]{43}$/

/** What a page costs, whose session it sees, when its reply leaves. */
export const sessionCases: readonly AdapterCase[] = [
  adapterCase(
    "S3, SES-16",
    "a page that opens no session costs nothing and is as the application made it",
    async (bench) => {
      const visitor = bench.visitor()
      await visitor.get("/count")
      bench.store.forget()
      for (const reply of [await bench.send({ path: "/plain" }), await visitor.get("/plain")]) {
        assert.equal(reply.body, "untouched")
        assert.deepEqual([...reply.all("set-cookie"), ...reply.all("vary"), ...reply.all("cache-control")], [])
      }
      assert.equal((await visitor.get("/theirs")).one("vary"), "Accept")
      assert.deepEqual(bench.store.calls, [])
    },
  ),

  adapterCase("C1, C8", "a visitor counts up, another one apart, and the cookie stays the same", async (bench) => {
    const [ada, bob] = [bench.visitor(), bench.visitor()]
    assert.equal((await ada.get("/count")).body, "Count: 1")
    const id = sessionCookie(ada)
    assert.match(id, ID)
    for (const count of [2, 3, 4]) {
      const reply = await ada.get("/count")
      assert.equal(reply.body, `Count: ${count}`)
      assert.deepEqual(reply.all("set-cookie"), [])
    }
    assert.equal((await bob.get("/count")).body, "Count: 1")
    assert.equal((await ada.get("/read")).body, "Count: 4")
    assert.equal(sessionCookie(ada), id)
    assert.notEqual(sessionCookie(bob), id)
  }),

  adapterCase("S4", "at most one read and one write a page, and none without need", async (bench) => {
    const { store } = bench
    const visitor = bench.visitor()
    await visitor.get("/open")
    assert.deepEqual(store.calls, [])
    await visitor.get("/count")
    assert.deepEqual(store.calls, ["set"])
    store.forget()
    await visitor.get("/read")
    assert.deepEqual(store.calls, ["get"])
    store.forget()
    await visitor.get("/count")
    assert.deepEqual(store.calls, ["get", "set"])
  }),

  adapterCase(
    "SES-16, S3",
    "a session that is looked at but stays empty leaves neither record nor cookie",
    async (bench) => {
      for (const path of ["/open", "/is-new", "/read", "/keys", "/has", "/handle", "/reset"]) {
        const reply = await bench.send({ path })
        assert.deepEqual(reply.all("set-cookie"), [])
      }
      assert.deepEqual(bench.store.calls, [])
      assert.deepEqual((await bench.store.list()).entries, [])
    },
  ),

  adapterCase("S9, SES-02", "an id that we did not issue never becomes a session", async (bench) => {
    for (const foreign of ["attacker", "A".repeat(43), "8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5yA0"]) {
      const headers = [["Cookie", `session=${foreign}`]] as const
      assert.deepEqual((await bench.send({ path: "/read", headers })).all("set-cookie"), [])
      const field = (await bench.send({ path: "/count", headers })).one("set-cookie") ?? ""
      const issued = /^session=([\w-]{43});/.exec(field)?.[1]
      assert.ok(issued !== undefined && issued !== foreign, "the reply sets an id of its own")
    }
    assert.equal((await bench.store.list()).entries.length, 3)
  }),

  adapterCase(
    "S10, CKI-11, PRS-06",
    "a malformed id is no id: no call of the store, a fresh session",
    async (bench) => {
      const malformed = [
        "",
        "?prefix=",
        "a/b",
        "../../x",
        "x".repeat(7_000),
        "j:{}",
        "[object Object]",
        "null",
        "undefined",
      ]
      for (const value of malformed) {
        const read = await bench.send({ path: "/is-new", headers: [["Cookie", `session=${value}`]] })
        assert.deepEqual([read.status, read.body], [200, "true"])
      }
      // No client of good manners sends these.
      for (const value of ["a b", '"quoted"', "a,b", "a\\b", "\u00fc", "\u0080", "\u007f", "\u0001"]) {
        const received = await bench.bytes(
          `GET /is-new HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: session=${value}\r\nConnection: close\r\n\r\n`,
        )
        assert.match(received, /^HTTP\/1\.1 (200 [^]*true|400 )/)
      }
      assert.deepEqual(bench.store.calls, [])
    },
  ),

  adapterCase("SES-17", "an id counts from its cookie alone, from nowhere else", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    const id = sessionCookie(visitor)
    const elsewhere = [
      { path: `/is-new?session=${id}&sid=${id}` },
      { path: `/is-new?session[]=${id}` },
      { path: "/is-new", headers: [["Session", id]] },
      { path: "/is-new", headers: [["Authorization", `Bearer ${id}`]] },
      { path: "/is-new", headers: [["X-Session", `session=${id}`]] },
      { path: "/is-new", headers: [["Set-Cookie", `session=${id}`]] },
      { path: "/is-new", headers: [["Cookie2", `session=${id}`]] },
      { method: "POST", path: "/is-new", headers: form, body: `session=${id}` },
    ] as const
    for (const request of elsewhere) assert.equal((await bench.send(request)).body, "true")
    assert.equal((await bench.send({ path: `/${id}` })).status, 404)
  }),

  adapterCase("S8", "a new id: the data stays, the old id is dead at once", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    const before = sessionCookie(visitor)
    await visitor.get("/regenerate")
    assert.notEqual(sessionCookie(visitor), before)
    assert.equal((await visitor.get("/read")).body, "Count: 2")
    const stale = await bench.send({ path: "/is-new", headers: [["Cookie", `session=${before}`]] })
    assert.equal(stale.body, "true")
  }),

  adapterCase("C10, SES-05", "ending a session: the record goes, then the cookie", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    const id = sessionCookie(visitor)
    const reply = await visitor.post("/reset")
    assert.deepEqual([reply.status, reply.one("location")], [303, "/"])
    assert.deepEqual(visitor.jar.cookies(), [])
    assert.deepEqual((await bench.store.list()).entries, [])
    assert.equal((await visitor.get("/count")).body, "Count: 1")
    assert.notEqual(sessionCookie(visitor), id)
  }),

  adapterCase("S11", "changes made at once by update are all there", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    const replies = await Promise.all(Array.from({ length: 20 }, () => visitor.get("/update")))
    assert.ok(replies.every(({ status }) => status === 200))
    assert.equal((await visitor.get("/read")).body, "Count: 21")
  }),

  adapterCase("C12", "HEAD gets the headers of GET and no body", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    const [get, head] = [await visitor.get("/read"), await visitor.send({ method: "HEAD", path: "/read" })]
    assert.deepEqual([head.status, head.body], [200, ""])
    for (const name of ["vary", "cache-control"]) assert.equal(head.one(name), get.one(name))
  }),

  adapterCase("REL-02", "headers leave after the write, so that a redirect can't overtake it", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    await followsRedirect(bench)
    const stopped = bench.store.stop("set")
    let arrived = false
    const redirect = visitor.get("/redirect").finally(() => {
      arrived = true
    })
    await stopped.arrived
    // Another reply comes and goes meanwhile: this one had all the time it needed.
    for (let i = 0; i < 3; i++) await bench.send({ path: "/plain" })
    assert.equal(arrived, false)
    stopped.release()
    const reply = await redirect
    assert.deepEqual([reply.status, reply.one("location")], [303, "/read"])
    assert.equal((await visitor.get("/read")).body, "Count: 2")
  }),
]

const form = [["Content-Type", "application/x-www-form-urlencoded"]] as const

async function followsRedirect(bench: AdapterBench): Promise<void> {
  const visitor = bench.visitor()
  for (let count = 1; count <= 20; count++) {
    const redirect = await visitor.get("/redirect")
    assert.equal((await visitor.get(redirect.one("location") ?? "")).body, `Count: ${count}`)
  }
}
