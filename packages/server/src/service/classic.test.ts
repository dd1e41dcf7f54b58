import { describe, expect, it } from "vitest"
import { type Listening, serve, storeWith } from "../../../../test/support/service.ts"
import { CoatcheckError, type Entry } from "coatcheck"
import { memoryStore } from "coatcheck/memory"

const json = { "Content-Type": "application/json" }

async function keys({ ask }: Listening, query = ""): Promise<unknown> {
  return (await ask("GET", `/${query}`)).json
}

describe("writing", () => {
  it.each([
    ["K1", "POST"],
    ["K2", "PUT"],
  ])("%s: %s of an object answers with the object", async (_id, method) => {
    const { ask } = await serve()
    const answer = await ask(method, "/", { headers: json, body: '{"foo":"bar"}' })
    expect([answer.status, answer.text]).toEqual([200, '{"foo":"bar"}'])
    expect((await ask("GET", "/foo")).text).toBe('{"foo":"bar"}')
  })

  it("K1: needs no Content-Type, charset or narrow Accept, and answers JSON whatever is accepted", async () => {
    const { ask } = await serve()
    for (const headers of [{}, { "Content-Type": "text/plain" }, { Accept: "text/plain" }, { Accept: "image/png" }]) {
      const answer = await ask("POST", "/", { headers, body: '{"foo":"bar"}' })
      expect([answer.status, answer.headers["content-type"]]).toEqual([200, "application/json"])
    }
  })

  it("K3: every member is a key of its own", async () => {
    const { ask } = await serve()
    await ask("POST", "/", { body: '{"a":1,"b":{"c":[null,true]}}' })
    expect((await ask("GET", "/a")).json).toEqual({ a: 1 })
    expect((await ask("GET", "/b")).json).toEqual({ b: { c: [null, true] } })
  })

  it("K3: a member that can't be a key leaves all of them out", async () => {
    const service = await serve()
    for (const bad of ['""', '"a\\nb"', '"\\ud800"', `"${"k".repeat(513)}"`, `"${"é".repeat(257)}"`]) {
      const answer = await service.ask("POST", "/", { body: `{"good":1,${bad}:2,"also":3}` })
      expect(answer.status, bad).toBe(400)
    }
    expect(await keys(service)).toEqual({ keys: [] })
  })

  it("K3: of a name that comes twice the last one counts", async () => {
    const { ask } = await serve()
    expect((await ask("POST", "/", { body: '{"a":1,"b":2,"a":3}' })).text).toBe('{"a":3,"b":2}')
    expect((await ask("GET", "/a")).text).toBe('{"a":3}')
  })

  it("K3: a store that fails between two members is told as a write that may be there in part", async () => {
    const store = memoryStore()
    const failing = storeWith(
      {
        set: (key, value) =>
          key === "c" ? Promise.reject(new CoatcheckError("unavailable", "lost")) : store.set(key, value),
      },
      store,
    )
    const { ask } = await serve({}, failing)
    const answer = await ask("POST", "/", { body: '{"a":1,"b":2,"c":3,"d":4}' })
    expect([answer.status, answer.headers["content-type"]]).toEqual([503, "application/problem+json"])
    expect(answer.json).toMatchObject({ type: "urn:coatcheck:error:unknown-outcome", status: 503 })
    expect((answer.json as { detail: string }).detail).toMatch(/^3 of 4 members were stored/)
  })

  it("K3: a thousand members are stored in order of the object", async () => {
    const service = await serve()
    const members = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`key${index}`, index]))
    const answer = await service.ask("POST", "/", { body: JSON.stringify(members) })
    expect(answer.text).toBe(JSON.stringify(members))
    expect(((await keys(service)) as { keys: string[] }).keys).toHaveLength(1_000)
  })

  it("K9: what is no object is refused, and nothing is stored", async () => {
    const service = await serve()
    const bodies = ["", "{bad", "[1]", '"s"', "null", "1", '{"a":1', '{"a":1}x', '{"a":01}', "{'a':1}", "\ufeff{}"]
    for (const method of ["POST", "PUT"]) {
      for (const headers of [{}, json, { "Content-Type": "application/x-www-form-urlencoded" }]) {
        for (const body of headers === json ? bodies : bodies.slice(0, 4)) {
          const answer = await service.ask(method, "/", { headers, body })
          expect([answer.status, answer.headers["content-type"]], body).toEqual([400, "application/problem+json"])
          expect(answer.json).toMatchObject({ status: 400 })
        }
      }
    }
    expect(await keys(service)).toEqual({ keys: [] })
  })

  it("K9: an empty object is fine for POST, and no change for PUT", async () => {
    const { ask } = await serve()
    const post = await ask("POST", "/", { body: "{}" })
    expect([post.status, post.text]).toEqual([200, "{}"])
    expect((await ask("PUT", "/", { body: "{}" })).status).toBe(400)
  })

  it("K9: bytes that are no UTF-8, and compressed ones, are refused", async () => {
    const service = await serve()
    const bytes = Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')])
    expect((await service.ask("POST", "/", { body: bytes })).status).toBe(400)
    const compressed = await service.ask("POST", "/", { headers: { "Content-Encoding": "gzip" }, body: '{"a":1}' })
    expect(compressed.status).toBe(400)
    expect(await keys(service)).toEqual({ keys: [] })
  })

  it("K12: numbers keep their text", async () => {
    const { ask } = await serve()
    const body = '{"a":12345678901234567890,"b":1e21,"c":-0.0,"d":[1.50,{"e":1E+2}]}'
    expect((await ask("POST", "/", { body })).text).toBe(body)
    expect((await ask("GET", "/a")).text).toBe('{"a":12345678901234567890}')
    expect((await ask("GET", "/b")).text).toBe('{"b":1e21}')
    expect((await ask("GET", "/c")).text).toBe('{"c":-0.0}')
    expect((await ask("GET", "/-/v1/records/d")).text).toBe('[1.50,{"e":1E+2}]')
    expect((await ask("DELETE", "/a")).text).toBe('{"a":12345678901234567890}')
  })

  it("K16: a thousand writes at once to different keys are all there", async () => {
    const service = await serve()
    const numbers = Array.from({ length: 1_000 }, (_, index) => index)
    const answers = await Promise.all(numbers.map((n) => service.ask("POST", "/", { body: `{"k${n}":${n}}` })))
    expect(answers.filter((answer) => answer.status !== 200)).toEqual([])
    expect(((await keys(service)) as { keys: string[] }).keys).toHaveLength(1_000)
  })
})

