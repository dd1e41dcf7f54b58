import { createHash } from "node:crypto"
import { createService } from "@coatcheck/server"
import type { CoatcheckError, ErrorCode, Store } from "coatcheck"
import { httpStore } from "coatcheck/http"
import { memoryStore } from "coatcheck/memory"
import { type FaultProxy, fakeClock, faultProxy, storeCases, type StoreSetup } from "coatcheck/testing"
import { describe, expect, it, onTestFinished, vi } from "vitest"
import { ask, type Listening, serve } from "./support/service.ts"

describe("the http store over the service keeps the contract", () => {
  let url = ""
  const cases = storeCases({
    async open({ clock, report }: StoreSetup) {
      ;({ url } = await serve({ clock }, memoryStore({ clock, report })))
      return httpStore(url, { clock, report })
    },
    openSecond: ({ clock, report }: StoreSetup) => httpStore(url, { clock, report }),
  })
  for (const { name, run } of cases) it(name, run)
})

it("K12 REL-04: a value that white space surrounds comes back as it is, however many quotes are in it, and its outcomes are told", async () => {
  const { url } = await serve()
  const store = httpStore(url, { deadline: "10s" })
  onTestFinished(() => store.close())
  const value = ` ["${'\\"'.repeat(400_000)}"]` // escaped once more on the way, it takes far more than a value may
  const { ok } = await store.set("k", value)
  const read = await store.get("k")
  const refused = await store.set("k", "1", { if: "absent" })
  const page = await store.list()
  const removed = await store.delete("k")
  expect([ok, refused.ok, removed.ok]).toEqual([true, false, true])
  expect([read?.value === value, page.entries[0]?.value === value]).toEqual([true, true])
})

/** A service, a proxy before it, and a store behind the proxy. */
async function behindProxy(): Promise<{ service: Listening; proxy: FaultProxy; store: Store }> {
  const service = await serve({ allowHosts: ["127.0.0.1"] }) // the proxy is asked under a port of its own
  const proxy = await faultProxy({ target: service.port })
  const store = httpStore(`http://127.0.0.1:${proxy.port}`)
  onTestFinished(async () => {
    await proxy.passThrough()
    await store.close()
    await proxy.close()
  })
  return { service, proxy, store }
}

