import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, it, vi } from "vitest"
import type { Store, StoreReport } from "../core/store.ts"
import { CoatcheckError, type ErrorCode, errorCodes } from "../errors.ts"
import { type FakeClock, fakeClock } from "../testing/fake-clock.ts"
import { type FaultyStore, faultyStore } from "../testing/faulty-store.ts"
import type { StoreSetup } from "../testing/store-case.ts"
import { storeCases } from "../testing/store-suite.ts"
import { guardedStore, type GuardedStoreOptions } from "./guarded.ts"
import { memoryStore } from "./memory.ts"
import { sqliteStore } from "./sqlite.ts"

const folder = mkdtempSync(join(tmpdir(), "coatcheck-guarded-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe("a guarded memory store keeps the contract", () => {
  for (const { name, run } of storeCases({ open: (setup) => guardedStore(memoryStore(setup), setup) })) it(name, run)
})

describe("a guarded SQLite store keeps the contract", () => {
  let path = ""
  let files = 0
  const handle = async (setup: StoreSetup): Promise<Store> => guardedStore(await sqliteStore(path, setup), setup)
  const cases = storeCases({
    open: (setup) => {
      path = join(folder, `${++files}.db`)
      return handle(setup)
    },
    openSecond: handle,
  })
  for (const { name, run } of cases) it(name, run)
})

interface Rig {
  readonly clock: FakeClock
  readonly faulty: FaultyStore
  readonly store: Store
  readonly reports: StoreReport[]
}

function rig(options: GuardedStoreOptions = {}): Rig {
  const clock = fakeClock()
  const reports: StoreReport[] = []
  const faulty = faultyStore(memoryStore({ clock }))
  const store = guardedStore(faulty.store, { clock, report: (report) => reports.push(report), ...options })
  return { clock, faulty, store, reports }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Lets time pass as a timer sees it: step by step, with room for what each step wakes. */
async function pass(clock: FakeClock, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 50) {
    clock.advance(Math.min(50, left))
    await turn()
  }
}

const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "ok",
    (error: unknown) => (error instanceof CoatcheckError ? error.code : String(error)),
  )

/** Every verb that waits for the store. */
const verbs: readonly (readonly [string, ErrorCode, (store: Store) => Promise<unknown>])[] = [
  ["get", "unavailable", (store) => store.get("k")],
  ["list", "unavailable", (store) => store.list()],
  ["count", "unavailable", async (store) => store.count?.()],
  ["set", "unknown-outcome", (store) => store.set("k", "2")],
  ["touch", "unknown-outcome", (store) => store.touch("k", null)],
  ["delete", "unknown-outcome", (store) => store.delete("k")],
]

/** Opens the breaker of a rig, and says when. */
async function breakIt({ faulty, store, clock }: Rig): Promise<void> {
  faulty.inject("refused", { times: 11 })
  for (let call = 0; call < 10; call++) await codeOf(store.get("k"))
  clock.advance(100)
  await codeOf(store.get("k"))
}

