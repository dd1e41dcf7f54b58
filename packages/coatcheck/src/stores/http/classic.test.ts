import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { describe, expect, it, onTestFinished } from "vitest"
import type { Store } from "../../core/store.ts"
import { httpStore } from "../http.ts"

interface OldService {
  readonly url: string
  readonly data: Map<string, string>
  /** "GET /foo", in order. */
  readonly asked: string[]
}

interface Ways {
  /** Which methods write; the others get 405. */
  readonly writes?: readonly string[]
  /** Says of an absent key that it is absent. */
  readonly tellsAbsent?: boolean
  /** Replies otherwise; undefined: as usual. */
  answer?(method: string, path: string): { status: number; body: string } | undefined
}

/** A service as people wrote it years ago: a dictionary over HTTP. It spaces its JSON as Python's json does. */
async function oldService({ writes = ["POST", "PUT"], tellsAbsent = false, answer }: Ways = {}): Promise<OldService> {
  const data = new Map<string, string>()
  const asked: string[] = []
  const server = createServer((request, response) => {
    const { method = "", url = "" } = request
    asked.push(`${method} ${url}`)
    let body = ""
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk))
    request.on("end", () => {
      const otherwise = answer?.(method, url)
      if (otherwise) return response.writeHead(otherwise.status).end(otherwise.body)
      const at = new URL(url, "http://old")
      const key = decodeURIComponent(url.slice(1).split("?")[0] ?? "")
      if (key === "" && method === "GET") {
        const prefix = at.searchParams.get("prefix") ?? ""
        return response.end(JSON.stringify({ keys: [...data.keys()].filter((one) => one.startsWith(prefix)) }))
      }
      if (key === "") {
        if (!writes.includes(method)) return response.writeHead(405).end()
        const [, name, value] = /^\{("(?:[^"\\]|\\.)*"):(.*)\}$/s.exec(body) ?? []
        data.set(JSON.parse(name ?? "") as string, value ?? "")
        return response.end(body)
      }
      const value = data.get(key)
      if (method === "DELETE") data.delete(key)
      if (value === undefined && tellsAbsent) response.setHeader("coatcheck-absent", "1")
      return response.end(`{${JSON.stringify(key)}: ${value ?? "null"}}`)
    })
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, data, asked }
}

function open(url: string, parameters = "wire=classic"): Store {
  const store = httpStore(`${url}?${parameters}`)
  onTestFinished(() => store.close())
  return store
}

