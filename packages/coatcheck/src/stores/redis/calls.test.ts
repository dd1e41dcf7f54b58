import { describe, expect, it } from "vitest"
import { fakeClock } from "../../testing/fake-clock.ts"
import { coarseTimer } from "../shared/timer.ts"
import { callsTo, type Calls } from "./calls.ts"
import { type RedisConnection, RedisLinkError, RedisReplyError } from "./connection.ts"
import { script } from "./scripts.ts"

interface Pending {
  readonly args: readonly string[]
  readonly resolve: (reply: unknown) => void
  readonly reject: (error: Error) => void
}

interface Rig {
  readonly calls: Calls
  /** Commands that were sent and have no answer yet. */
  readonly pending: Pending[]
  /** How often a command was sent. */
  sent: number
  /** Answers every command from now on, instead of keeping it pending. */
  answer: ((args: readonly string[]) => Promise<unknown>) | null
  /** Lets so many milliseconds pass, in the timer's steps, and everybody react. */
  pass(ms: number): Promise<void>
}

const turn = (): Promise<void> => new Promise(setImmediate)
const write = script("once", "return 1")
const repeatable = script("again", "return 2")

/** Calls over a wire that is in our hands; a deadline of 1 s. */
function rig(most = 10_000): Rig {
  const clock = fakeClock()
  const pending: Pending[] = []
  const state: Rig = {
    calls: undefined as unknown as Calls, // set below, where the connection knows `state`
    pending,
    sent: 0,
    answer: null,
    async pass(ms) {
      for (let left = ms; left > 0; left -= 100) {
        await turn()
        clock.advance(Math.min(left, 100))
        await turn()
      }
    },
  }
  const connection: RedisConnection = {
    inOrder: true,
    send(_key, args) {
      state.sent += 1
      if (state.answer !== null) return state.answer(args)
      return new Promise((resolve, reject) => pending.push({ args, resolve, reject }))
    },
    primaries: async () => [],
    close: async () => {},
  }
  const calls = callsTo({ reads: connection, writes: connection, replicas: null }, coarseTimer(clock, 1_000), most)
  return Object.assign(state, { calls })
}

const lost = (sent: boolean): Promise<never> => Promise.reject(new RedisLinkError(sent, "no link"))

/** How a call ended, or "open". */
function outcome(call: Promise<unknown>): { now: unknown } {
  const seen: { now: unknown } = { now: "open" }
  call.then(
    (reply) => (seen.now = reply),
    (error: unknown) => (seen.now = (error as { code?: string }).code ?? error),
  )
  return seen
}

describe("a call's deadline", () => {
  it("REL-03: ends it without an answer: a read did not happen, a write may have", async () => {
    const { calls, pass, pending } = rig()
    const read = outcome(calls.read("k", ["GET", "k"]))
    const written = outcome(calls.script(write, "k", []))
    const listed = outcome(calls.script(repeatable, "k", []))
    await pass(900)
    expect([read.now, written.now]).toEqual(["open", "open"])
    await pass(200)
    expect([read.now, written.now, listed.now]).toEqual(["unavailable", "unknown-outcome", "unavailable"])
    // Answers that come too late are nobody's.
    for (const { resolve } of pending.splice(0, 2)) resolve("late")
    pending[0]?.reject(new Error("late"))
    await turn()
    expect(read.now).toBe("unavailable")
    await calls.end()
  })

  it("is shared by calls that say since when, and the timer stops with the last one", async () => {
    const { calls, pass } = rig()
    const since = calls.moment()
    const first = outcome(calls.read("k", ["GET", "k"], since))
    await pass(600)
    const second = outcome(calls.read("k", ["GET", "l"], since))
    const third = outcome(calls.read("k", ["GET", "m"]))
    await pass(500)
    expect([first.now, second.now, third.now]).toEqual(["unavailable", "unavailable", "open"])
    await pass(600)
    expect(third.now).toBe("unavailable")
  })
})

describe("what surely did not happen", () => {
  it("waits and is sent again, writes too, until it gets through", async () => {
    const at = rig()
    for (const refused of [
      () => lost(false),
      ...["LOADING x", "READONLY x", "CLUSTERDOWN x", "TRYAGAIN x", "MASTERDOWN x", "BUSY x", "NOREPLICAS x"]
        .concat("MOVED 1 a:1", "ASK 1 a:1", "UNKILLABLE x", "ERR max number of clients reached")
        .map((text) => () => Promise.reject(new RedisReplyError(text))),
    ]) {
      at.answer = refused
      at.sent = 0
      const written = outcome(at.calls.script(write, "k", []))
      const read = outcome(at.calls.read("k", ["GET", "k"]))
      await at.pass(500)
      expect([written.now, read.now]).toEqual(["open", "open"])
      expect(at.sent).toBeGreaterThan(4)
      at.answer = async () => "done"
      await at.pass(100)
      expect([written.now, read.now]).toEqual(["done", "done"])
    }
  })

  it("ends as unavailable at its deadline, with the reason, and a write that was refused to its end is not unknown", async () => {
    const at = rig()
    at.answer = () => Promise.reject(new RedisReplyError("LOADING Redis is loading the dataset in memory"))
    const written = at.calls.script(write, "k", [])
    written.catch(() => {}) // looked at when its time is over
    await at.pass(1_100)
    await expect(written).rejects.toMatchObject({ code: "unavailable", message: expect.stringMatching(/loading/) })
    at.answer = () => lost(false)
    const read = at.calls.read("k", ["GET", "k"])
    read.catch(() => {})
    await at.pass(1_100)
    await expect(read).rejects.toMatchObject({ message: expect.stringMatching(/not connected/) })
  })

  it("takes all others along when the first gets through, and costs little until then", async () => {
    const at = rig()
    at.answer = () => lost(false)
    const all = Array.from({ length: 500 }, () => outcome(at.calls.script(write, "k", [])))
    await at.pass(100)
    at.sent = 0
    await at.pass(300)
    expect(at.sent).toBe(192)
    at.answer = async () => "done"
    await at.pass(100)
    expect(all.filter(({ now }) => now !== "done")).toEqual([])
  })

  it("is not sent again for those that succeed at once: a cluster's other servers go on as ever", async () => {
    const at = rig()
    at.answer = (args) => (args[1] === "down" ? lost(false) : Promise.resolve("ok"))
    const waiting = outcome(at.calls.read("down", ["GET", "down"]))
    await turn()
    at.sent = 0
    for (let n = 0; n < 50; n++) await at.calls.read("up", ["GET", "up"])
    expect(at.sent).toBe(50)
    expect(waiting.now).toBe("open")
  })
})

