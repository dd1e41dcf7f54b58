import { CoatcheckError, type Store } from "coatcheck"
import { httpStore } from "coatcheck/http"
import { memoryStore } from "coatcheck/memory"
import { fakeClock } from "coatcheck/testing"
import { describe, expect, it } from "vitest"
import { serve, storeWith } from "../../../../test/support/service.ts"

const path = "/-/v1/batch"

describe("a batch", () => {
  it("reads past the copies of its store where it is asked to, and not otherwise", async () => {
    const engine = memoryStore()
    const asked: (boolean | undefined)[] = []
    const get: Store["get"] = (key, options) => {
      asked.push(options?.fresh)
      return engine.get(key)
    }
    const { ask, port } = await serve({}, storeWith({ get }, engine))
    await ask("POST", path, { body: '{"ops":[{"op":"get","key":"a","fresh":true},{"op":"get","key":"b"}]}' })
    await ask("GET", "/-/v1/records/a", { headers: { "Cache-Control": "no-cache" } })
    await ask("GET", "/-/v1/records/a")
    const store = httpStore(`http://localhost:${port}`)
    await store.get("a", { fresh: true })
    await store.get("a")
    await store.close()
    expect(asked).toEqual([true, undefined, true, undefined, true, undefined])
  })

  it("does each operation on its own and answers in their order", async () => {
    const clock = fakeClock()
    const { ask } = await serve({ clock }, memoryStore({ clock }))
    await ask("PUT", "/-/v1/records/old", { headers: { "Coatcheck-Version": "v1" }, body: "1e2" })
    const ops = [
      { op: "get", key: "old" },
      { op: "get", key: "absent" },
      { op: "set", key: "new", value: { n: 1 }, version: "v2", ttl: 60_000, owner: "alice" },
      { op: "set", key: "old", value: 2, if: "absent" },
      { op: "set", key: "gone", value: 2, if: { version: "x" } },
      { op: "touch", key: "gone", ttl: null },
      { op: "delete", key: "old", version: "x" },
      { op: "delete", key: "gone" },
    ]
    const answer = await ask("POST", path, { body: JSON.stringify({ ops }) })
    const old = { key: "old", value: 100, version: "v1", ttl: null, owner: null }
    expect([answer.status, answer.headers["cache-control"]]).toEqual([200, "no-store"])
    expect(answer.json).toEqual({
      results: [
        { status: 200, entry: old },
        { status: 404, entry: null },
        { status: 200, ok: true, version: "v2" },
        { status: 412, ok: false, current: old },
        { status: 412, ok: false, current: null },
        { status: 404, ok: false, current: null },
        { status: 412, ok: false, current: old },
        { status: 404, ok: true, removed: null },
      ],
    })
    expect(answer.text).toContain('"value":1e2')
    const more = await ask("POST", path, {
      body: '{"ops":[{"op":"touch","key":"new","ttl":5,"version":"v2"},{"op":"delete","key":"old"},{"op":"get","key":"new"}]}',
    })
    expect(more.json).toMatchObject({
      results: [
        { status: 200, ok: true, version: "v2" },
        { status: 200, ok: true, removed: old },
        { status: 200, entry: { key: "new", value: { n: 1 }, version: "v2", ttl: 5, owner: "alice" } },
      ],
    })
  })

  it("is read as a whole before any of it is done", async () => {
    const { ask, store } = await serve()
    const first = '{"op":"set","key":"a","value":1}'
    for (const rest of [
      "",
      ',{"op":"drop","key":"b"}',
      ',{"op":"set","key":"b","value":1,"ver":"x"}',
      ",{",
      ',{"op":"get"}',
    ]) {
      const body = rest === "" ? `{"ops":[${first}],"more":1}` : `{"ops":[${first}${rest}]}`
      expect((await ask("POST", path, { body })).status, body).toBe(400)
    }
    expect((await store.list()).entries).toEqual([])
  })

  it("holds a bounded number of operations and bytes", async () => {
    const { ask, store } = await serve({ limits: { batchOps: 2, batchBytes: 1_000 } })
    const op = '{"op":"set","key":"a","value":1}'
    const many = await ask("POST", path, { body: `{"ops":[${op},${op},${op}]}` })
    expect([many.status, many.json]).toMatchObject([413, { type: "urn:coatcheck:error:too-large" }])
    const long = await ask("POST", path, { body: `{"ops":[{"op":"set","key":"a","value":"${"x".repeat(1_000)}"}]}` })
    expect(long.status).toBe(413)
    expect((await store.list()).entries).toEqual([])
  })

  it("ERR-02: an operation that fails says so in its place", async () => {
    const base = memoryStore()
    const fail = (key: string): Error => {
      if (key === "stray") return new Error("stray: /etc/passwd")
      return new CoatcheckError(key === "lost" ? "unknown-outcome" : "unavailable", "at db.internal:5432")
    }
    const store = storeWith(
      { set: (key, value) => (key === "a" ? base.set(key, value) : Promise.reject(fail(key))) },
      base,
    )
    const { ask } = await serve({}, store)
    const ops = ["a", "lost", "down", "stray", ""].map((key) => ({ op: "set", key, value: 1 }))
    const answer = await ask("POST", path, { body: JSON.stringify({ ops: ops.slice(0, 4) }) })
    expect(answer.status).toBe(200)
    const { results } = answer.json as { results: { status: number; error?: { type: string } }[] }
    expect(results.map((result) => result.error?.type)).toEqual([
      undefined,
      "urn:coatcheck:error:unknown-outcome",
      "urn:coatcheck:error:unavailable",
      "urn:coatcheck:error:unknown-outcome",
    ])
    expect(answer.text).not.toMatch(/passwd|internal|stray/)
  })

  it("refuses a bad key in its place only", async () => {
    const { ask } = await serve()
    const answer = await ask("POST", path, { body: '{"ops":[{"op":"get","key":""},{"op":"set","key":"a","value":1}]}' })
    expect(answer.json).toMatchObject({
      results: [
        { status: 400, error: { status: 400 } },
        { status: 200, ok: true },
      ],
    })
  })

  it("PRS-06: takes no array, object or number for a text, and no name for a prototype", async () => {
    const { ask, store } = await serve()
    const bad = [
      '"op":"get","key":["a"]',
      '"op":"get","key":{"a":1}',
      '"op":"get","key":1',
      '"op":"set","key":"a","value":1,"if":{"version":["x"]}',
      '"op":"set","key":"a","value":1,"owner":["x"]',
      '"op":["set"],"key":"a","value":1',
      '"op":"set","key":"a","value":1,"ttl":"5"',
      '"op":"set","key":"a","value":1,"__proto__":{}',
    ]
    for (const op of bad) expect((await ask("POST", path, { body: `{"ops":[{${op}}]}` })).status, op).toBe(400)
    expect((await store.list()).entries).toEqual([])
    const answer = await ask("POST", path, {
      body: '{"ops":[{"op":"set","key":"__proto__","value":{"polluted":1}},{"op":"get","key":"constructor"}]}',
    })
    expect(answer.json).toMatchObject({
      results: [
        { status: 200, ok: true },
        { status: 404, entry: null },
      ],
    })
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  it("takes POST alone", async () => {
    const { ask } = await serve()
    const answer = await ask("PUT", path, { body: '{"ops":[]}' })
    expect([answer.status, answer.headers.allow]).toEqual([405, "POST, OPTIONS"])
    expect((await ask("POST", path, { body: '{"ops":[]}' })).text).toBe('{"results":[]}')
  })
})
