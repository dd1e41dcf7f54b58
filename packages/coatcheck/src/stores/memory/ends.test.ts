import fc from "fast-check"
import { expect, it } from "vitest"
import { type Ending, ends } from "./ends.ts"

it("X3: what is due comes out earliest first, wherever ends were moved, cleared and taken out before", () => {
  const step = fc.tuple(fc.nat({ max: 15 }), fc.option(fc.nat({ max: 40 })), fc.boolean())
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), fc.nat({ max: 40 }), (steps, now) => {
      const items: Ending[] = Array.from({ length: 16 }, () => ({ expiresAt: null, place: -1 }))
      const held = new Set<Ending>()
      const heap = ends()
      for (const [at, end, out] of steps) {
        const item = items[at] as Ending // sixteen of them
        if (out) {
          heap.remove(item)
          held.delete(item)
        } else {
          item.expiresAt = end
          heap.update(item)
          if (end === null) held.delete(item)
          else held.add(item)
        }
      }
      const expected = [...held].map((item) => item.expiresAt as number).filter((end) => end <= now)
      const drained: number[] = []
      for (let item = heap.due(now); item !== null; item = heap.due(now)) {
        drained.push(item.expiresAt as number) // only what has an end is held
        heap.remove(item)
      }
      expect(drained).toEqual(expected.toSorted((a, b) => a - b))
    }),
  )
})