describe("deadlines", () => {
  for (const [verb, code, call] of verbs) {
    it(`REL-03 F-SLOW-3: a ${verb} that is not answered ends with ${code} within its deadline, and its late answer is dropped`, async () => {
      const { clock, faulty, store } = rig()
      const unhandled: unknown[] = []
      const note = (reason: unknown): number => unhandled.push(reason)
      process.on("unhandledRejection", note)
      let ended = Number.NaN
      for (const late of ["answers", "fails"] as const) {
        faulty.inject("held-request")
        const begun = clock.now()
        const outcome = codeOf(call(store)).finally(() => {
          ended = clock.now() - begun
        })
        await faulty.whenHeld()
        if (late === "fails") faulty.inject("refused")
        await pass(clock, 850)
        expect(ended).not.toBeLessThan(900)
        await pass(clock, 150)
        expect(await outcome).toBe(code)
        expect(ended).toBeGreaterThanOrEqual(900)
        expect(ended).toBeLessThanOrEqual(1_000)
        await faulty.release()
        await turn()
        ended = Number.NaN
      }
      process.off("unhandledRejection", note)
      expect(unhandled).toEqual([])
      expect(await codeOf(call(store))).not.toBe("closed")
    })
  }

  it("calls that are answered in time leave no timer behind, and many share one", async () => {
    const { clock, faulty, store } = rig()
    faulty.inject("held-reply", { times: 50 })
    const calls = Array.from({ length: 50 }, (_, at) => store.set(`k${at}`, "1"))
    await faulty.whenHeld(50)
    expect(clock.sleeping).toBe(1)
    await faulty.release()
    expect((await Promise.all(calls)).every(({ ok }) => ok)).toBe(true)
    await pass(clock, 100)
    expect(clock.sleeping).toBe(0)
  })

  it("each call has its own: those that began later end later, and answers in between go through", async () => {
    const { clock, faulty, store } = rig({ deadline: "500ms" })
    const start = clock.now()
    const log: string[] = []
    for (let at = 0; at < 4; at++) {
      if (at !== 2) faulty.inject("held-request")
      void codeOf(store.get("k")).then((code) => log.push(`${at} ${code} ${clock.now() - start}`))
      await turn()
      await pass(clock, 100)
    }
    await pass(clock, 500)
    expect(log).toEqual(["2 ok 200", "0 unavailable 500", "1 unavailable 600", "3 unavailable 800"])
  })
  it("those in the middle may be answered in any order", async () => {
    const clock = fakeClock()
    const answers: ((entry: null) => void)[] = []
    const get = (): Promise<null> => new Promise((resolve) => answers.push(resolve))
    const store = guardedStore({ ...memoryStore(), get }, { clock })
    const log: string[] = []
    for (let at = 0; at < 5; at++) void codeOf(store.get("k")).then((code) => log.push(`${at} ${code}`))
    for (const at of [1, 3, 2]) {
      answers[at]?.(null)
      await turn()
    }
    expect(log).toEqual(["1 ok", "3 ok", "2 ok"])
    void codeOf(store.get("k")).then((code) => log.push(`5 ${code}`))
    await pass(clock, 1_000)
    expect(log.slice(3)).toEqual(["0 unavailable", "4 unavailable", "5 unavailable"])
    expect(clock.sleeping).toBe(0)
  })

  it("closing ends quietly within its deadline, however the store inside behaves; calls after it are rejected, and it is told", async () => {
    const fails = (): never => {
      throw new Error("ECONNRESET")
    }
    for (const close of [() => new Promise<void>(() => {}), () => Promise.reject(new Error("ECONNRESET")), fails]) {
      const clock = fakeClock()
      const reports: StoreReport[] = []
      const store = guardedStore({ ...memoryStore(), close }, { clock, report: (report) => reports.push(report) })
      const closing = codeOf(store.close())
      expect(await codeOf(store.get("k"))).toBe("closed")
      await pass(clock, 1_000)
      expect(await closing).toBe("ok")
      expect(await codeOf(store.close())).toBe("ok")
      expect(reports).toMatchObject([{ store: "memory", kind: "outage", cause: { code: "unavailable" } }])
      expect(clock.sleeping).toBe(0)
    }
  })

  it("a report that throws keeps no caller without an answer, and no deadline from coming", async () => {
    const lines = vi.spyOn(console, "warn").mockImplementation(() => {})
    const report = (): never => {
      throw new Error("the log is full")
    }
    const { clock, faulty, store } = rig({ report, breakAfter: 1 })
    for (let round = 0; round < 3; round++) {
      faulty.inject("held-request", { times: 2 })
      const calls = [codeOf(store.get("a"))]
      await pass(clock, 200)
      calls.push(codeOf(store.get("b")))
      await pass(clock, 1_000)
      expect(await Promise.all(calls)).toEqual(["unavailable", "unavailable"])
      await faulty.release()
      await pass(clock, 1_000)
      expect(await codeOf(store.get("c"))).toBe("ok")
    }
    expect(lines.mock.calls.flat().join()).toMatch(/calls are refused.*calls pass/)
    lines.mockRestore()
  })
})

describe("the cap", () => {
  it("REL-03: a call beyond it is refused at once with unavailable, never asked of the store, and room comes back", async () => {
    const { clock, faulty, store } = rig({ maxInFlight: 3 })
    faulty.inject("held-request", { times: 2 })
    faulty.inject("held-reply")
    const calls = [store.get("k"), store.set("a", "1"), store.set("b", "1")]
    await faulty.whenHeld(3)
    expect(await codeOf(store.set("c", "1"))).toBe("unavailable")
    expect(await codeOf(store.get("k"))).toBe("unavailable")
    expect(faulty.calls).toMatchObject({ get: 1, set: 2 })
    await faulty.release()
    await Promise.all(calls)
    expect(await codeOf(store.set("c", "1"))).toBe("ok")
    // What was given up does not count: a store that loses calls does not fill the cap for good.
    faulty.inject("held-request", { times: 3 })
    const lost = [1, 2, 3].map(() => codeOf(store.get("k")))
    await pass(clock, 1_000)
    expect(await Promise.all(lost)).toEqual(["unavailable", "unavailable", "unavailable"])
    expect(await codeOf(store.get("k"))).toBe("ok")
  })
})

