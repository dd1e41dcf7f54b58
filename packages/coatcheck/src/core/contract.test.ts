import fc from "fast-check"
import { describe, expect, it, vi } from "vitest"
import { checkKey, checkQuery, checkValue, compareBytes, cursorAt, cursorKey, exceeds, warn } from "./contract.ts"
import { limits } from "./store.ts"

describe("checks that every store makes", () => {
  it("K13: bytes of UTF-8 are counted, and only where characters leave a doubt", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 12 }), fc.integer({ min: 1, max: 40 }), (text, bytes) => {
        expect(exceeds(text, bytes)).toBe(Buffer.byteLength(text) > bytes)
      }),
    )
  })

  it("PRS-06: messages say what to do and repeat nothing of what they refuse", () => {
    const secret = "hunter2"
    const refused = [
      () => checkKey(`${secret}\n`),
      () => checkKey(secret.repeat(100)),
      () => checkValue(`"${secret}\ud800"`, 100),
      () => checkValue(`"${secret}"`, 4),
      () => checkQuery({ prefix: `${secret}\u0000` }),
      () => cursorKey(`${secret}!`),
    ]
    for (const call of refused) {
      expect(call).toThrow(expect.objectContaining({ code: expect.stringMatching(/^(invalid|too-large)$/) }))
      expect(call).not.toThrow(new RegExp(secret))
    }
  })

  it("two texts compare as their UTF-8 bytes do", () => {
    const text = fc.string({ unit: "binary", minLength: 1, maxLength: 6 })
    const near = fc.constantFrom(
      "a",
      "a\ue000",
      "a\uffff",
      "a\u{10000}",
      "a\u{10ffff}",
      "a\ud7ff",
      "a\ud7ff\u{10000}",
      "b",
    )
    fc.assert(
      fc.property(fc.oneof(text, near), fc.oneof(text, near), (a, b) => {
        expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
      }),
    )
  })

  it("a cursor stands for a key, and nothing else is one", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }), (key) => {
        fc.pre(!/\p{Cc}/u.test(key))
        expect(cursorKey(cursorAt(key))).toBe(key)
      }),
    )
    expect(cursorKey(null)).toBeNull()
    for (const other of ["%", "a", cursorAt("a\n"), cursorAt("k".repeat(limits.keyBytes + 1)), "_-8", "YQ=="]) {
      expect(() => cursorKey(other)).toThrow(expect.objectContaining({ code: "invalid" }))
    }
  })

  it("a report without a hook is one line on stderr", () => {
    const line = vi.spyOn(console, "warn").mockImplementation(() => {})
    warn({ store: "memory", kind: "warning", message: "It is full." })
    expect(line.mock.calls).toEqual([["coatcheck: memory store: It is full."]])
    line.mockRestore()
  })
})
