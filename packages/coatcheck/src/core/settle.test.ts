import { describe, expect, it, vi } from "vitest"
import { rejection } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { memoryStore } from "../stores/memory.ts"
import { fakeClock } from "../testing/fake-clock.ts"
import { faultyStore } from "../testing/faulty-store.ts"
import { systemClock } from "./clock.ts"
import { settle, type Verdict } from "./settle.ts"
import type { Entry } from "./store.ts"

const unanswered = (): CoatcheckError => new CoatcheckError("unknown-outcome", "no answer")

/** Calls that end like this, one after the other, over a store that holds one entry. */
function calling(...outcomes: (string | CoatcheckError)[]): {
  run(judge: (stands: Entry | null) => Verdict<string>): Promise<string>
  readonly given: (CoatcheckError | null)[]
  readonly faulty: ReturnType<typeof faultyStore>
} {
  const faulty = faultyStore(memoryStore())
  const given: (CoatcheckError | null)[] = []
  return {
    given,
    faulty,
    run: async (judge) => {
      await faulty.store.set("key", "1", { version: "base" })
      const call = async (unknown: CoatcheckError | null): Promise<string> => {
        given.push(unknown)
        const outcome = outcomes[given.length - 1]
        if (outcome === undefined) throw new Error("one call too many")
        if (typeof outcome === "string") return outcome
        throw outcome
      }
      const failed = { store: faulty.store, key: "key", clock: systemClock, madeAt: 0 }
      return call(null).catch((error: unknown) => settle({ ...failed, error }, call, judge))
    },
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const mustNotJudge = (): Verdict<string> => {
  throw new Error("there was nothing to judge")
}

describe("REL-04: a call without an answer", () => {
  it("an answer is taken as it is, without a look", async () => {
    const { run, faulty } = calling("done")
    expect(await run(mustNotJudge)).toBe("done")
    expect(faulty.calls.get).toBe(0)
  })

  it("a failure that says what happened is passed on, without a look", async () => {
    for (const error of [
      new CoatcheckError("unavailable", "down"),
      new CoatcheckError("full", "full"),
      new RangeError("bug"),
    ]) {
      const { run, faulty } = calling(error as CoatcheckError)
      expect(await rejection(run(mustNotJudge))).toBe(error)
      expect(faulty.calls.get).toBe(0)
    }
  })

  it("is judged by what stands in the store", async () => {
    const { run } = calling(unanswered())
    const seen: (string | undefined)[] = []
    const result = await run((stands) => {
      seen.push(stands?.version)
      return { result: "it landed" }
    })
    expect(result).toBe("it landed")
    expect(seen).toEqual(["base"])
  })

  it("goes out again where it did not happen, and is told that it is not the first", async () => {
    const first = unanswered()
    const { run, given } = calling(first, "done")
    expect(await run(() => "again")).toBe("done")
    expect(given).toEqual([null, first])
  })

  it("stays unknown when its repetition is refused: the first call may still arrive", async () => {
    const first = unanswered()
    for (const refusal of [new CoatcheckError("unavailable", "down"), new CoatcheckError("closed", "closed")]) {
      const { run } = calling(first, refusal)
      expect(await rejection(run(() => "again"))).toBe(first)
    }
  })

  it("is told as unknown where nobody can say", async () => {
    const first = unanswered()
    const { run, given } = calling(first)
    expect(await rejection(run(() => "unknown"))).toBe(first)
    expect(given).toHaveLength(1)
  })

  it("is told as unknown, by its own error, when the look fails", async () => {
    const first = unanswered()
    const { run, faulty } = calling(first)
    faulty.inject("refused", { verb: "get" })
    expect(await rejection(run(mustNotJudge))).toBe(first)
  })

  it("goes out three times at most", async () => {
    const errors = [unanswered(), unanswered(), unanswered()]
    const { run, given } = calling(...errors)
    expect(await rejection(run(() => "again"))).toBe(errors[2])
    expect(given).toHaveLength(3)
  })
})

/** A call that took so long, over a store with a deadline of a second that holds back every look. */
async function frozen(tookMs: number) {
  const clock = fakeClock()
  const faulty = faultyStore(memoryStore({ clock }))
  const store = { ...faulty.store, info: { ...faulty.store.info, deadline: 1_000 } }
  faulty.inject("held-request", { verb: "get" })
  const madeAt = clock.now()
  clock.advance(tookMs)
  const first = unanswered()
  const again = vi.fn<() => Promise<string>>(async () => "sent again")
  const ended = vi.fn<(how: unknown) => void>()
  settle({ store, key: "key", clock, madeAt, error: first }, again, () => "again").then(ended, ended)
  await faulty.whenHeld()
  return { clock, faulty, first, again, ended }
}

describe("REL-03: the time for all this", () => {
  it.each([
    ["soon", 10, 1_240],
    ["at the deadline", 1_000, 250],
    ["long after it, or the clock was put forward", 100_000, 250],
    ["before it was made, because the clock was put back", -100_000, 1_250],
  ])("after a call that failed %s", async (_when, tookMs, leftMs) => {
    const { clock, first, ended } = await frozen(tookMs)
    clock.advance(leftMs - 1)
    await turn()
    expect(ended).not.toHaveBeenCalled()
    clock.advance(1)
    await turn()
    expect(ended).toHaveBeenCalledExactlyOnceWith(first)
  })

  it("nothing is sent when it is over, whatever a late look says", async () => {
    const { clock, faulty, again, ended } = await frozen(1_000)
    clock.advance(250)
    await faulty.release()
    await turn()
    expect([again.mock.calls.length, ended.mock.calls.length]).toEqual([0, 1])
  })

  it("a look that answers in it counts, though the deadline is over", async () => {
    const { clock, faulty, again, ended } = await frozen(1_000)
    clock.advance(249)
    await faulty.release()
    await turn()
    expect(again).toHaveBeenCalledOnce()
    expect(ended).toHaveBeenCalledExactlyOnceWith("sent again")
  })
})

it("leaves no timer behind when it was answered before its time", async () => {
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length
  const before = timers()
  const inner = memoryStore()
  await inner.set("key", "1", { version: "mine" })
  const store = { ...inner, info: { ...inner.info, deadline: 60_000 } }
  const failed = { store, key: "key", clock: systemClock, madeAt: systemClock.now(), error: unanswered() }
  const judge = (stands: Entry | null): Verdict<string> => ({ result: stands?.version ?? "" })
  expect(await settle(failed, () => Promise.resolve("again"), judge)).toBe("mine")
  expect(timers()).toBe(before)
})
