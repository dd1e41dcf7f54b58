import { describe, expect, it } from "vitest"
import { hastyClock, rejection } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { memoryStore } from "../stores/memory.ts"
import { type Fault, type FaultyStore, faultyStore, type StoreVerb } from "../testing/faulty-store.ts"
import type { Clock } from "./clock.ts"
import { randomText } from "./crypto.ts"
import { type Change, createLanes, type Lanes } from "./lanes.ts"
import type { Entry, SetOptions, Store } from "./store.ts"

/** Adds one to a number, and creates it. */
const increment: Change = { apply: (text) => String(Number(text ?? 0) + 1), end: () => undefined, creates: true }

function lanesOver(store: Store, settings: { deadline?: number; clock?: Clock } = {}): Lanes {
  return createLanes({
    store,
    clock: settings.clock ?? hastyClock(),
    random: randomText,
    deadline: settings.deadline ?? 5_000,
  })
}

function setup(): { inner: Store; faulty: FaultyStore; lanes: Lanes } {
  const inner = memoryStore()
  const faulty = faultyStore(inner)
  return { inner, faulty, lanes: lanesOver(faulty.store) }
}

function codeOf(error: unknown): string {
  return error instanceof CoatcheckError ? error.code : String(error)
}

async function counterAt(store: Store, key = "key"): Promise<number> {
  return Number((await store.get(key))?.value ?? 0)
}

/** Entries of a store as they stand, made without the lanes under test. */
async function put(store: Store, value: string, options: SetOptions = {}): Promise<Entry> {
  await store.set("key", value, options)
  return (await store.get("key"))!
}

describe("changes of one key in one process", () => {
  it("S11: a burst of 200 lands exactly, in few calls", async () => {
    const { inner, faulty, lanes } = setup()
    const known = await put(inner, "0")
    await Promise.all(Array.from({ length: 200 }, () => lanes.submit("key", known, increment)))
    expect(await counterAt(inner)).toBe(200)
    expect(faulty.calls.set).toBeLessThanOrEqual(20)
    expect(faulty.calls.get).toBe(0)
  })

  it("go one behind the other, and what waits leaves together", async () => {
    const { inner, faulty, lanes } = setup()
    faulty.inject("held-request", { verb: "set" })
    const first = lanes.submit("key", null, increment)
    const others = [1, 2, 3].map(() => lanes.submit("key", null, increment))
    await faulty.whenHeld()
    expect(faulty.calls.set).toBe(1)
    await faulty.release()
    expect((await first).value).toBe("1")
    expect((await Promise.all(others)).map(({ value }) => value)).toEqual(["4", "4", "4"])
    expect(faulty.calls.set).toBe(2)
    expect(await counterAt(inner)).toBe(4)
  })

  it("answer with the entry as it stands in the store then", async () => {
    const { inner, lanes } = setup()
    const known = await put(inner, "1", { expiresAt: 5_000_000_000_000, owner: "alice" })
    expect(await lanes.submit("key", known, increment)).toEqual(await inner.get("key"))
    const moved = { ...increment, end: () => 6_000_000_000_000 }
    expect(await lanes.submit("key", undefined, moved)).toEqual(await inner.get("key"))
    expect(await inner.get("key")).toMatchObject({ value: "3", expiresAt: 6_000_000_000_000, owner: "alice" })
  })

  it("keys do not wait for each other", async () => {
    const { faulty, lanes } = setup()
    faulty.inject("held-request", { verb: "set" })
    const held = lanes.submit("one", null, increment)
    await faulty.whenHeld()
    expect((await lanes.submit("other", null, increment)).value).toBe("1")
    await faulty.release()
    await held
  })

  it("one that throws fails alone, with its own error and without a trace", async () => {
    const { inner, faulty, lanes } = setup()
    faulty.inject("held-request", { verb: "set" })
    const opening = lanes.submit("key", null, increment)
    const failures = [new RangeError("no"), new RangeError("no again")]
    const bad = failures.map(
      (failure): Change => ({
        ...increment,
        apply: () => {
          throw failure
        },
      }),
    )
    const badEnd: Change = {
      ...increment,
      end: () => {
        throw new RangeError("no end")
      },
    }
    const results = Promise.allSettled(
      [increment, bad[0]!, increment, badEnd, bad[1]!, increment].map((change) => lanes.submit("key", null, change)),
    )
    await faulty.whenHeld()
    await faulty.release()
    await opening
    expect((await results).map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
      "rejected",
      "rejected",
      "fulfilled",
    ])
    expect(await counterAt(inner)).toBe(4)
    expect(await rejection(lanes.submit("key", undefined, bad[0]!))).toBe(failures[0])
  })

  it("one whose text no store takes fails alone as well", async () => {
    const { inner, faulty, lanes } = setup()
    const append = (more: string): Change => ({ ...increment, apply: (text) => (text ?? "") + more })
    faulty.inject("held-request", { verb: "set" })
    const opening = lanes.submit("key", null, append("a"))
    const results = Promise.allSettled(
      ["b", "x".repeat(1_100_000), "c", "\ud800", "d"].map((more) => lanes.submit("key", null, append(more))),
    )
    await faulty.whenHeld()
    await faulty.release()
    await opening
    const told = (await results).map((result) => (result.status === "rejected" ? codeOf(result.reason) : "kept"))
    expect(told).toEqual(["kept", "too-large", "kept", "invalid", "kept"])
    expect((await inner.get("key"))?.value).toBe("abcd")
  })

  it("when all of them throw, nothing is written", async () => {
    const { inner, faulty, lanes } = setup()
    const known = await put(inner, "5")
    const bad: Change = {
      ...increment,
      apply: () => {
        throw new RangeError("no")
      },
    }
    await Promise.allSettled([lanes.submit("key", known, bad), lanes.submit("key", known, bad)])
    expect([faulty.calls.set, await counterAt(inner)]).toEqual([0, 5])
  })

  it("a lane exists only while it has work: the next one begins with what its caller knows", async () => {
    const { inner, faulty, lanes } = setup()
    const first = await put(inner, "1")
    await lanes.submit("key", first, increment)
    await rejection(
      lanes.submit("key", undefined, {
        ...increment,
        apply: () => {
          throw new RangeError("no")
        },
      }),
    )
    const now = await put(inner, "10") // as another process would
    const calls = { ...faulty.calls }
    expect((await lanes.submit("key", now, increment)).value).toBe("11")
    expect(faulty.calls).toEqual({ ...calls, set: calls.set + 1 })
  })
})