function codeOf(settled: PromiseSettledResult<unknown>): ErrorCode | "ok" {
  return settled.status === "fulfilled" ? "ok" : (settled.reason as CoatcheckError).code
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe("a network that fails", () => {
  it("F-SLOW-2 REL-04: the reply cut after any number of bytes: a write is done or unknown, never called undone", async () => {
    const { service, proxy, store } = await behindProxy()
    const seen = new Set<string>()
    let bytes = 0
    for (let whole = false; !whole; bytes++) {
      await service.store.set("update", "0", { version: `u${bytes}` })
      await service.store.set("delete", "0")
      proxy.cutReplies(bytes)
      const outcomes = await Promise.allSettled([
        store.get("update"),
        store.set("update", "1", { if: { version: `u${bytes}` }, version: `w${bytes}` }),
        store.set(`insert${bytes}`, "1", { if: "absent" }),
        store.delete("delete"),
      ])
      const [read, ...writes] = outcomes.map(codeOf)
      expect(["ok", "unavailable"], `read, cut after ${bytes}`).toContain(read)
      for (const write of writes) expect(["ok", "unknown-outcome"], `write, cut after ${bytes}`).toContain(write)
      // The request came through each time, so the writes that are unknown did happen.
      expect(await service.store.get("update")).toMatchObject({ value: "1", version: `w${bytes}` })
      expect(await service.store.get(`insert${bytes}`)).not.toBe(null)
      expect(await service.store.get("delete")).toBe(null)
      for (const code of writes) seen.add(code)
      whole = writes.every((code) => code === "ok")
    }
    expect(proxy.counts.cut).toBe(bytes)
    expect(bytes).toBeGreaterThan(300) // a whole reply is longer
    expect(seen).toEqual(new Set(["ok", "unknown-outcome"]))
  }, 30_000)

  it("F-SLOW-2: a counter under cuts stands between what was acknowledged and that plus what is unknown", async () => {
    const { service, proxy, store } = await behindProxy()
    await service.store.set("n", "0")
    let acknowledged = 0
    let unknown = 0
    let version = 0
    for (let round = 0; round < 120; round++) {
      if (round % 3 === 0) await proxy.passThrough()
      else proxy.cutReplies((round * 37) % 500)
      const entry = await store.get("n").catch(() => null)
      if (entry === null) continue
      await store
        .set("n", String(Number(entry.value) + 1), { if: { version: entry.version }, version: `n${version++}` })
        .then(
          (outcome) => outcome.ok && acknowledged++,
          (error: unknown) => {
            expect(error).toMatchObject({ code: "unknown-outcome" })
            unknown++
          },
        )
    }
    const counter = Number((await service.store.get("n"))?.value)
    expect(counter).toBeGreaterThanOrEqual(acknowledged)
    expect(counter).toBeLessThanOrEqual(acknowledged + unknown)
    expect(Math.min(acknowledged, unknown)).toBeGreaterThan(10)
  })

  it("F-SLOW-3: a connection that went silent ends with its deadline, and the next call has a new one", async () => {
    const service = await serve({ allowHosts: ["127.0.0.1"] })
    const proxy = await faultProxy({ target: service.port })
    const clock = fakeClock()
    const store = httpStore(`http://127.0.0.1:${proxy.port}`, { clock })
    onTestFinished(() => proxy.close())
    await store.set("k", "1")
    proxy.freeze()
    const calls = Promise.allSettled([store.get("k"), store.set("k", "2")])
    await vi.waitFor(() => expect(proxy.counts.held).toBeGreaterThan(0))
    for (let step = 0; step < 10; step++) {
      clock.advance(100)
      await turn()
    }
    expect((await calls).map(codeOf)).toEqual(["unavailable", "unknown-outcome"])
    expect(await service.store.get("k")).toMatchObject({ value: "1" }) // unknown may also mean: not yet, or never
    await proxy.passThrough()
    expect(["1", "2"]).toContain((await store.get("k"))?.value)
    expect(proxy.counts.connections).toBe(2)
  })

  it("REL-04: connections that are reset at once never make a write a failure that did not happen", async () => {
    const { service, proxy, store } = await behindProxy()
    proxy.refuse()
    const outcomes = await Promise.allSettled([store.get("k"), store.set("k", "1")])
    expect(codeOf(outcomes[0] as PromiseSettledResult<unknown>)).toBe("unavailable")
    expect(["unavailable", "unknown-outcome"]).toContain(codeOf(outcomes[1] as PromiseSettledResult<unknown>))
    expect(await service.store.get("k")).toBe(null)
    expect(proxy.counts.reset).toBeGreaterThan(0)
    await proxy.passThrough()
    expect(await store.set("k", "1")).toMatchObject({ ok: true })
  })

  it("a connection that the service closed while it was idle is no error, for writes neither", async () => {
    const { proxy, store } = await behindProxy()
    await store.set("k", "1")
    await proxy.hangUp()
    expect(await store.get("k")).toMatchObject({ value: "1" })
    expect(await store.set("k", "2")).toMatchObject({ ok: true })
    expect(proxy.counts.connections).toBe(2)
  })

  it("S14: a service that is stopped and started again is used again, without a new store", async () => {
    const engine = memoryStore()
    const first = await serve({}, engine)
    const store = httpStore(`http://127.0.0.1:${first.port}`)
    onTestFinished(() => store.close())
    await store.set("k", "1")
    await first.service.close({ deadline: 1 })
    await expect(store.get("k")).rejects.toMatchObject({ code: "unavailable" })
    await expect(store.set("k", "2")).rejects.toMatchObject({ code: "unavailable" }) // nobody was there to see it
    const second = createService(engine)
    onTestFinished(() => second.close({ deadline: 1 }))
    await second.listen({ port: first.port, host: "127.0.0.1" })
    expect(await store.get("k")).toMatchObject({ value: "1" })
  })
})

describe("access", () => {
  const line = (name: string, scopes: string, token: string): string =>
    `${name} ${scopes} sha256:${createHash("sha256").update(token).digest("hex")}`

  it("X1: without a token every call is denied; with one it may do what its scopes say", async () => {
    const { url } = await serve({ tokens: [line("app", "read,write", "all"), line("eye", "read", "look")] })
    const open = (token?: string): Store => {
      const store = httpStore(url, token === undefined ? {} : { token })
      onTestFinished(() => store.close())
      return store
    }
    for (const store of [open(), open("wrong")]) {
      await expect(store.get("k")).rejects.toMatchObject({ code: "denied", retryable: false })
      await expect(store.set("k", "1")).rejects.toMatchObject({ code: "denied" })
      await expect(store.list()).rejects.toMatchObject({ code: "denied" })
    }
    expect(await open("all").set("k", "1")).toMatchObject({ ok: true })
    expect(await open("look").get("k")).toMatchObject({ value: "1" })
    await expect(open("look").set("k", "2")).rejects.toMatchObject({ code: "denied" })
    const named = httpStore(url.replace("//", "//app:all@"))
    onTestFinished(() => named.close())
    expect(await named.get("k")).toMatchObject({ value: "1" })
  })
})

describe("a service under another name", () => {
  it("X2: is refused, with the way to allow it", async () => {
    const service = await serve()
    const proxy = await faultProxy({ target: service.port })
    const store = httpStore(`http://127.0.0.1:${proxy.port}`)
    onTestFinished(async () => {
      await store.close()
      await proxy.close()
    })
    await expect(store.set("k", "1")).rejects.toMatchObject({
      code: "denied",
      message: expect.stringContaining("--allow-host"),
    })
    expect(await service.store.get("k")).toBe(null)
  })
})

describe("the classic wire of the service", () => {
  it("K12: the texts of numbers come back as they were written, on both wires", async () => {
    const { url, port } = await serve()
    const strict = httpStore(url)
    const classic = httpStore(`${url}?wire=classic`)
    onTestFinished(async () => {
      await strict.close()
      await classic.close()
    })
    for (const [at, value] of ["12345678901234567890", "1e21", "-0.0", '{"a":[1E2,0.10]}', "null"].entries()) {
      await strict.set(`s${at}`, value)
      await classic.set(`c${at}`, value)
      for (const store of [strict, classic]) {
        expect(await store.get(`s${at}`)).toMatchObject({ value })
        expect(await store.get(`c${at}`)).toMatchObject({ value })
      }
      expect((await ask(port, "GET", `/-/v1/records/s${at}`)).text).toBe(value)
      expect((await ask(port, "GET", `/c${at}`)).text).toBe(`{"c${at}":${value}}`)
    }
    expect(await classic.get("absent")).toBe(null)
    expect((await classic.list({ limit: 3 })).entries.map(({ key }) => key)).toEqual(["c0", "c1", "c2"])
  })
})
