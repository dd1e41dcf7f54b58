// Cases of the adapter suite: requests from other sites.

import assert from "node:assert/strict"
import { type AdapterBench, adapterCase, isProblem, sessionCookie } from "./adapter-case.ts"
import type { ClientReply } from "./adapter-client.ts"
import type { AdapterCase } from "./adapter-harness.ts"

const safe = ["GET", "HEAD", "OPTIONS"]
const unsafe = ["POST", "PUT", "PATCH", "DELETE"]
const sites = { "same-origin": true, none: true, "same-site": false, "cross-site": false } as const

type Fields = readonly (readonly [name: string, value: string])[]

/** Sends a request that carries a session, and says whether its handler ran. */
async function passes(bench: AdapterBench, cookie: Fields, method: string, labels: Fields): Promise<boolean> {
  bench.store.forget()
  const reply = await bench.send({ method, path: "/count", headers: [...labels, ...cookie] })
  const ran = bench.store.calls.length > 0
  assertVary(reply, !safe.includes(method), ran)
  if (ran) assert.equal(reply.status, 200)
  else isProblem(reply, 403)
  return ran
}

function assertVary(reply: ClientReply, guarded: boolean, ran: boolean): void {
  const names = [...(guarded ? ["Sec-Fetch-Site", "Origin"] : []), ...(ran ? ["Cookie"] : [])]
  assert.equal(reply.one("vary"), names.join(", "))
}

async function signedIn(bench: AdapterBench): Promise<Fields> {
  const visitor = bench.visitor()
  await visitor.get("/count")
  return [["Cookie", `session=${sessionCookie(visitor)}`]]
}

/** Unsafe requests that another site caused. */
export const guardCases: readonly AdapterCase[] = [
  adapterCase("CSR-01, CSR-04, REG-44", "four values of Sec-Fetch-Site, by every method", async (bench) => {
    const cookie = await signedIn(bench)
    for (const [site, trusted] of Object.entries(sites)) {
      const labels: Fields = [["Sec-Fetch-Site", site]]
      for (const method of safe) assert.equal(await passes(bench, cookie, method, labels), true, `${method} ${site}`)
      for (const method of unsafe)
        assert.equal(await passes(bench, cookie, method, labels), trusted, `${method} ${site}`)
    }
  }),

  adapterCase(
    "CSR-01",
    "what is refused has changed nothing, and another site's request is refused without a session too",
    async (bench) => {
      for (const path of ["/count", "/plain", "/no-such-page"]) {
        const reply = await bench.send({
          method: "POST",
          path,
          headers: [["Sec-Fetch-Site", "cross-site"]],
          body: "x=1",
        })
        isProblem(reply, 403)
        assert.deepEqual(reply.all("set-cookie"), [])
      }
      assert.deepEqual(bench.store.calls, [])
    },
  ),

  adapterCase(
    "CSR-01, CSR-02",
    "listed origins and, where they are trusted, siblings pass",
    async (bench) => {
      const cookie = await signedIn(bench)
      const from = (site: string, origin: string): Fields => [
        ["Sec-Fetch-Site", site],
        ["Origin", origin],
      ]
      assert.equal(await passes(bench, cookie, "POST", from("same-site", "http://sibling.test")), true)
      assert.equal(await passes(bench, cookie, "POST", from("cross-site", "https://partner.test")), true)
      assert.equal(await passes(bench, cookie, "POST", from("cross-site", "https://partner.test.evil")), false)
      assert.equal(await passes(bench, cookie, "POST", [["Origin", "https://partner.test"]]), true)
    },
    { guard: { sameSite: true, origins: ["https://partner.test"] } },
  ),

  adapterCase("CSR-02, CSR-03, CSR-04", "without a known Sec-Fetch-Site, Origin decides", async (bench) => {
    const cookie = await signedIn(bench)
    const own = `http://127.0.0.1:${bench.port}`
    const others = [
      `${own}.evil.test`,
      "null",
      "http://127.0.0.1",
      `https://127.0.0.1:${bench.port}`,
      `${own}, http://evil.test`,
    ]
    for (const unknown of [
      [],
      [["Sec-Fetch-Site", "banana"]],
      [["Sec-Fetch-Site", "same-origin, cross-site"]],
    ] as Fields[]) {
      assert.equal(await passes(bench, cookie, "POST", [...unknown, ["Origin", own]]), true)
      assert.equal(await passes(bench, cookie, "POST", [...unknown, ["Origin", own.toUpperCase()]]), true)
      for (const origin of others) {
        assert.equal(await passes(bench, cookie, "POST", [...unknown, ["Origin", origin]]), false, origin)
      }
    }
  }),

  adapterCase(
    "CSR-02",
    "then Referer decides, and without any label whether there is a session to ride on",
    async (bench) => {
      const cookie = await signedIn(bench)
      const own = `http://127.0.0.1:${bench.port}`
      assert.equal(await passes(bench, cookie, "POST", [["Referer", `${own}/form?x=1`]]), true)
      assert.equal(await passes(bench, cookie, "POST", [["Referer", "http://evil.test/"]]), false)
      assert.equal(await passes(bench, cookie, "POST", [["Referer", `http://evil.test/?${own}/`]]), false)
      assert.equal(await passes(bench, cookie, "POST", []), false)
      assert.equal(await passes(bench, cookie, "POST", [["Sec-Fetch-Site", "banana"]]), false)
      assert.equal((await bench.send({ method: "POST", path: "/count" })).body, "Count: 1")
    },
  ),

  adapterCase("CSR-04", "a guarded reply varies on the labels, whatever the application says", async (bench) => {
    const plain = await bench.send({ method: "POST", path: "/plain", headers: [["Sec-Fetch-Site", "none"]] })
    assert.deepEqual([plain.body, plain.one("vary")], ["untouched", "Sec-Fetch-Site, Origin"])
    assert.equal(plain.one("cache-control"), null)
    const theirs = await bench.send({ method: "POST", path: "/theirs", headers: [["Sec-Fetch-Site", "none"]] })
    assert.equal(theirs.one("vary"), "Accept, Sec-Fetch-Site, Origin")
  }),

  adapterCase(
    "CSR-02",
    "requests without a label may be let in",
    async (bench) => {
      const cookie = await signedIn(bench)
      assert.equal(await passes(bench, cookie, "POST", []), true)
      assert.equal(await passes(bench, cookie, "POST", [["Origin", "null"]]), false)
    },
    { guard: { unlabelled: "allow" } },
  ),

  adapterCase(
    "CSR-01",
    "without a guard everything passes, and nothing varies on labels",
    async (bench) => {
      const reply = await bench.send({ method: "POST", path: "/count", headers: [["Sec-Fetch-Site", "cross-site"]] })
      assert.deepEqual([reply.body, reply.one("vary")], ["Count: 1", "Cookie"])
    },
    { guard: false },
  ),
]
