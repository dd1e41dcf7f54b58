// Cases of the adapter suite: the store fails, a session does not fit, a handler throws. What leaves then is a problem of ours and
// nothing of the application's, and nobody counts as signed in, or out, because something could not be checked.

import assert from "node:assert/strict"
import { inspect } from "node:util"
import type { ErrorCode } from "../errors.ts"
import { adapterCase, isProblem, sessionCookie } from "./adapter-case.ts"
import type { ClientReply } from "./adapter-client.ts"
import type { AdapterCase } from "./adapter-harness.ts"

const outages: readonly ErrorCode[] = ["unavailable", "full", "corrupt", "denied", "closed"]

/** A 503 that says when to come back, and holds nothing of the application's page. */
function isOutage(reply: ClientReply): void {
  isProblem(reply, 503)
  assert.match(reply.one("retry-after") ?? "", /^[1-9]\d*$/)
  assert.doesNotMatch(reply.body, /trial store|ECONNREFUSED|internal|Count|\n|\.ts/)
  for (const name of ["set-cookie", "x-many", "x-page", "location", "etag", "link"])
    assert.deepEqual(reply.all(name), [])
}

/** The store fails, a session does not fit, a handler throws. */
export const failureCases: readonly AdapterCase[] = [
  adapterCase(
    "ERR-01, ERR-02, S14",
    "the store is down: 503 without a word of the application's, and it recovers by itself",
    async (bench) => {
      const visitor = bench.visitor()
      await visitor.get("/count")
      for (const code of outages) {
        for (const verbs of [[], ["get"], ["set"]] as const) {
          bench.store.failWith(code, ...verbs)
          isOutage(await visitor.get("/count"))
          isOutage(await visitor.get("/many-headers"))
          if (verbs[0] !== "set") isOutage(await visitor.get("/read"))
        }
        bench.store.failWith(null)
        assert.equal((await visitor.get("/read")).body, "Count: 1")
      }
    },
  ),

  adapterCase("ERR-02", "a new session that can't be kept is a 503 without a cookie", async (bench) => {
    bench.store.failWith("unavailable")
    for (const path of ["/count", "/redirect", "/stream", "/update"]) isOutage(await bench.send({ path }))
    assert.equal((await bench.send({ path: "/plain" })).body, "untouched")
  }),

  adapterCase("ERR-02, C12", "a HEAD of it has no body", async (bench) => {
    bench.store.failWith("unavailable")
    const reply = await bench.send({ method: "HEAD", path: "/count" })
    assert.deepEqual([reply.status, reply.body, reply.one("content-type")], [503, "", "application/problem+json"])
    assert.match(reply.one("retry-after") ?? "", /^\d+$/)
  }),

  adapterCase("ERR-02", "a write whose outcome nobody knows is no success", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    bench.store.failWith("unknown-outcome", "set", "get")
    isOutage(await bench.send({ path: "/count" }))
    bench.store.failWith(null)
    assert.equal((await visitor.get("/read")).body, "Count: 1")
  }),

  adapterCase(
    "SES-05",
    "signing out while the store is down is an error, and nobody is told to forget the cookie",
    async (bench) => {
      const visitor = bench.visitor()
      await visitor.get("/count")
      const id = sessionCookie(visitor)
      bench.store.failWith("unavailable", "delete")
      isOutage(await visitor.post("/reset"))
      assert.equal(sessionCookie(visitor), id)
      bench.store.failWith(null)
      assert.equal((await visitor.get("/read")).body, "Count: 1")
      assert.equal((await visitor.post("/reset")).status, 303)
      assert.deepEqual(visitor.jar.cookies(), [])
    },
  ),

  adapterCase(
    "C7, CKI-07",
    "what does not fit the cookie is a clear error before the reply, and the session is as it was",
    async (bench) => {
      const visitor = bench.visitor()
      await visitor.get("/fill?100")
      const before = sessionCookie(visitor)
      const reply = await visitor.get("/fill?5000")
      isProblem(reply, 413)
      for (const name of ["set-cookie", "x-page"]) assert.deepEqual(reply.all(name), [])
      assert.equal(sessionCookie(visitor), before)
      assert.equal(bench.errors.length, 1)
    },
    { sessions: { carrier: "signed", secret: "suite-secret-of-at-least-32-random-bytes-1" } },
  ),

  adapterCase(
    "ERR-02, SES-06",
    "a session that ended meanwhile is not brought back, and update says so with 409",
    async (bench) => {
      const visitor = bench.visitor()
      await visitor.get("/count")
      const stopped = bench.store.stop("set")
      const slow = visitor.get("/update")
      await stopped.arrived
      await bench.send({ path: "/reset", headers: [["Cookie", `session=${sessionCookie(visitor)}`]] })
      stopped.release()
      const reply = await slow
      isProblem(reply, 409)
      assert.deepEqual(reply.all("set-cookie"), [])
      assert.deepEqual((await bench.store.list()).entries, [])
    },
  ),

  adapterCase("ERR-01", "a handler that throws is a plain 500, and only onError learns why", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    const reply = await visitor.get("/throw")
    isProblem(reply, 500)
    assert.doesNotMatch(reply.body, /secret|srv/)
    assert.equal(bench.errors.length, 1)
    assert.match(String(bench.errors[0]), /secret detail/)
    assert.equal((await visitor.get("/plain")).body, "untouched")
  }),

  adapterCase("ERR-01", "what happened to a session before the handler threw reaches the browser", async (bench) => {
    const visitor = bench.visitor()
    isProblem(await visitor.get("/throw"), 500)
    assert.equal((await visitor.get("/read")).body, "Count: 1")
  }),

  adapterCase("LOG-01, REG-36", "no id is in a problem, an error, a warning or an event", async (bench) => {
    const visitor = bench.visitor()
    const bodies: string[] = []
    const ids = new Set<string>()
    const visit = async (path: string): Promise<void> => {
      bodies.push((await visitor.get(path)).body)
      for (const { value } of visitor.jar.cookies()) ids.add(value)
    }
    for (const path of ["/count", "/public", "/regenerate", "/throw", "/handle"]) await visit(path)
    for (const code of [...outages, "unknown-outcome", "conflict"] as const) {
      bench.store.failWith(code)
      for (const path of ["/count", "/update", "/regenerate", "/reset"]) await visit(path)
    }
    bench.store.failWith(null)
    await visit("/reset")
    assert.ok(ids.size >= 2 && bench.errors.length > 5 && bench.events.length > 5)
    const told = inspect([bodies, bench.errors, bench.warnings, bench.events], { depth: 10, showHidden: true })
    for (const id of ids) if (id !== "") assert.ok(!told.includes(id), "an id was told")
  }),
]
