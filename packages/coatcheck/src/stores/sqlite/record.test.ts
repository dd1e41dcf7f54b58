import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { packRecord, sweepSecond, unpackRecord } from "./record.ts"

const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })
const entry = fc.record({
  key: text.filter((key) => !/\p{Cc}/u.test(key)),
  value: text,
  version: fc.stringMatching(/^[\w-]{1,64}$/),
  expiresAt: fc.option(fc.maxSafeInteger()),
  owner: fc.option(text),
})

describe("the text of a record", () => {
  it("K12: holds an entry exactly", () => {
    fc.assert(
      fc.property(entry, (one) => {
        expect(unpackRecord(one.key, packRecord(one))).toEqual(one)
      }),
    )
  })

  it("F-POW-2: reads as damaged when a bit of it is another, when it was cut, or lies under another key", () => {
    fc.assert(
      fc.property(entry, fc.nat(), fc.nat({ max: 7 }), (one, at, bit) => {
        const record = packRecord(one)
        const bytes = Buffer.from(record)
        const place = at % bytes.length
        bytes[place] = (bytes[place] as number) ^ (1 << bit) // within bounds
        expect(unpackRecord(one.key, bytes.toString())).toBeNull()
        expect(unpackRecord(one.key, record.slice(0, at % record.length))).toBeNull()
        expect(unpackRecord(`${one.key}x`, record)).toBeNull()
      }),
    )
    for (const other of [null, 7, "", "00000000", new Uint8Array(9)]) expect(unpackRecord("k", other)).toBeNull()
  })

  it("is swept in the second after its end, never before", () => {
    expect([null, 0, 1, 999, 1_000, 1_001].map(sweepSecond)).toEqual([null, 0, 1, 1, 1, 2])
  })
})
