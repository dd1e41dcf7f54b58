import { describe, expect, it, onTestFinished, vi } from "vitest"
import { pace } from "./pace.ts"

/** A pace at which so many operations are under way. */
function busy(count: number) {
  const one = pace()
  one.begin(count)
  return one
}

describe("the pace of batches", () => {
  it("lets a batch begin at once where few operations are under way", () => {
    expect(busy(255).turn()).toBeUndefined()
    expect(busy(256).turn()).toBeInstanceOf(Promise)
  })

  it("lets them begin one after the other, in their order, each when there is room for it", async () => {
    const one = busy(256)
    const began: string[] = []
    const batch = async (name: string, count: number) => {
      await one.turn()
      began.push(name)
      one.begin(count)
    }
    const all = [batch("a", 1), batch("b", 300), batch("none", 0), batch("c", 1)]
    one.end() // 255 and a: full again
    await all[0]
    expect(began).toEqual(["a"])
    one.end() // b goes over the bound, since it goes whole
    await all[1]
    for (let left = 255 + 300; left > 255; left--) {
      expect(began).toEqual(["a", "b"])
      one.end()
    }
    await Promise.all(all)
    expect(began).toEqual(["a", "b", "none", "c"])
  })

  it("does not let a second one begin before it is known what the first one brings", async () => {
    const one = busy(256)
    const second = vi.fn<() => void>()
    const turns = [one.turn(), one.turn()?.then(second)]
    one.end()
    one.end()
    await turns[0]
    expect(second).not.toHaveBeenCalled()
    one.begin(1)
    await turns[1]
    expect(second).toHaveBeenCalledOnce()
  })

  it("goes on waiting while operations end", async () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const one = busy(300)
    const late = vi.fn<() => void>()
    void one.turn()?.then(late)
    one.end()
    await vi.advanceTimersByTimeAsync(99)
    expect(late).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(1)
    expect(late).toHaveBeenCalledOnce()
    expect(vi.getTimerCount()).toBe(0)
  })

  it("F-SLOW-3: waits no longer where the store is stuck and nothing ends", async () => {
    const one = busy(256)
    const late = vi.fn<() => void>()
    await Promise.all([one.turn()?.then(late), one.turn()?.then(late)])
    expect(late).toHaveBeenCalledTimes(2)
    one.begin(64)
    one.begin(64)
    expect(one.turn()).toBeInstanceOf(Promise)
  })
})