describe("forms", () => {
  const form = { "Content-Type": "application/x-www-form-urlencoded; charset=utf-8" }

  it("K4: the fields of a form are keys, and their values strings", async () => {
    const { ask } = await serve()
    const answer = await ask("POST", "/", { headers: form, body: "form=val&x=1" })
    expect([answer.status, answer.text]).toEqual([200, '{"form":"val","x":"1"}'])
    expect((await ask("GET", "/x")).text).toBe('{"x":"1"}')
  })

  it("K4: a form is decoded, and a repeated name keeps the last value", async () => {
    const { ask } = await serve()
    const body = "a+b=c%2Bd&%C3%BC=%F0%9F%91%8B&n=1&n=2&empty="
    expect((await ask("PUT", "/", { headers: form, body })).json).toEqual({ "a b": "c+d", ü: "👋", n: "2", empty: "" })
  })

  it("K4: a form without a name for a value stores nothing", async () => {
    const service = await serve()
    expect((await service.ask("POST", "/", { headers: form, body: "a=1&=2" })).status).toBe(400)
    expect(await keys(service)).toEqual({ keys: [] })
  })

  it("K4: a foreign page's form is refused, and nothing is stored", async () => {
    const service = await serve()
    for (const type of ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain"]) {
      const headers = { "Content-Type": type, Origin: "http://evil.test" }
      expect((await service.ask("POST", "/", { headers, body: "form=val" })).status).toBe(403)
    }
    expect(await keys(service)).toEqual({ keys: [] })
  })

  it("K4: JSON that curl labels as a form is JSON", async () => {
    const { ask } = await serve()
    expect((await ask("POST", "/", { headers: form, body: ' {"a":1}' })).text).toBe('{"a":1}')
  })

  const multipart = { "Content-Type": "multipart/form-data; boundary=frontier" }
  const part = (name: string, value: string, more = ""): string =>
    `--frontier\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`

  it("K4: a multipart form does the same", async () => {
    const { ask } = await serve()
    const body = `${part("form", "val")}${part("x", "1")}${part("x", "ü\r\n2")}--frontier--\r\n`
    expect((await ask("POST", "/", { headers: multipart, body })).json).toEqual({ form: "val", x: "ü\r\n2" })
  })

  it("K4: a multipart form with a file, or a broken one, stores nothing", async () => {
    const service = await serve()
    const bodies = [
      `${part("a", "1")}${part("f", "text", '; filename="f.txt"')}--frontier--\r\n`,
      `${part("a", "1")}`,
      `${part("a", "1")}--frontier`,
      "form=val",
      "--frontier--",
    ]
    for (const body of bodies) {
      const answer = await service.ask("POST", "/", { headers: multipart, body })
      if (body !== "--frontier--") expect(answer.status, body).toBe(400)
    }
    const noBoundary = { "Content-Type": "multipart/form-data" }
    expect((await service.ask("POST", "/", { headers: noBoundary, body: part("a", "1") })).status).toBe(400)
    expect(await keys(service)).toEqual({ keys: [] })
  })
})

