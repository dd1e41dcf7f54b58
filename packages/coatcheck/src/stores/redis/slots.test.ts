import { describe, expect, it } from "vitest"
import { readSlots, slotOf } from "./slots.ts"

describe("the slot of a key", () => {
  it("is what the cluster specification says", () => {
    expect(slotOf("123456789")).toBe(0x31c3 % 16_384)
    expect(slotOf("foo")).toBe(12_182)
    expect(slotOf("")).toBe(0)
  })

  it("is that of the first tag, when it is not empty", () => {
    expect(slotOf("{user1000}.following")).toBe(slotOf("user1000"))
    expect(slotOf("foo{}{bar}")).not.toBe(slotOf("bar"))
    expect(slotOf("foo{{bar}}zap")).toBe(slotOf("{bar"))
    expect(slotOf("foo{bar}{zap}")).toBe(slotOf("bar"))
    expect(slotOf("foo}{bar")).not.toBe(slotOf("bar"))
  })

  it("goes by the bytes of UTF-8", () => {
    expect(slotOf("café")).toBe(slotOf("caf\u00e9"))
    expect(slotOf("{é}x")).toBe(slotOf("é"))
  })
})

describe("who has which slot", () => {
  const asked = { host: "asked.example", port: 1 }

  it("is read from the answer to CLUSTER SLOTS", () => {
    const answer = [
      [0, 5, ["10.0.0.1", 7000, "id-a", ["hostname", "a.example"]], ["10.0.0.2", 7001, "id-r"]],
      [7, 9, ["10.0.0.1", 7000, "id-a"]],
      [10, 16383, ["", 7002, "id-b"]],
    ]
    expect(readSlots(answer, asked)).toEqual({
      owners: [
        {
          id: "id-a",
          host: "10.0.0.1",
          port: 7000,
          ranges: [
            [0, 5],
            [7, 9],
          ],
        },
        { id: "id-b", host: "asked.example", port: 7002, ranges: [[10, 16383]] },
      ],
      servers: [
        { host: "10.0.0.1", port: 7000 },
        { host: "10.0.0.2", port: 7001 },
        { host: "10.0.0.1", port: 7000 },
        { host: "asked.example", port: 7002 },
      ],
    })
  })

  it("is nobody, where the answer names nobody or is none", () => {
    expect(readSlots([[0, 5, [null, 7000, "id"]]], asked).owners).toEqual([
      { id: "id", host: "asked.example", port: 7000, ranges: [[0, 5]] },
    ])
    expect(readSlots([[0, 5, ["?", 7000, "id"]]], asked).owners).toEqual([])
    expect(readSlots("OK", asked).owners).toEqual([])
    expect(readSlots([7, [0, 5]], asked).owners).toEqual([])
  })
})
