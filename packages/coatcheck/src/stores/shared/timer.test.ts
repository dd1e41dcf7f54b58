import { describe, expect, it } from "vitest"
import { fakeClock } from "../../testing/fake-clock.ts"
import { coarseTimer } from "./timer.ts"

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe("the coarse timer", () => {
  it("REL-03: ends a call within its deadline, and not before nine tenths of it", async () => {
    for (const startAt of [0, 1, 50, 99, 100, 101, 555]) {
      const clock = fakeClock(0)
      const timer = coarseTimer(clock, 1_000)
      const other = { turn: 0, over: false }
      const call = { turn: 0, began: 0, ended: Number.NaN }
      timer.watch((last) => {
        if (!other.over && other.turn <= last) other.over = true
        if (call.began === startAt && Number.isNaN(call.ended) && call.turn <= last) call.ended = clock.now()
        return !other.over || Number.isNaN(call.ended)
      })
      other.turn = timer.turn
      timer.start() // a call that keeps the timer turning, so that ours may begin in the middle of a turn
      for (let now = 0; now < 2_000; now++) {
        if (now === startAt) {
          call.turn = timer.turn
          call.began = now
          timer.start()
        }
        clock.advance(1)
        if (now % 100 === 99) await settled()
      }
      expect(call.ended - startAt, `began at ${startAt}`).toBeLessThanOrEqual(1_000)
      expect(call.ended - startAt, `began at ${startAt}`).toBeGreaterThanOrEqual(900)
    }
  })

  it("turns every 100 ms at most, so that a long deadline does not keep a process that is done", async () => {
    const clock = fakeClock()
    const timer = coarseTimer(clock, 30_000)
    const lasts: number[] = []
    timer.watch((last) => lasts.push(last) < 2)
    timer.start()
    for (let step = 0; step < 2; step++) {
      clock.advance(100)
      await settled()
    }
    expect(lasts).toEqual([1 - 300, 2 - 300])
    expect(clock.sleeping).toBe(0)
  })

  it("stands still while nothing is open, and is one timer however many calls there are", async () => {
    const clock = fakeClock()
    const timer = coarseTimer(clock, 1_000)
    let open = false
    timer.watch(() => open)
    expect(clock.sleeping).toBe(0)
    open = true
    for (let call = 0; call < 50; call++) timer.start()
    expect(clock.sleeping).toBe(1)
    clock.advance(100)
    await settled()
    expect(clock.sleeping).toBe(1)
    open = false
    clock.advance(100)
    await settled()
    expect(clock.sleeping).toBe(0)
    timer.start()
    expect(clock.sleeping).toBe(1)
  })

  it("REL-10: a clock that jumps ends no call early", async () => {
    const clock = fakeClock()
    const timer = coarseTimer(clock, 1_000)
    const lasts: number[] = []
    timer.watch((last) => lasts.push(last) < 5)
    timer.start()
    clock.advance(86_400_000)
    await settled()
    expect(lasts).toEqual([-9]) // one turn, whatever the jump
  })
})
