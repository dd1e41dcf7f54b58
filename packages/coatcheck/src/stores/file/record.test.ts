import { crc32 } from "node:zlib"
import { describe, expect, it } from "vitest"
import type { Entry } from "../../core/store.ts"
import { awkwardKeys, exactValues } from "../../testing/store-keys.ts"
import { isName, nameOf, packRecord, unpackRecord } from "./record.ts"

const entry: Entry = { key: "k", value: '{"n":1}', version: "v1", expiresAt: 1_795_176_000_000, owner: "alice" }

/** A record of anything with a checksum that fits, as somebody would make it who may write here. */
function forged(header: unknown, value = "1"): Buffer {
  const rest = Buffer.from(`${typeof header === "string" ? header : JSON.stringify(header)}\n${value}\n`)
  const sum = crc32(rest).toString(16).padStart(8, "0")
  return Buffer.concat([Buffer.from(`coatcheck 1 ${sum}\n`), rest])
}

describe("a record's file", () => {
  it("K11 K12: gives every key and value back to the character, under a name that says nothing of the key", () => {
    for (const key of awkwardKeys) {
      for (const value of exactValues) {
        for (const owner of [null, key]) {
          const one = { ...entry, key, value, owner, expiresAt: owner === null ? null : -1 }
          expect(unpackRecord(nameOf(key), packRecord(one))).toEqual(one)
        }
      }
    }
    expect(awkwardKeys.map(nameOf).every(isName)).toBe(true)
    expect(new Set(awkwardKeys.map(nameOf)).size).toBe(awkwardKeys.length)
  })

  it("can be read by a person", () => {
    expect(packRecord(entry).toString().split("\n")).toEqual([
      expect.stringMatching(/^coatcheck 1 [0-9a-f]{8}$/),
      '{"key":"k","version":"v1","expiresAt":1795176000000,"owner":"alice"}',
      '{"n":1}',
      "",
    ])
  })

  it("F-POW-2: with any one bit flipped, cut anywhere, longer, empty or under another name it is damaged", () => {
    const bytes = packRecord(entry)
    const name = nameOf("k")
    expect(unpackRecord(name, bytes)).toEqual(entry)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      expect(unpackRecord(name, flipped), `bit ${bit}`).toBeNull()
    }
    for (let length = 0; length < bytes.length; length++) {
      expect(unpackRecord(name, bytes.subarray(0, length)), `${length} bytes`).toBeNull()
    }
    expect(unpackRecord(name, Buffer.concat([bytes, Buffer.from("\n")]))).toBeNull()
    expect(unpackRecord(name, Buffer.alloc(bytes.length))).toBeNull()
    expect(unpackRecord(nameOf("l"), bytes)).toBeNull()
  })

  it("PRS-05: a header that was made up is damaged, whatever it holds, and pollutes nothing", () => {
    const name = nameOf("k")
    const { value: _, ...header } = entry
    expect(unpackRecord(name, forged(header, entry.value))).toEqual(entry)
    const hostile: unknown[] = [
      null,
      7,
      "no JSON",
      [],
      {},
      { ...header, key: 7 },
      { ...header, key: "l" },
      { ...header, key: "a\u0000b" },
      { ...header, version: undefined },
      { ...header, version: "" },
      { ...header, version: "a b" },
      { ...header, version: { toString: "v1" } },
      { ...header, expiresAt: undefined },
      { ...header, expiresAt: "soon" },
      { ...header, expiresAt: 1.5 },
      { ...header, owner: undefined },
      { ...header, owner: "" },
      { ...header, owner: ["alice"] },
      `{"__proto__":${JSON.stringify(header)}}`,
      `{"constructor":{"prototype":{"polluted":true}}}`,
    ]
    for (const one of hostile) expect(unpackRecord(name, forged(one)), JSON.stringify(one)).toBeNull()
    expect(unpackRecord(name, forged(header, ""))).toBeNull()
    const rest = Buffer.concat([
      Buffer.from(`${JSON.stringify(header)}\n"`),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"\n'),
    ])
    const notUtf8 = Buffer.concat([Buffer.from(`coatcheck 1 ${crc32(rest).toString(16).padStart(8, "0")}\n`), rest])
    expect(unpackRecord(name, notUtf8)).toBeNull()
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })
})