describe("what stands there decides", () => {
  it("REL-01: a change that may not create fails with `ended` where there is nothing, alone", async () => {
    const { inner, lanes } = setup()
    const mayNot = { ...increment, creates: false }
    const [refused, made] = await Promise.allSettled([
      lanes.submit("key", null, mayNot),
      lanes.submit("key", null, increment),
    ])
    expect(codeOf((refused as PromiseRejectedResult).reason)).toBe("ended")
    expect(made.status).toBe("fulfilled")
    expect(await counterAt(inner)).toBe(1)
  })

  it("SES-06: what was deleted meanwhile is not written back", async () => {
    const { inner, lanes } = setup()
    const known = await put(inner, "1")
    await inner.delete("key")
    expect(codeOf(await rejection(lanes.submit("key", known, { ...increment, creates: false })))).toBe("ended")
    expect(await inner.get("key")).toBe(null)
  })

  it("F-CONC-3: a writer that slept while another one wrote builds on what that one left", async () => {
    const { inner, faulty, lanes } = setup()
    const known = await put(inner, "1")
    const other = lanesOver(inner)
    faulty.inject("held-request", { verb: "set" })
    const sleeping = lanes.submit("key", known, increment)
    await faulty.whenHeld()
    await other.submit("key", known, increment)
    await faulty.release()
    expect((await sleeping).value).toBe("3")
    expect(await counterAt(inner)).toBe(3)
  })

  it("a caller that knows something stale costs one call more, no read", async () => {
    const { inner, faulty, lanes } = setup()
    const stale = await put(inner, "1")
    await put(inner, "7")
    expect((await lanes.submit("key", stale, increment)).value).toBe("8")
    expect([faulty.calls.get, faulty.calls.set]).toEqual([0, 2])
  })

  it("a caller that did not look costs one read", async () => {
    const { inner, faulty, lanes } = setup()
    await put(inner, "1")
    expect((await lanes.submit("key", undefined, increment)).value).toBe("2")
    expect([faulty.calls.get, faulty.calls.set]).toEqual([1, 1])
  })

  it("a change that comes to nothing is judged on the newest text, and not written", async () => {
    const { inner, faulty, lanes } = setup()
    const stale = await put(inner, "1")
    const newest = await put(inner, "7")
    const seen: (string | null)[] = []
    const reading: Change = {
      ...increment,
      apply: (text) => {
        seen.push(text)
        return text ?? ""
      },
    }
    expect(await lanes.submit("key", stale, reading)).toEqual(newest)
    expect(seen.at(-1)).toBe("7")
    expect(faulty.calls.set).toBe(0)
  })

  it("S11: two processes on one store count exactly", async () => {
    const inner = memoryStore()
    const processes = [lanesOver(inner), lanesOver(inner), lanesOver(inner)]
    const rounds = Array.from({ length: 20 }, async (_, round) => {
      for (let i = 0; i < round; i++) await Promise.resolve() // so that they meet at many points
      await Promise.all(
        processes.flatMap((lanes) => [1, 2, 3, 4, 5].map(() => lanes.submit("key", undefined, increment))),
      )
    })
    await Promise.all(rounds)
    expect(await counterAt(inner)).toBe(20 * 3 * 5)
  })

  it("the end moves only when a change asks for it; null takes it away; the last one asked counts", async () => {
    const { inner, faulty, lanes } = setup()
    const ending = (end: number | null | undefined): Change => ({ ...increment, end: () => end })
    await lanes.submit("key", null, ending(5_000_000_000_000))
    await lanes.submit("key", undefined, ending(undefined))
    expect((await inner.get("key"))?.expiresAt).toBe(5_000_000_000_000)
    faulty.inject("held-request", { verb: "set" })
    const opening = lanes.submit("key", undefined, increment)
    await faulty.whenHeld()
    const together = [undefined, 6_000_000_000_000, 7_000_000_000_000, undefined].map((end) =>
      lanes.submit("key", undefined, ending(end)),
    )
    await faulty.release()
    await Promise.all([opening, ...together])
    expect((await inner.get("key"))?.expiresAt).toBe(7_000_000_000_000)
    await lanes.submit("key", undefined, ending(null))
    expect((await inner.get("key"))?.expiresAt).toBe(null)
    // The end alone is a write too.
    await lanes.submit("key", undefined, { ...ending(8_000_000_000_000), apply: (text) => text ?? "" })
    expect(await inner.get("key")).toMatchObject({ value: "8", expiresAt: 8_000_000_000_000 })
  })
})

