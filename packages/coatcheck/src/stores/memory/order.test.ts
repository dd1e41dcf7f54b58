import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { compareBytes } from "../../core/contract.ts"
import { addKey, countOf, orderedKeys, pageOf, removeKey } from "./order.ts"

const key = fc.string({ unit: "binary", minLength: 1, maxLength: 6 })
const near = fc.constantFrom("a", "a\ue000", "a\uffff", "a\u{10000}", "a\u{10ffff}", "a\ud7ff", "a\ud7ff\u{10000}", "b")

describe("keys in byte order", () => {
  it("pages and counts are those of a sorted list, whatever was added and removed", () => {
    const changes = fc.array(fc.tuple(fc.oneof(key, near), fc.boolean()), { maxLength: 60 })
    const from = fc.option(fc.oneof(key, near))
    fc.assert(
      fc.property(
        changes,
        fc.constantFrom("", "a", "\u{10000}", "\ue000"),
        from,
        fc.integer({ min: 1, max: 5 }),
        compare,
      ),
    )
  })

  it("holds tens of thousands of keys in many runs, and none when all are gone", () => {
    const keys = orderedKeys()
    const numbers = Array.from({ length: 20_000 }, (_, at) => String((at * 7_919) % 20_000).padStart(5, "0"))
    for (const one of numbers) addKey(keys, one)
    expect(pageOf(keys, "", null, 20_000)).toEqual(numbers.toSorted())
    expect(pageOf(keys, "1", "12344", 2)).toEqual(["12345", "12346"])
    expect(countOf(keys, "12")).toBe(1_000)
    for (const one of numbers.filter((text) => Number(text) % 10 !== 0)) removeKey(keys, one)
    expect(countOf(keys, "")).toBe(2_000)
    expect(countOf(keys, "12")).toBe(100)
    expect(pageOf(keys, "", "12340", 2)).toEqual(["12350", "12360"])
    for (const one of numbers.filter((text) => Number(text) % 10 === 0)) removeKey(keys, one)
    expect(keys.size).toBe(0)
    expect(pageOf(keys, "", null, 10)).toEqual([])
  })
})

function compare(changes: [string, boolean][], prefix: string, after: string | null, limit: number): void {
  const keys = orderedKeys()
  const model = new Set<string>()
  for (const [one, stays] of changes) {
    if (stays && !model.has(one)) addKey(keys, one)
    else if (!stays && model.has(one)) removeKey(keys, one)
    if (stays) model.add(one)
    else model.delete(one)
  }
  const sorted = [...model].toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const found = sorted.filter((one) => one.startsWith(prefix))
  const rest = after === null ? found : found.filter((one) => compareBytes(one, after) > 0)
  expect(pageOf(keys, prefix, after, limit)).toEqual(rest.slice(0, limit))
  expect(countOf(keys, prefix)).toBe(found.length)
  expect(keys.size).toBe(model.size)
}