describe("reading and deleting", () => {
  it("K5: a key answers with its value", async () => {
    const { ask } = await serve()
    await ask("POST", "/", { body: '{"foo":"bar"}' })
    const answer = await ask("GET", "/foo")
    expect([answer.status, answer.text, answer.headers["coatcheck-absent"]]).toEqual([200, '{"foo":"bar"}', undefined])
  })

  it("K6: an absent key answers null, and says that it is absent; a stored null does not", async () => {
    const { ask } = await serve()
    const absent = await ask("GET", "/nope")
    expect([absent.status, absent.text, absent.headers["coatcheck-absent"]]).toEqual([200, '{"nope":null}', "1"])
    await ask("POST", "/", { body: '{"nope":null}' })
    const stored = await ask("GET", "/nope")
    expect([stored.status, stored.text, stored.headers["coatcheck-absent"]]).toEqual([200, '{"nope":null}', undefined])
  })

  it("K7: a delete answers what was there, and the second one null", async () => {
    const { ask } = await serve()
    await ask("POST", "/", { body: '{"foo":"bar"}' })
    const first = await ask("DELETE", "/foo", { headers: { "Content-Length": "0" } })
    expect([first.status, first.text]).toEqual([200, '{"foo":"bar"}'])
    const second = await ask("DELETE", "/foo")
    expect([second.status, second.text, second.headers["coatcheck-absent"]]).toEqual([200, '{"foo":null}', "1"])
  })

  it("K8: a prefix is literal, and an empty one means all", async () => {
    const service = await serve()
    await service.ask("POST", "/", { body: '{"foo":1,"fob":2,"zed":3,"100%":4,"a_b":5,"aXb":6,"f*":7,"Foo":8}' })
    expect(await keys(service, "?prefix=fo")).toEqual({ keys: ["fob", "foo"] })
    expect(await keys(service, "?prefix=f")).toEqual({ keys: ["f*", "fob", "foo"] })
    expect(((await keys(service, "?prefix=")) as { keys: string[] }).keys).toHaveLength(8)
    expect(((await keys(service, "?")) as { keys: string[] }).keys).toHaveLength(8)
    expect(await keys(service, "?prefix=no")).toEqual({ keys: [] })
    for (const prefix of ["%25", "%", "_", "*", "[a-z]"]) {
      expect(await keys(service, `?prefix=${prefix}`), prefix).toEqual({ keys: [] })
    }
    expect((await service.ask("GET", `/?prefix=${"p".repeat(513)}`)).status).toBe(400)
    expect(await keys(service, "?prefix=a_")).toEqual({ keys: ["a_b"] })
    expect(await keys(service, "?prefix=100%25")).toEqual({ keys: ["100%"] })
    expect(await keys(service, "?prefix=f%2A")).toEqual({ keys: ["f*"] })
  })

  it("K8: thousands of keys come in key order, each once", async () => {
    const service = await serve()
    const names = Array.from({ length: 2_500 }, (_, index) => `k${String(index).padStart(5, "0")}`)
    await service.ask("POST", "/", { body: JSON.stringify(Object.fromEntries(names.map((name) => [name, 1]))) })
    expect(await keys(service)).toEqual({ keys: names })
    expect((await service.ask("HEAD", "/")).text).toBe("")
  })

  it("K8: a store without an order is put into the order of UTF-8 bytes", async () => {
    const names = ["b", "\uffff", "a", "\u{10000}", "b", "é"]
    const page = {
      entries: names.map((key): Entry => ({ key, value: "", version: "v", expiresAt: null, owner: null })),
    }
    const base = memoryStore()
    const store = storeWith(
      {
        info: { ...base.info, ordered: false },
        list: (query) =>
          Promise.resolve(
            query?.cursor
              ? { entries: page.entries.slice(3), cursor: null }
              : { entries: page.entries.slice(0, 3), cursor: "next" },
          ),
      },
      base,
    )
    expect(await keys(await serve({}, store))).toEqual({ keys: ["a", "b", "é", "\uffff", "\u{10000}"] })
  })

  it("K8: a listing that fails half-way is cut, not ended", async () => {
    const entry: Entry = { key: "a", value: "", version: "v", expiresAt: null, owner: null }
    const store = storeWith({
      list: (query) =>
        query?.cursor
          ? Promise.reject(new CoatcheckError("unavailable", "lost"))
          : Promise.resolve({ entries: [entry], cursor: "next" }),
    })
    const { ask } = await serve({}, store)
    await expect(ask("GET", "/")).rejects.toThrow(/aborted|hang up|reset/)
  })

  it("K11: any text is a key: set, list, get and delete", async () => {
    const service = await serve()
    const names = [
      "a/b",
      "a?b",
      "a#b",
      "a%b",
      "k y",
      "ünï",
      "..",
      ".",
      "__proto__",
      "keys",
      "-/x",
      "a//b",
      "%2F",
      "/x",
      "constructor",
    ]
    for (const key of names) {
      const body = `{${JSON.stringify(key)}:1}`
      expect((await service.ask("POST", "/", { body })).text, key).toBe(body)
      const path = `/${encodeURIComponent(key)}`
      expect((await service.ask("GET", path)).text, key).toBe(body)
      expect(await keys(service), key).toEqual({ keys: [key] })
      expect((await service.ask("DELETE", path)).text, key).toBe(body)
      expect(await keys(service), key).toEqual({ keys: [] })
    }
  })

  it("K11: a slash may be written raw, and one too many before the key is dropped", async () => {
    const { ask } = await serve()
    await ask("POST", "/", { body: '{"a/b":1,"foo":2}' })
    expect((await ask("GET", "/a/b")).text).toBe('{"a/b":1}')
    expect((await ask("GET", "/a%2Fb")).text).toBe('{"a/b":1}')
    expect((await ask("GET", "/a%2fb")).text).toBe('{"a/b":1}')
    expect((await ask("GET", "//foo")).text).toBe('{"foo":2}')
    expect((await ask("GET", "//a/b")).text).toBe('{"a/b":1}')
    expect((await ask("GET", "//?prefix=f")).json).toEqual({ keys: ["foo"] })
    expect((await ask("DELETE", "//foo")).text).toBe('{"foo":2}')
  })

  it("K11: a key named like one of the service's own paths is reached by %2F and by the strict wire", async () => {
    const { ask } = await serve()
    await ask("POST", "/", { body: '{"-/health":1,"-/v1/records":2}' })
    expect((await ask("GET", "/-%2Fhealth")).text).toBe('{"-/health":1}')
    expect((await ask("GET", "/-/v1/records/-%2Fhealth")).text).toBe("1")
    expect((await ask("GET", "/-/health")).json).toEqual({ status: "ok" })
    expect((await ask("GET", "//-/health")).text).toBe('{"-/health":1}')
    for (const path of ["/-/metrics", "/-/console", "/-/console/x", "/-/openapi.json", "/-/v1", "/-/v1/event"]) {
      const answer = await ask("GET", path)
      expect([answer.status, answer.headers["content-type"]], path).toEqual([404, "application/problem+json"])
    }
  })

  it("K11 KVS-11: a path that is no UTF-8, or holds what no key can, is refused", async () => {
    const { ask } = await serve()
    for (const path of [
      "/%",
      "/%zz",
      "/%ff",
      "/%00",
      "/a%0Ab",
      `/${"k".repeat(513)}`,
      "/-/v1/records/",
      "/-/v1/records/%FF",
    ]) {
      for (const method of ["GET", "DELETE"]) expect((await ask(method, path)).status, path).toBe(400)
    }
    expect((await ask("GET", `/${"k".repeat(512)}`)).status).toBe(200)
  })
})

