import { describe, expect, it } from "vitest"
import { rejection } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { memoryStore } from "../stores/memory.ts"
import { faultyStore } from "../testing/faulty-store.ts"
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
      return call(null).catch((error: unknown) => settle(faulty.store, "key", error, call, judge))
    },
  }
}

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
