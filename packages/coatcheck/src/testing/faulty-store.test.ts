import { describe, expect, it } from "vitest"
import { rejection } from "../../../../test/support/sessions.ts"
import type { Store } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"
import { memoryStore } from "../stores/memory.ts"
import { type Fault, type FaultyStore, faultyStore } from "./faulty-store.ts"
import { storeCases } from "./store-suite.ts"

function over(inner = memoryStore()): { inner: Store; faulty: FaultyStore; store: Store } {
  const faulty = faultyStore(inner)
  return { inner, faulty, store: faulty.store }
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await rejection(promise)
  return error instanceof CoatcheckError ? error.code : String(error)
}

describe("a faulty store without a fault is a store", () => {
  for (const { name, run } of storeCases({ open: (setup) => faultyStore(memoryStore(setup)).store })) it(name, run)

  it("passes on what is optional only where it is there", () => {
    const inner = memoryStore()
    expect(typeof faultyStore(inner).store.count).toBe("function")
    expect("watch" in faultyStore(inner).store).toBe(false)
    const { count: _count, ...bare } = inner
    let stopped = false
    const watching = faultyStore({ ...bare, watch: () => () => (stopped = true) }).store
    expect("count" in watching).toBe(false)
    watching.watch!(() => {})()
    expect(stopped).toBe(true)
  })
})

describe("what each fault does to a write", () => {
  const outcomes: [Fault, code: string, isDone: boolean][] = [
    ["refused", "unavailable", false],
    ["lost-request", "unknown-outcome", false],
    ["lost-reply", "unknown-outcome", true],
    ["late", "unknown-outcome", false],
  ]
  for (const [fault, code, isDone] of outcomes) {
    it(`${fault}: ${code}, ${isDone ? "done" : "not done"}`, async () => {
      const { inner, faulty, store } = over()
      await inner.set("key", "1", { version: "base" })
      const calls: [string, () => Promise<unknown>, done: () => Promise<boolean>][] = [
        [
          "touch",
          () => store.touch("key", 5_000_000_000_000),
          async () => (await inner.get("key"))?.expiresAt !== null,
        ],
        ["set", () => store.set("key", "2"), async () => (await inner.get("key"))?.value === "2"],
        ["delete", () => store.delete("key"), async () => (await inner.get("key")) === null],
      ]
      for (const [verb, call, done] of calls) {
        faulty.inject(fault)
        expect(await codeOf(call()), verb).toBe(code)
        expect(await done(), verb).toBe(isDone)
        await faulty.release()
        expect(await done(), verb).toBe(isDone || fault === "late")
      }
      expect(faulty.struck).toBe(3)
    })
  }

  it("held-request: done at the release, with its true answer", async () => {
    const { inner, faulty, store } = over()
    faulty.inject("held-request")
    const answer = store.set("key", "1", { version: "mine" })
    await faulty.whenHeld()
    expect(await inner.get("key")).toBe(null)
    await faulty.release()
    expect(await answer).toMatchObject({ ok: true, version: "mine" })
    expect((await inner.get("key"))?.value).toBe("1")
  })

  it("held-reply: done at once, answered at the release, also when the answer is a failure", async () => {
    const { inner, faulty, store } = over()
    faulty.inject("held-reply", { times: 2 })
    let isAnswered = false
    const answer = store.set("key", "1").finally(() => (isAnswered = true))
    const failure = store.set("", "1")
    failure.catch(() => {})
    await faulty.whenHeld(2)
    expect((await inner.get("key"))?.value).toBe("1")
    expect([isAnswered, faulty.held]).toEqual([false, 2])
    await faulty.release()
    expect((await answer).ok).toBe(true)
    expect(await codeOf(failure)).toBe("invalid")
    expect(faulty.held).toBe(0)
  })

  it("a late call that fails when it arrives tells nobody", async () => {
    const { inner, faulty, store } = over()
    faulty.inject("late")
    expect(await codeOf(store.set("key", "1"))).toBe("unknown-outcome")
    await inner.close()
    await faulty.release()
  })
})

it("a read that fails is only unavailable", async () => {
  const { faulty, store } = over()
  for (const fault of ["refused", "lost-request", "lost-reply", "late"] as const) {
    for (const read of [() => store.get("key"), () => store.list(), () => store.count!()]) {
      faulty.inject(fault)
      expect(await codeOf(read())).toBe("unavailable")
    }
  }
  expect(faulty.struck).toBe(12)
})

describe("which call a fault strikes", () => {
  const succeeds = async (call: Promise<unknown>): Promise<boolean> =>
    call.then(
      () => true,
      () => false,
    )

  it("the n-th from now on, of one verb or of any, so many in a row", async () => {
    const { faulty, store } = over()
    await store.get("key")
    faulty.inject("refused", { verb: "get", nth: 2, times: 2 })
    const results: boolean[] = []
    for (let i = 0; i < 4; i++) {
      results.push(await succeeds(store.get("key")))
      results.push(await succeeds(store.set("key", "1")))
    }
    expect(results).toEqual([true, true, false, true, false, true, true, true])
    faulty.inject("refused", { nth: 3 })
    expect(await succeeds(store.get("key"))).toBe(true)
    expect(await succeeds(store.set("key", "1"))).toBe(true)
    expect(await succeeds(store.touch("key", null))).toBe(false)
    expect(await succeeds(store.get("key"))).toBe(true)
    expect(faulty.struck).toBe(3)
  })

  it("orders are for positions: each keeps its own count, the earliest strikes first", async () => {
    const { faulty, store } = over()
    faulty.inject("lost-request", { verb: "set", nth: 2 })
    faulty.inject("refused", { verb: "set" })
    expect(await codeOf(store.set("key", "1"))).toBe("unavailable")
    expect(await codeOf(store.set("key", "1"))).toBe("unknown-outcome")
    expect(await succeeds(store.set("key", "1"))).toBe(true)
  })

  it("none any more after clear", async () => {
    const { faulty, store } = over()
    faulty.inject("refused", { times: 9 })
    faulty.clear()
    expect(await succeeds(store.get("key"))).toBe(true)
    expect(faulty.struck).toBe(0)
  })

  it("what a plan says, which is told verb, key and number", async () => {
    const asked: unknown[] = []
    const { store, calls } = faultyStore(memoryStore(), (call) => {
      asked.push(call)
      return call.key === "bad" ? "refused" : undefined
    })
    expect(await succeeds(store.get("good"))).toBe(true)
    expect(await succeeds(store.get("bad"))).toBe(false)
    await store.list()
    expect(asked).toEqual([
      { verb: "get", key: "good", nth: 1 },
      { verb: "get", key: "bad", nth: 2 },
      { verb: "list", key: null, nth: 1 },
    ])
    expect(calls).toEqual({ get: 2, set: 0, touch: 0, delete: 0, list: 1, count: 0 })
  })
})