describe("methods", () => {
  it("K10: what a path does not take is 405, with what it takes", async () => {
    const { ask } = await serve()
    const root = "GET, HEAD, POST, PUT, OPTIONS"
    const key = "GET, HEAD, DELETE, OPTIONS"
    for (const [method, path, allow] of [
      ["PATCH", "/", root],
      ["DELETE", "/", root],
      ["PROPFIND", "/", root],
      ["POST", "/foo", key],
      ["PUT", "/foo", key],
      ["PATCH", "/foo", key],
    ] as const) {
      const answer = await ask(method, path)
      expect([answer.status, answer.headers.allow], `${method} ${path}`).toEqual([405, allow])
      expect(answer.json).toMatchObject({ status: 405 })
    }
  })

  it("K15: HEAD is GET without the body, OPTIONS says what a path takes and grants no origin anything", async () => {
    const { ask } = await serve()
    await ask("POST", "/", { body: '{"foo":"bar"}' })
    for (const path of ["/", "/foo", "/nope", "/-/v1/records", "/-/v1/records/foo", "/-/health", "/-/ready"]) {
      const [head, get] = [await ask("HEAD", path), await ask("GET", path)]
      expect([head.status, head.text], path).toEqual([200, ""].map((part) => (part === 200 ? get.status : part)))
      expect(head.headers["content-length"], path).toBe(String(Buffer.byteLength(get.text)))
    }
    for (const [path, allow] of [
      ["/", "GET, HEAD, POST, PUT, OPTIONS"],
      ["/foo", "GET, HEAD, DELETE, OPTIONS"],
      ["/-/v1/records", "GET, HEAD, OPTIONS"],
      ["/-/v1/records/foo", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"],
      ["/-/v1/batch", "POST, OPTIONS"],
      ["/-/health", "GET, HEAD, OPTIONS"],
      ["*", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"],
    ] as const) {
      const answer = await ask("OPTIONS", path)
      expect([answer.status, answer.headers.allow, answer.text], path).toEqual([204, allow, ""])
      expect(Object.keys(answer.headers).filter((name) => name.startsWith("access-control"))).toEqual([])
    }
  })

  it("KVS-07: no answer may be cached or sniffed", async () => {
    const { ask } = await serve()
    await ask("POST", "/", { body: '{"foo":"bar"}' })
    for (const path of [
      "/",
      "/foo",
      "/nope",
      "/%",
      "/-/v1/records",
      "/-/v1/records/foo",
      "/-/v1/records/nope",
      "/-/health",
    ]) {
      const { headers } = await ask("GET", path)
      expect([headers["cache-control"], headers["x-content-type-options"]], path).toEqual(["no-store", "nosniff"])
    }
    expect((await ask("OPTIONS", "/")).headers["cache-control"]).toBe("no-store")
  })

  it("CSR-06: no GET, HEAD or OPTIONS changes anything", async () => {
    const { ask, store } = await serve()
    await ask("POST", "/", { body: '{"foo":"bar","zed":1}' })
    const before = await store.list()
    const paths = [
      "/",
      "/foo",
      "/new",
      "/?prefix=foo",
      "/-/v1/records",
      "/-/v1/records/foo",
      "/-/v1/records/new",
      "/-/v1/batch",
      "/-/health",
      "/-/ready",
    ]
    for (const path of paths) {
      for (const method of ["GET", "HEAD", "OPTIONS"]) {
        await ask(method, path, { headers: { "Coatcheck-TTL": "1", "X-HTTP-Method-Override": "DELETE" } })
      }
    }
    expect(await store.list()).toEqual(before)
  })
})