describe("errors of a store that is not ours", () => {
  for (const [verb, code, call] of verbs) {
    it(`REL-04: what a ${verb} throws or rejects with becomes ${code}, and stays as the cause`, async () => {
      const cause = new Error("ECONNRESET 10.0.0.1 user:hunter2")
      const throws = (): never => {
        throw cause
      }
      for (const failing of [() => Promise.reject(cause), throws]) {
        const broken = { ...memoryStore(), [verb]: failing } as Store
        const { clock } = rig()
        const error = await call(guardedStore(broken, { clock })).catch((reason: unknown) => reason)
        expect(error).toMatchObject({ code, cause })
        expect((error as Error).message).toContain(verb)
        expect((error as Error).message).not.toContain("hunter2")
      }
    })
  }

  it("errors of ours pass as they are", async () => {
    for (const code of errorCodes) {
      const error = new CoatcheckError(code, "as it was")
      const store = guardedStore({ ...memoryStore(), set: () => Promise.reject(error) })
      expect(await store.set("k", "1").catch((reason: unknown) => reason)).toBe(error)
    }
  })
})

describe("the breaker", () => {
  it("REL-03 S14: after ten failures in a row calls are refused at once, and it is told once", async () => {
    const one = rig()
    await breakIt(one)
    const { faulty, store, reports } = one
    expect(reports).toMatchObject([{ store: "memory", kind: "outage", cause: { code: "unavailable" } }])
    const before = faulty.calls.get
    for (let call = 0; call < 50; call++) {
      const error = await store.get("k").catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: "unavailable", retryable: true, cause: { code: "unavailable" } })
    }
    expect(await codeOf(store.set("k", "1"))).toBe("unavailable") // nothing was sent, so nothing is unknown
    expect(faulty.calls.get).toBe(before)
    expect(faulty.calls.set).toBe(0)
    expect(reports).toHaveLength(1)
  })

  it("one answer among the failures keeps it closed, and so do failures that come all at once", async () => {
    const { clock, faulty, store, reports } = rig()
    for (let call = 0; call < 60; call++) {
      if (call % 10 !== 0) faulty.inject("refused")
      await codeOf(store.get("k"))
      clock.advance(50)
    }
    await codeOf(store.get("k"))
    faulty.inject("refused", { times: 500 })
    await Promise.all(Array.from({ length: 500 }, () => codeOf(store.get("k"))))
    expect(await codeOf(store.get("k"))).toBe("ok")
    expect(reports).toEqual([])
  })

  const opening: Readonly<Record<string, boolean>> = { unavailable: true, "unknown-outcome": true }
  for (const code of errorCodes) {
    it(`failures of the kind ${code} ${opening[code] === true ? "open it" : "do not"}`, async () => {
      const { clock } = rig()
      const reports: StoreReport[] = []
      const failing = { ...memoryStore(), set: () => Promise.reject(new CoatcheckError(code, "no")) }
      const store = guardedStore(failing, { clock, report: (report) => reports.push(report) })
      for (let call = 0; call < 30; call++) {
        await codeOf(store.set("k", "1"))
        clock.advance(10)
      }
      expect(reports).toHaveLength(opening[code] === true ? 1 : 0)
      expect(await codeOf(store.get("k"))).toBe(opening[code] === true ? "unavailable" : "ok")
    })
  }

  it("opens on calls that are given up, and finds a store that is back within its pause", async () => {
    const one = rig()
    const { clock, faulty, store, reports } = one
    faulty.inject("held-request", { times: 1_000 })
    const load = async (ms: number): Promise<string[]> => {
      const codes: Promise<string>[] = []
      for (let left = ms; left > 0; left -= 50) {
        codes.push(codeOf(store.set("k", "1")))
        clock.advance(50)
        await turn()
      }
      return Promise.race([Promise.all(codes), turn().then(() => [])])
    }
    await load(5_000)
    const asked = faulty.calls.set
    expect(asked).toBeLessThan(40) // a second's worth of calls, then a probe a second at most
    expect(reports).toMatchObject([{ kind: "outage", cause: { code: "unknown-outcome" } }])
    faulty.clear()
    await load(1_000) // the last probe is given up, or the next one goes out
    let waited = 0
    for (; (await codeOf(store.get("k"))) !== "ok"; waited += 50) await pass(clock, 50)
    expect(waited).toBeLessThan(2_000)
    expect(reports).toHaveLength(2)
    expect(reports[1]).toMatchObject({ store: "memory", kind: "outage", message: expect.stringContaining("again") })
    expect(await codeOf(store.set("k", "1"))).toBe("ok")
    await faulty.release()
  })

  it("lets one probe through at a time; what others ask meanwhile is refused", async () => {
    const one = rig()
    await breakIt(one)
    const { clock, faulty, store, reports } = one
    const before = faulty.calls.get
    await pass(clock, 450)
    expect(await codeOf(store.get("k"))).toBe("unavailable")
    expect(faulty.calls.get).toBe(before) // the pause is half a second at least
    await pass(clock, 600)
    faulty.inject("held-request")
    const probe = codeOf(store.get("k"))
    await faulty.whenHeld()
    expect(await Promise.all([codeOf(store.get("k")), codeOf(store.set("k", "1"))])).toEqual([
      "unavailable",
      "unavailable",
    ])
    expect(faulty.calls.get).toBe(before + 1)
    await pass(clock, 1_000)
    expect(await probe).toBe("unavailable")
    await faulty.release() // what comes too late says nothing
    expect(reports).toHaveLength(1)
    expect(await codeOf(store.get("k"))).toBe("unavailable") // a new pause
    expect(faulty.calls.get).toBe(before + 1)
    await pass(clock, 1_000)
    expect(await codeOf(store.get("k"))).toBe("ok")
    expect(await codeOf(store.get("k"))).toBe("ok")
    expect(reports).toHaveLength(2)
  })

  it("calls from before it opened that fail now do not lengthen the pause", async () => {
    const one = rig()
    one.faulty.inject("held-request")
    const early = codeOf(one.store.get("k"))
    await one.faulty.whenHeld()
    await breakIt(one)
    await pass(one.clock, 1_000)
    expect(await early).toBe("unavailable")
    expect(await codeOf(one.store.get("k"))).toBe("ok")
    await one.faulty.release()
  })

  it("a probe that never got to the store leaves the next call to be one", async () => {
    const one = rig()
    await breakIt(one)
    const { clock, faulty, store, reports } = one
    await pass(clock, 1_000)
    expect(await codeOf(store.set("k", ""))).toBe("invalid")
    expect(reports).toHaveLength(1)
    faulty.inject("refused")
    expect(await codeOf(store.get("k"))).toBe("unavailable")
    expect(await codeOf(store.get("k"))).toBe("unavailable")
    expect(faulty.struck).toBe(12)
    await pass(clock, 1_000)
    expect(await codeOf(store.get("k"))).toBe("ok")
  })

  it("an answer to a call from before it opened closes it", async () => {
    const one = rig()
    const { faulty, store, reports } = one
    faulty.inject("held-request")
    const early = codeOf(store.get("k"))
    await faulty.whenHeld()
    await breakIt(one)
    expect(await codeOf(store.get("k"))).toBe("unavailable")
    await faulty.release()
    expect(await early).toBe("ok")
    expect(await codeOf(store.get("k"))).toBe("ok")
    expect(reports).toHaveLength(2)
  })

  it("REL-10: a clock that is put back does not keep it open", async () => {
    const one = rig()
    await breakIt(one)
    one.clock.advance(-3_600_000)
    expect(await codeOf(one.store.get("k"))).toBe("ok")
  })

  it("many processes do not probe in step", async () => {
    const pauses = new Set<number>()
    for (let round = 0; round < 20; round++) {
      const one = rig()
      await breakIt(one)
      let waited = 0
      for (; (await codeOf(one.store.get("k"))) !== "ok"; waited += 10) one.clock.advance(10)
      expect(waited).toBeGreaterThanOrEqual(500)
      expect(waited).toBeLessThanOrEqual(1_000)
      pauses.add(waited)
    }
    expect(pauses.size).toBeGreaterThan(5)
  })

  it("a closed store is closed, whatever the breaker says", async () => {
    const one = rig()
    await breakIt(one)
    await one.store.close()
    expect(await codeOf(one.store.get("k"))).toBe("closed")
    expect(one.reports).toHaveLength(1)
  })
})