describe("what may have happened", () => {
  it("REL-04: a write is never sent a second time; a read and a write that may be repeated are", async () => {
    const at = rig()
    at.answer = () => lost(true)
    const written = outcome(at.calls.script(write, "k", []))
    await turn()
    expect([written.now, at.sent]).toEqual(["unknown-outcome", 1])
    const read = outcome(at.calls.read("k", ["GET", "k"]))
    const listed = outcome(at.calls.script(repeatable, "k", []))
    await at.pass(200)
    at.answer = async () => "done"
    await at.pass(100)
    expect([read.now, listed.now]).toEqual(["done", "done"])
  })

  it("errors that no wait mends end the call at once", async () => {
    const at = rig()
    for (const [text, code] of [
      ["OOM command not allowed when used memory > 'maxmemory'.", "full"],
      ["NOPERM User nobody has no permissions to run the 'get' command", "denied"],
      ["NOAUTH Authentication required.", "denied"],
      ["WRONGPASS invalid username-password pair or user is disabled.", "denied"],
      ["WRONGTYPE Operation against a key holding the wrong kind of value", "corrupt"],
      ["ERR unknown command 'EVALSHA', with args beginning with:", "unsupported"],
      ["MISCONF Redis is configured to save RDB snapshots", "unavailable"],
      ["ERR something new", "unavailable"],
      ["", "unavailable"],
    ] as const) {
      at.answer = () => Promise.reject(new RedisReplyError(text))
      await expect(at.calls.script(write, "k", [])).rejects.toMatchObject({ code })
      await expect(at.calls.read("k", ["GET", "k"])).rejects.toMatchObject({ code })
    }
    const secret = "session-of-alice"
    at.answer = () => Promise.reject(new RedisReplyError(`ERR wrong ${secret}`))
    await expect(at.calls.read("k", ["GET", secret])).rejects.toThrow(/^(?!.*alice)/)
  })
})

describe("how many", () => {
  it("F-RED-2: no more than so many are under way, with those that the driver has not let go of", async () => {
    const at = rig(3)
    const first = [0, 1, 2].map(() => outcome(at.calls.read("k", ["GET", "k"])))
    await expect(at.calls.read("k", ["GET", "k"])).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/Too many/),
    })
    await expect(at.calls.script(write, "k", [])).rejects.toMatchObject({ code: "unavailable" })
    expect(at.sent).toBe(3)
    await at.pass(1_100)
    expect(first.map(({ now }) => now)).toEqual(["unavailable", "unavailable", "unavailable"])
    // Their time is over, and the driver still holds them.
    await expect(at.calls.read("k", ["GET", "k"])).rejects.toMatchObject({ message: expect.stringMatching(/Too many/) })
    at.pending[0]?.reject(new RedisLinkError(true, "cut"))
    await turn()
    const next = outcome(at.calls.read("k", ["GET", "k"]))
    await turn()
    at.pending[3]?.resolve("ok")
    await turn()
    expect(next.now).toBe("ok")
  })

  it("several commands that are one call count once, until the driver has let go of the last one", async () => {
    const at = rig(1)
    const both = at.calls.readAll([
      ["k", ["GET", "k"]],
      ["l", ["GET", "l"]],
    ])
    at.pending[0]?.reject(new RedisReplyError("WRONGTYPE Operation against a key holding the wrong kind of value"))
    await turn()
    await expect(at.calls.read("k", ["GET", "k"])).rejects.toMatchObject({ message: expect.stringMatching(/Too many/) })
    at.pending[1]?.resolve("1")
    expect(await both).toMatchObject([{ code: "corrupt" }, "1"])
    const again = outcome(at.calls.readAll([["k", ["GET", "k"]]]))
    at.pending[2]?.reject(new RedisLinkError(true, "cut"))
    await at.pass(200)
    at.pending[3]?.resolve("2")
    await turn()
    expect(again.now).toEqual(["2"])
  })

  it("those that wait to be sent again count too", async () => {
    const at = rig(2)
    at.answer = () => lost(false)
    const waiting = [0, 1].map(() => outcome(at.calls.read("k", ["GET", "k"])))
    await turn()
    await expect(at.calls.read("k", ["GET", "k"])).rejects.toMatchObject({ message: expect.stringMatching(/Too many/) })
    await at.pass(1_100)
    expect(waiting.map(({ now }) => now)).toEqual(["unavailable", "unavailable"])
    at.answer = async () => "ok"
    expect(await at.calls.read("k", ["GET", "k"])).toBe("ok")
  })
})
