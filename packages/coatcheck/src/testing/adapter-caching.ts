// Cases of the adapter suite: what caches are told, and that the application's headers survive it.

import assert from "node:assert/strict"
import { manyHeaders } from "./adapter-application.ts"
import { adapterCase } from "./adapter-case.ts"
import type { AdapterCase } from "./adapter-harness.ts"

/** Vary, Cache-Control, and the application's own headers beside them. */
export const cachingCases: readonly AdapterCase[] = [
  adapterCase(
    "CCH-02, S13, REG-11, REG-12",
    "however a session is looked at, the reply varies on Cookie and is private",
    async (bench) => {
      const visitor = bench.visitor()
      await visitor.get("/count")
      for (const path of ["/open", "/is-new", "/read", "/keys", "/has", "/handle"]) {
        for (const reply of [await bench.send({ path }), await visitor.get(path)]) {
          assert.equal(reply.one("vary"), "Cookie")
          assert.equal(reply.one("cache-control"), "private")
          assert.deepEqual(reply.all("set-cookie"), [])
        }
      }
    },
  ),

  adapterCase("CCH-02", "a page of a session that is kept alive by it says so too", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    bench.clock.advance(10 * 60_000)
    bench.store.forget()
    const reply = await visitor.get("/open")
    assert.deepEqual(bench.store.calls, ["get", "touch"])
    assert.deepEqual([reply.one("vary"), reply.one("cache-control")], ["Cookie", "private"])
  }),

  adapterCase("CCH-01", "a reply that sets our cookie is never stored", async (bench) => {
    const visitor = bench.visitor()
    const created = await visitor.get("/count")
    const rotated = await visitor.get("/regenerate")
    const ended = await visitor.get("/reset")
    for (const reply of [created, rotated, ended]) {
      assert.equal(reply.all("set-cookie").length, 1)
      assert.deepEqual([reply.one("vary"), reply.one("cache-control")], ["Cookie", "no-store"])
    }
  }),

  adapterCase(
    "CCH-01, CCH-03, REG-13, REG-14, REG-15",
    "an application that calls such a page public is overruled, and told",
    async (bench) => {
      const visitor = bench.visitor()
      const created = await visitor.get("/public")
      assert.equal(created.one("cache-control"), "no-store")
      assert.equal(created.one("cdn-cache-control"), null)
      const read = await visitor.get("/public-read")
      assert.equal(read.one("cache-control"), "max-age=600, private")
      assert.match(
        bench.warnings.join("\n"),
        /Cache-Control: public, s-maxage=60[\s\S]*cdn-cache-control[\s\S]*Cache-Control: public/i,
      )
      const told = bench.warnings.length
      await visitor.get("/public-read")
      assert.equal(bench.warnings.length, told, "the same thing is told once")
    },
  ),

  adapterCase("CCH-01", "what is stricter stays", async (bench) => {
    const visitor = bench.visitor()
    for (const reply of [await visitor.get("/strict"), await visitor.get("/strict")]) {
      assert.equal(reply.one("cache-control"), "no-store, no-cache")
    }
  }),

  adapterCase("CCH-05, REG-16", "nothing that the application set is lost", async (bench) => {
    const visitor = bench.visitor()
    for (const isNew of [true, false]) {
      const reply = await visitor.get("/many-headers")
      assert.deepEqual([reply.status, reply.body], [201, isNew ? "Count: 1" : "Count: 2"])
      for (const [name] of manyHeaders) {
        const theirs = manyHeaders.filter(([other]) => other === name).map(([, value]) => value)
        const values = reply.all(name)
        if (name === "Vary") assert.deepEqual(values, ["Accept-Language, Cookie"])
        else if (name === "Set-Cookie") assert.deepEqual(values.slice(0, theirs.length), theirs)
        else assert.equal(values.join(", "), theirs.join(", "))
      }
      assert.equal(reply.all("set-cookie").length, isNew ? 3 : 2)
    }
  }),
]