describe("what is passed on", () => {
  it("is what the store inside has, as it was asked", async () => {
    const inner = memoryStore()
    expect(guardedStore(inner).info).toBe(inner.info)
    expect(await guardedStore(inner).count?.({ prefix: "k" })).toBe(0)
    const asked: unknown[] = []
    const watched: Store = {
      ...inner,
      get: async (...call) => {
        asked.push(call)
        return null
      },
      watch: (onChange) => {
        onChange("k")
        return () => asked.push("stopped")
      },
    }
    const store = guardedStore(watched)
    await store.get("k", { fresh: true })
    store.watch?.((key) => asked.push(key))()
    expect(asked).toEqual([["k", { fresh: true }], "k", "stopped"])
    const { count: _count, watch: _watch, ...plain } = watched
    expect(guardedStore(plain)).not.toHaveProperty("count")
    expect(guardedStore(plain)).not.toHaveProperty("watch")
  })

  const wrong: GuardedStoreOptions[] = [
    { deadline: 0 },
    { maxInFlight: 0 },
    { breakAfter: 1.5 },
    { retryAfter: "soon" as never },
    { retries: 3 } as never,
  ]
  for (const options of wrong) {
    it(`refuses ${JSON.stringify(options)} when it is made`, () => {
      expect(() => guardedStore(memoryStore(), options)).toThrow(TypeError)
    })
  }
})