describe("the deadline", () => {
  /** Somebody else is always faster. */
  function contested(inner: Store): Store {
    return {
      ...inner,
      set: async (key, value, options) => {
        await inner.set(key, "other")
        return inner.set(key, value, options)
      },
    }
  }

  it("a change that others always overtake fails with `conflict` when its time is up", async () => {
    const clock = hastyClock()
    const inner = memoryStore()
    const faulty = faultyStore(contested(inner))
    const lanes = lanesOver(faulty.store, { clock, deadline: 500 })
    const began = clock.now()
    const error = await rejection(lanes.submit("key", null, increment))
    expect(codeOf(error)).toBe("conflict")
    expect((error as CoatcheckError).retryable).toBe(true)
    expect(clock.now() - began).toBeGreaterThanOrEqual(500)
    expect(clock.now() - began).toBeLessThan(520)
    expect((await inner.get("key"))?.value).toBe("other")
    // Pauses have jitter and grow to 16 ms: many more attempts would be a storm, many fewer a nap.
    expect(faulty.calls.set).toBeGreaterThan(30)
    expect(faulty.calls.set).toBeLessThan(400)
  })

  it("what turns out to have ended is told as that, however late", async () => {
    const clock = hastyClock()
    const inner = memoryStore()
    const faulty = faultyStore(inner)
    const known = await put(inner, "1")
    faulty.inject("held-request", { verb: "set" })
    const change = { ...increment, creates: false }
    const late = rejection(lanesOver(faulty.store, { clock, deadline: 100 }).submit("key", known, change))
    await faulty.whenHeld()
    await inner.delete("key")
    clock.advance(1_000)
    await faulty.release()
    expect(codeOf(await late)).toBe("ended")
    expect(faulty.calls.set).toBe(1)
  })

  it("drops those whose time is up, and goes on for the others", async () => {
    const clock = hastyClock()
    const inner = memoryStore()
    let isContested = true
    const store: Store = { ...inner, set: (...call) => (isContested ? contested(inner) : inner).set(...call) }
    const lanes = lanesOver(store, { clock, deadline: 100 })
    const early = rejection(lanes.submit("key", null, increment))
    clock.advance(60)
    const late = lanes.submit("key", null, { ...increment, apply: () => "late" })
    expect(codeOf(await early)).toBe("conflict")
    isContested = false
    expect((await late).value).toBe("late")
  })
})

