import { describe, expect, it } from "vitest"
import type { CoatcheckError } from "../../errors.ts"
import { type FakeClock, fakeClock } from "../../testing/fake-clock.ts"
import { coarseTimer } from "../shared/timer.ts"
import type { HttpClient, HttpDone } from "./client.ts"
import { type Call, lane } from "./lane.ts"
import type { HttpReply } from "./reply.ts"

const DEADLINE_MS = 1_000

interface Named extends Call {
  readonly name: string
}

/** A request that was handed to the client. */
interface Sending {
  readonly calls: string
  readonly done: HttpDone
  sent: boolean
  cancelled: boolean
}

/** A lane of one request at a time, over a client whose every step the test takes. */
function laneByHand() {
  const clock = fakeClock()
  const sendings: Sending[] = []
  const outcomes = new Map<string, string>()
  const client: HttpClient = {
    send(request, done) {
      const sending: Sending = { calls: request.body ?? "", done, sent: false, cancelled: false }
      sendings.push(sending)
      return {
        get sent() {
          return sending.sent
        },
        cancel: () => (sending.cancelled = true),
      }
    },
    dropIdle() {},
    close() {},
  }
  const timer = coarseTimer(clock, DEADLINE_MS)
  const calls = lane<Named>(client, "there", timer, { inFlight: 1, maxQueued: 100 }, (queue) => ({
    request: { method: "POST", path: "/", body: queue.map(({ name }) => name).join(" "), maxReply: 1 },
    count: queue.length,
    land: (landed) => {
      for (const call of landed) {
        if (call.settled) continue
        call.settled = true
        outcomes.set(call.name, "answered")
      }
    },
  }))
  return {
    clock,
    sendings,
    outcomes,
    calls,
    begin(name: string, writes: boolean): void {
      const reject = (error: CoatcheckError): void => void outcomes.set(name, error.code)
      calls.push({ name, writes, reject, turn: 0, settled: false, resent: false })
    },
  }
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Lets so many of the timer's turns pass, ten of which are the deadline. */
async function turns(clock: FakeClock, count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) {
    clock.advance(DEADLINE_MS / 10)
    await tick()
  }
}

const reply: HttpReply = { status: 200, fields: new Map(), body: "" }

/** A request of two writes, the first of which is as old as can be, while there is no connection. */
async function twoAges() {
  const by = laneByHand()
  by.begin("first", false)
  await tick()
  by.begin("older", true)
  await turns(by.clock, 5)
  by.begin("younger", true)
  by.begin("read", false)
  by.sendings[0]?.done(reply, null)
  await tick()
  expect(by.sendings.map(({ calls }) => calls)).toEqual(["first", "older younger read"])
  return by
}

describe("a request whose calls are not equally old", () => {
  it("REL-04: that was not sent when the first of them is over goes without that one, which did not happen", async () => {
    const { clock, sendings, outcomes, calls } = await twoAges()
    await turns(clock, 5)
    expect(Object.fromEntries(outcomes)).toEqual({ first: "answered", older: "unavailable" })
    expect(sendings[1]?.cancelled).toBe(true)
    await tick() // the others went back to the queue
    expect(sendings[2]?.calls).toBe("younger read")
    sendings[2]?.done(reply, null)
    await calls.idle()
    expect(Object.fromEntries(outcomes)).toMatchObject({ younger: "answered", read: "answered" })
  })

  it("REL-04: that was sent waits for the others, and of the first one nobody knows", async () => {
    const { clock, sendings, outcomes, calls } = await twoAges()
    const [, second] = sendings as [Sending, Sending]
    second.sent = true
    await turns(clock, 5)
    expect(Object.fromEntries(outcomes)).toEqual({ first: "answered", older: "unknown-outcome" })
    expect([second.cancelled, sendings.length]).toEqual([false, 2])
    second.done(reply, null)
    await calls.idle()
    expect(Object.fromEntries(outcomes)).toMatchObject({ older: "unknown-outcome", younger: "answered" })
  })

  it("REL-03: is given up when all of them are over", async () => {
    const { clock, sendings, outcomes, calls } = await twoAges()
    const [, second] = sendings as [Sending, Sending]
    second.sent = true
    await turns(clock, 10)
    await calls.idle()
    expect([second.cancelled, sendings.length]).toEqual([true, 2])
    expect(Object.fromEntries(outcomes)).toMatchObject({ younger: "unknown-outcome", read: "unavailable" })
  })
})
