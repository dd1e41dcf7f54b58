import { describe, expect, it } from "vitest"
import { fakeClock } from "./fake-clock.ts"

describe("fakeClock", () => {
  it("stands still until it is moved, forward or back", () => {
    const clock = fakeClock(1_000)
    expect(clock.now()).toBe(1_000)
    clock.advance(500)
    clock.advance(-200)
    expect(clock.now()).toBe(1_300)
    expect(() => clock.advance(0.5)).toThrow(TypeError)
    expect(fakeClock().now()).toBe(Date.UTC(2026, 10, 20, 12))
  })

  it("wakes sleepers when their time has come, earliest first, and not before", async () => {
    const clock = fakeClock()
    const woken: string[] = []
    const sleepers = [
      clock.sleep(20).then(() => woken.push("second")),
      clock.sleep(10).then(() => woken.push("first")),
      clock.sleep(0).then(() => woken.push("at once")),
      clock.sleep(30).then(() => woken.push("last")),
    ]
    await sleepers[2]
    expect(clock.sleeping).toBe(3)
    clock.advance(9)
    await Promise.resolve()
    expect(woken).toEqual(["at once"])
    clock.advance(11)
    await Promise.all(sleepers.slice(0, 3))
    expect(woken).toEqual(["at once", "first", "second"])
    clock.advance(10)
    await sleepers[3]
    expect(clock.sleeping).toBe(0)
  })
})