describe("F-CONC-3, REL-04: a write that arrives late", () => {
  it("is not counted twice when others wrote between its arrival and its repetition", async () => {
    const inner = memoryStore()
    const known = await put(inner, "0")
    const other = lanesOver(inner)
    let sent = 0
    let arrivesLate = async (): Promise<unknown> => undefined
    const store: Store = {
      ...inner,
      set: async (key, value, options) => {
        sent++
        if (sent === 1) {
          arrivesLate = () => inner.set(key, value, options)
          throw new CoatcheckError("unknown-outcome", "no answer")
        }
        // The look has shown the base; only now the first call arrives, and somebody builds on it.
        await arrivesLate()
        await other.submit("key", undefined, increment)
        return inner.set(key, value, options)
      },
    }
    const error = await rejection(lanesOver(store).submit("key", known, increment))
    expect(codeOf(error)).toBe("unknown-outcome")
    expect(await counterAt(inner)).toBe(2)
  })

  it("changes nothing once its repetition has landed", async () => {
    const { inner, faulty, lanes } = setup()
    const known = await put(inner, "0")
    faulty.inject("late", { verb: "set" })
    await lanes.submit("key", known, increment)
    await lanes.submit("key", undefined, increment)
    await faulty.release()
    expect(await counterAt(inner)).toBe(2)
    expect(faulty.struck).toBe(1)
  })
})

describe("REL-03, REL-04: a fault at each call in turn", () => {
  const faults: Fault[] = ["refused", "lost-request", "lost-reply", "late", "held-request", "held-reply"]
  const verbs: StoreVerb[] = ["get", "set"]

  /** Two processes, 30 changes each in three waves; the first one's n-th call suffers. */
  async function run(fault: Fault, verb: StoreVerb, nth: number, times: number): Promise<{ struck: number }> {
    const inner = memoryStore()
    const faulty = faultyStore(inner)
    faulty.inject(fault, { verb, nth, times })
    const processes = [lanesOver(faulty.store), lanesOver(inner)]
    let isRunning = true
    const releasing = (async () => {
      while (isRunning) {
        await new Promise((resolve) => setImmediate(resolve))
        await faulty.release()
      }
    })()
    const tally = { acknowledged: 0, unknown: 0 }
    const one = async (lanes: Lanes): Promise<void> => {
      try {
        await lanes.submit("key", undefined, increment)
        tally.acknowledged++
      } catch (error) {
        if (codeOf(error) === "unknown-outcome") tally.unknown++
        else expect(codeOf(error)).toBe("unavailable")
      }
    }
    for (let wave = 0; wave < 3; wave++) {
      await Promise.all(processes.flatMap((lanes) => Array.from({ length: 10 }, () => one(lanes))))
      await new Promise((resolve) => setImmediate(resolve))
    }
    faulty.clear()
    await one(processes[0]!)
    isRunning = false
    await releasing
    const counter = await counterAt(inner)
    const bounds = `${fault} ${verb} ${nth}: ${JSON.stringify(tally)}`
    expect(counter, bounds).toBeGreaterThanOrEqual(tally.acknowledged)
    expect(counter, bounds).toBeLessThanOrEqual(tally.acknowledged + tally.unknown)
    return { struck: faulty.struck }
  }

  for (const fault of faults) {
    it(`${fault}: nothing acknowledged is lost, nothing is counted that was told as not done`, async () => {
      for (const verb of verbs) {
        let positions = 0
        for (let nth = 1; ; nth++) {
          const { struck } = await run(fault, verb, nth, 1)
          if (struck === 0) break
          positions++
          // Repeated, so that settling fails as well.
          await run(fault, verb, nth, 4)
        }
        expect(positions, verb).toBeGreaterThan(1)
      }
    })
  }
})
