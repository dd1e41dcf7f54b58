// Cases of the adapter suite: the cookie on the wire, in both directions.

import assert from "node:assert/strict"
import { adapterCase, sessionCookie } from "./adapter-case.ts"
import type { AdapterCase } from "./adapter-harness.ts"

const gone = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"

/** The cookie on the wire: what is read, what is set, what is cleared. */
export const cookieCases: readonly AdapterCase[] = [
  adapterCase(
    "CKI-01, CKI-12",
    "over plain HTTP: exactly these attributes, and the same when it is deleted",
    async (bench) => {
      const visitor = bench.visitor()
      const set = await visitor.get("/count")
      assert.equal(set.one("set-cookie"), `session=${sessionCookie(visitor)}; Path=/; HttpOnly; SameSite=Lax`)
      const cleared = await visitor.get("/reset")
      assert.equal(cleared.one("set-cookie"), `session=; ${gone}; Path=/; HttpOnly; SameSite=Lax`)
    },
  ),

  adapterCase(
    "CKI-01, CKI-02, CKI-12, CKI-16",
    "over HTTPS, by the word of a trusted proxy: a prefixed, Secure cookie",
    async (bench) => {
      const visitor = bench.visitor()
      const set = await visitor.get("/count")
      const attributes = "Path=/; Secure; HttpOnly; SameSite=Lax"
      assert.equal(set.one("set-cookie"), `__Host-Http-session=${sessionCookie(visitor)}; ${attributes}`)
      assert.equal((await visitor.get("/count")).body, "Count: 2")
      // A secure request reads the prefixed cookie only, which no sibling and no script can plant.
      const planted = [
        ["X-Forwarded-Proto", "https"],
        ["Cookie", `session=${sessionCookie(visitor)}`],
      ] as const
      assert.equal((await bench.send({ path: "/is-new", headers: planted })).body, "true")
      const cleared = await visitor.get("/reset")
      assert.equal(cleared.one("set-cookie"), `__Host-Http-session=; ${gone}; ${attributes}`)
    },
    { behindProxy: true },
  ),

  adapterCase("CKI-16", "a stranger's X-Forwarded-Proto makes nothing secure", async (bench) => {
    for (const value of ["https", "HTTPS", "https, https"]) {
      const reply = await bench.send({
        path: "/count",
        headers: [
          ["X-Forwarded-Proto", value],
          ["Forwarded", "proto=https"],
        ],
      })
      assert.match(reply.one("set-cookie") ?? "", /^session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax$/)
    }
  }),

  adapterCase(
    "CKI-16",
    "a cookie for HTTPS only is refused over plain HTTP, and somebody is told",
    async (bench) => {
      const reply = await bench.send({ path: "/count", headers: [["X-Forwarded-Proto", "https"]] })
      assert.equal(reply.status, 500)
      assert.deepEqual(reply.all("set-cookie"), [])
      assert.deepEqual(bench.store.calls, [])
      assert.match(String(bench.errors[0]), /HTTPS/)
      assert.ok(bench.events.some((event) => event.type === "refused" && event.why === "insecure"))
    },
    { sessions: { cookie: { secure: true } } },
  ),

  adapterCase("CKI-15", "one Set-Cookie of our name, whatever happened before", async (bench) => {
    const visitor = bench.visitor()
    const once = await visitor.get("/own-cookie")
    assert.match(once.one("set-cookie") ?? "", /^session=[\w-]{43};/)
    const everything = await visitor.get("/everything")
    assert.match(everything.one("set-cookie") ?? "", /^session=; Max-Age=0;/)
    assert.deepEqual(visitor.jar.cookies(), [])
  }),

  adapterCase("CKI-10", "two Cookie fields are one list", async (bench) => {
    const visitor = bench.visitor()
    await visitor.get("/count")
    const pair = `session=${sessionCookie(visitor)}`
    for (const fields of [
      ["a=1", pair],
      [pair, "a=1"],
      ["a=1; b=2", `c=3; ${pair}`],
    ]) {
      const lines = fields.map((field) => `Cookie: ${field}\r\n`).join("")
      const reply = await bench.bytes(`GET /read HTTP/1.1\r\nHost: 127.0.0.1\r\n${lines}Connection: close\r\n\r\n`)
      assert.match(reply, /^HTTP\/1\.1 200 /)
      assert.match(reply, /Count: 1/)
    }
  }),

  adapterCase(
    "CKI-04, CKI-05, REG-18, REG-19, REG-20, REG-21, REG-22",
    "a cookie that only resembles ours is another one",
    async (bench) => {
      const visitor = bench.visitor()
      await visitor.get("/count")
      const id = sessionCookie(visitor)
      for (const forged of [
        "%73ession",
        "\u00a0session",
        "=session",
        "SESSION",
        "session ",
        "..session",
        "session[]",
        "$session",
      ]) {
        const alone = await bench.send({ path: "/is-new", headers: [["Cookie", `${forged}=${id}`]] })
        assert.equal(alone.body, "true")
        const beside = await bench.send({
          path: "/read",
          headers: [["Cookie", `${forged}=evil; session=${id}; ${forged}=evil`]],
        })
        assert.equal(beside.body, "Count: 1")
      }
      const quoted = await bench.send({ path: "/read", headers: [["Cookie", `a="x; session=${id}; y"`]] })
      assert.equal(quoted.body, "Count: 1")
    },
  ),

  adapterCase(
    "CKI-06",
    "of several cookies of our name, the only one that leads to a session counts",
    async (bench) => {
      const [ada, bob] = [bench.visitor(), bench.visitor()]
      await ada.get("/count")
      await bob.get("/count")
      const [a, b] = [sessionCookie(ada), sessionCookie(bob)]
      const isNew = async (...values: string[]): Promise<string> => {
        const cookie = values.map((value) => `session=${value}`).join("; ")
        return (await bench.send({ path: "/is-new", headers: [["Cookie", cookie]] })).body
      }
      assert.equal(await isNew(a, "garbage"), "false")
      assert.equal(await isNew("garbage", a), "false")
      assert.equal(await isNew(a, a), "false")
      assert.equal(await isNew(a, b), "true")
      assert.equal(await isNew("1", "2", "3", "4", a), "true")
    },
  ),

  adapterCase(
    "C3, REG-24",
    "data in the cookie: it changes with the data and comes back byte for byte",
    async (bench) => {
      const visitor = bench.visitor()
      const seen = new Set<string>()
      for (const count of [1, 2, 3]) {
        const reply = await visitor.get("/count")
        assert.equal(reply.body, `Count: ${count}`)
        assert.deepEqual([reply.one("vary"), reply.one("cache-control")], ["Cookie", "no-store"])
        seen.add(sessionCookie(visitor))
      }
      assert.equal(seen.size, 3)
    },
    { sessions: { carrier: "signed", secret: "suite-secret-of-at-least-32-random-bytes-1" } },
  ),
]
