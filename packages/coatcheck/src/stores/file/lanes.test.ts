import { setImmediate as turn } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "vitest"
import { type FakeClock, fakeClock } from "../../testing/fake-clock.ts"
import { type Answer, type Call, type Lanes, lanes, type Work } from "./lanes.ts"

interface Step {
  readonly step: string
}

/** Lanes over work that a test decides on, and what was done. */
function working(work: Partial<Work<Step>> = {}): { clock: FakeClock; line: Lanes<Step>; done: string[] } {
  const clock = fakeClock()
  const done: string[] = []
  const line = lanes<Step>(clock, 1_000, {
    begin: async (name) => done.push(`begin ${name}`) > 0,
    take: async (_name, calls) => {
      done.push(`take ${calls.map((call) => call.step.step).join(" ")}`)
      return answered(calls)
    },
    end: (name) => void done.push(`end ${name}`),
    ...work,
  })
  return { clock, line, done }
}

function answered(calls: readonly Call<Step>[], refused = false): Answer {
  return { refused, give: () => calls.forEach((call) => call.resolve(call.step)) }
}

/** Lets a second pass, in which others have their turns. */
async function second(clock: FakeClock): Promise<void> {
  for (let step = 0; step < 12; step++) {
    clock.advance(100)
    await turn()
  }
}

const never = new Promise<never>(() => {})

describe("a lane", () => {
  it("F-CONC-1: keeps the record for whoever was refused and comes again at once, for a while, and lets go before it answers others", async () => {
    let refusals = 0
    const { line, done } = working({
      take: async (_name, calls) => {
        done.push(`take ${calls.map((call) => call.step.step).join(" ")}`)
        return answered(calls, refusals-- > 0)
      },
    })
    const add = (step: string): Promise<unknown> => line.add("k", { step }).then(() => done.push(`told ${step}`))
    refusals = 1
    await add("a").then(() => add("b"))
    expect(done.splice(0)).toEqual(["begin k", "take a", "told a", "take b", "end k", "told b"])
    await add("c").then(() => add("d"))
    expect(done.splice(0)).toEqual(["begin k", "take c", "end k", "told c", "begin k", "take d", "end k", "told d"])
    refusals = Infinity
    for (const step of "abcdefgh") await add(step)
    await line.idle()
    expect(done.filter((one) => one === "end k").length).toBe(2) // four at a time
  })

  it("REL-03: forgets what its deadline has ended while the disk hangs, and takes no more than 10,000 calls at once", async () => {
    const made = working({ take: () => never })
    const hung = made.line.add("k", { step: "a" }).catch((error: unknown) => error)
    await turn()
    const ended: WeakRef<Step>[] = []
    async function late(): Promise<void> {
      const step = { step: "late" }
      ended.push(new WeakRef(step))
      await Promise.all([
        expect(made.line.add("k", step)).rejects.toMatchObject({ code: "unavailable" }),
        second(made.clock),
      ])
    }
    for (let round = 0; round < 3; round++) await late()
    expect(await hung).toMatchObject({ code: "unknown-outcome" })
    await turn()
    collectGarbage()
    expect(ended.filter((one) => one.deref() !== undefined)).toEqual([])

    const open = Array.from({ length: 10_000 }, () => made.line.add("k", { step: "open" }))
    await expect(made.line.add("other", { step: "too many" })).rejects.toMatchObject({ code: "unavailable" })
    await Promise.all([second(made.clock), Promise.allSettled(open)])
    void made.line.add("other", { step: "room again" }).catch(() => {})
    await turn()
    expect(made.done).toContain("begin other")
  })
})

/** Now, and not when the engine finds the time. */
function collectGarbage(): void {
  setFlagsFromString("--expose-gc")
  runInNewContext("gc")()
}