describe("the classic wire", () => {
  it("gets, sets and deletes plain keys, values as they are written", async () => {
    const service = await oldService()
    const store = open(service.url)
    expect(store.info).toMatchObject({ name: "http", atomic: false })
    expect(await store.get("a")).toBe(null)
    const outcome = await store.set("a", '{"n":12345678901234567890,"x":[1e21,-0.0]}')
    expect(await store.get("a")).toEqual({
      key: "a",
      value: '{"n":12345678901234567890,"x":[1e21,-0.0]}',
      version: outcome.ok && outcome.version,
      expiresAt: null,
      owner: null,
    })
    expect(await store.delete("a")).toMatchObject({ ok: true, removed: { key: "a" } })
    expect(await store.delete("a")).toEqual({ ok: true, removed: null })
  })

  it("D5: writes by POST, and from the first 405 on by PUT", async () => {
    const service = await oldService({ writes: ["PUT"] })
    const store = open(service.url)
    await store.set("a", "1")
    await store.set("b", "2")
    expect(service.asked).toEqual(["POST /", "PUT /", "PUT /"])
    expect([...service.data]).toEqual([
      ["a", "1"],
      ["b", "2"],
    ])
  })

  it("D5: a service that takes neither refuses once", async () => {
    const service = await oldService({ writes: [] })
    await expect(open(service.url).set("a", "1")).rejects.toMatchObject({ code: "unsupported" })
    expect(service.asked).toEqual(["POST /", "PUT /"])
  })

  it("what it can't do is unsupported, and nothing is asked", async () => {
    const service = await oldService()
    const store = open(service.url)
    const calls = [
      store.set("k", "1", { if: "absent" }),
      store.set("k", "1", { if: { version: "v" } }),
      store.set("k", "1", { owner: "alice" }),
      store.set("k", "1", { expiresAt: 0 }),
      store.touch("k", null),
      store.delete("k", { version: "v" }),
      store.list({ owner: "alice" }),
    ]
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: "unsupported", retryable: false })
    expect(service.asked).toEqual([])
    expect(await store.set("k", "1", { expiresAt: null, owner: null, version: "v" })).toMatchObject({ ok: true })
  })

  it("lossy=1 drops conditions, ends and owners; a listing by owner stays unsupported, because it would say that there is none", async () => {
    const service = await oldService()
    const store = open(service.url, "wire=classic&lossy=1")
    expect(await store.set("k", "1", { if: { version: "gone" }, expiresAt: 5, owner: "alice" })).toMatchObject({
      ok: true,
    })
    expect(await store.set("k", "2", { if: "absent" })).toMatchObject({ ok: true })
    const entry = await store.get("k")
    expect(entry).toMatchObject({ value: "2", expiresAt: null, owner: null })
    expect(await store.touch("k", 5)).toEqual({ ok: true, version: entry?.version })
    expect(await store.touch("absent", 5)).toEqual({ ok: false, current: null })
    expect(await store.delete("k", { version: "other" })).toMatchObject({ ok: true, removed: { value: "2" } })
    await expect(store.list({ owner: "alice" })).rejects.toMatchObject({ code: "unsupported" })
  })

  it("K6: a null is absent, unless the service tells absent keys; that is asked once", async () => {
    const old = await oldService()
    old.data.set("k", "null")
    const store = open(old.url)
    expect(await store.get("k")).toBe(null)
    expect(await store.get("k")).toBe(null)
    expect(old.asked).toHaveLength(3)

    const telling = await oldService({ tellsAbsent: true })
    telling.data.set("k", "null")
    const other = open(telling.url)
    expect(await other.get("k")).toMatchObject({ value: "null" })
    expect(await other.get("gone")).toBe(null)
    expect(await other.get("k")).toMatchObject({ value: "null" })
    expect(await other.delete("k")).toMatchObject({ removed: { value: "null" } })
    expect(telling.asked).toHaveLength(5)
  })

  it("K11: reaches awkward keys", async () => {
    const service = await oldService()
    const store = open(service.url)
    for (const key of ["a/b", "a?b", "a#b", "a%b", "k y", "ünï", "..", ".", "__proto__", "keys", '"', "-/v1/batch"]) {
      await store.set(key, "1")
      expect(await store.get(key), key).toMatchObject({ key, value: "1" })
      expect(await store.delete(key), key).toMatchObject({ removed: { key } })
    }
    expect(service.data.size).toBe(0)
  })

  it("lists in byte order, page by page, with a GET a key", async () => {
    const service = await oldService()
    const store = open(service.url)
    for (const key of ["b", "\u{10000}", "a", "\uffff", "c", "other\n"]) service.data.set(key, `"${key}"`)
    const first = await store.list({ limit: 2 })
    expect(first.entries.map(({ key }) => key)).toEqual(["a", "b"])
    const second = await store.list({ limit: 2, cursor: first.cursor ?? "" })
    const third = await store.list({ limit: 2, cursor: second.cursor ?? "" })
    expect([...second.entries, ...third.entries].map(({ key }) => key)).toEqual(["c", "\uffff", "\u{10000}"])
    expect(third.cursor).toBe(null)
    expect(service.asked.filter((one) => one !== "GET /")).toHaveLength(5)
    service.asked.length = 0
    expect(await store.list({ prefix: "a", values: false })).toMatchObject({
      entries: [{ key: "a", value: "" }],
      cursor: null,
    })
    expect(service.asked).toEqual(["GET /?prefix=a"])
  })

  it("D7: a key that is gone when it is asked for is left out", async () => {
    const service = await oldService({
      answer: (method, path) => (method === "GET" && path === "/b" ? { status: 200, body: '{"b": null}' } : undefined),
    })
    for (const key of ["a", "b", "c"]) service.data.set(key, "1")
    const { entries } = await open(service.url).list()
    expect(entries.map(({ key }) => key)).toEqual(["a", "c"])
  })

  it("REL-04: an answer that can't be read leaves a delete unknown", async () => {
    const service = await oldService({
      answer: (_, path) =>
        path === "/" ? undefined : { status: 200, body: path === "/a" ? "<html>" : '{"other": 1}' },
    })
    const store = open(service.url)
    for (const key of ["a", "b"]) {
      await expect(store.get(key)).rejects.toMatchObject({ code: "corrupt" })
      await expect(store.delete(key)).rejects.toMatchObject({ code: "unknown-outcome" })
    }
    const failing = await oldService({ answer: () => ({ status: 500, body: "" }) })
    const other = open(failing.url)
    await expect(other.get("a")).rejects.toMatchObject({ code: "unavailable" })
    await expect(other.set("a", "1")).rejects.toMatchObject({ code: "unknown-outcome" })
    await expect(other.list()).rejects.toMatchObject({ code: "unavailable" })
  })

  it("REL-04: a delete whose null can't be told from absence did happen, so it is unknown; and the next one asks again", async () => {
    let fails = true
    const service = await oldService({
      tellsAbsent: true,
      answer: (_, path) => (fails && path.startsWith("/coatcheck-absent-") ? { status: 503, body: "" } : undefined),
    })
    const store = open(service.url)
    for (const key of ["a", "b"]) service.data.set(key, "null")
    await expect(store.delete("a")).rejects.toMatchObject({ code: "unknown-outcome" })
    expect(service.data.has("a")).toBe(false)
    await expect(store.get("b")).rejects.toMatchObject({ code: "unavailable" })
    fails = false
    expect(await store.get("b")).toMatchObject({ value: "null" })
  })

  it("a listing under way when it is closed reads no more keys", async () => {
    let closed: Promise<void> | undefined
    const service = await oldService({
      answer(method, path) {
        if (`${method} ${path}` === "GET /") closed = store.close()
        return undefined
      },
    })
    service.data.set("a", "1")
    const store = open(service.url)
    await expect(store.list()).rejects.toMatchObject({ code: "closed" })
    await closed
    expect(service.asked).toEqual(["GET /"])
  })

  it("refuses bad arguments and values, and every call once it is closed", async () => {
    const service = await oldService()
    const store = open(service.url)
    await expect(store.set("k", "oops")).rejects.toMatchObject({ code: "invalid" })
    await expect(store.get("")).rejects.toMatchObject({ code: "invalid" })
    await store.close()
    await store.close()
    await expect(store.get("k")).rejects.toMatchObject({ code: "closed" })
    await expect(store.list()).rejects.toMatchObject({ code: "closed" })
    expect(service.asked).toEqual([])
  })
})
