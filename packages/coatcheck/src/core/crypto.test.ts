import { createDecipheriv, randomBytes } from "node:crypto"
import { describe, expect, it } from "vitest"
import { aead } from "./crypto.ts"

const nonce = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWX").toString("base64url")

describe("XAES-256-GCM", () => {
  const vectors = [
    [0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"],
    [0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"],
  ] as const
  for (const [byte, context, expected] of vectors) {
    it(`CRY-04: gives the published ciphertext under a key of ${byte}s`, () => {
      const sealed = aead(new Uint8Array(32).fill(byte)).seal("XAES-256-GCM", context, nonce)
      expect(Buffer.from(sealed, "base64url").subarray(24).toString("hex")).toBe(expected)
      expect(aead(new Uint8Array(32).fill(byte)).open(sealed, context)).toBe("XAES-256-GCM")
    })
  }

  it("CRY-03: opens what was sealed, under the same key and context only", () => {
    const keys = [aead(randomBytes(32)), aead(randomBytes(32))] as const
    for (const text of ["", "{}", '"ünï \u{1f511} \u2028"', "x".repeat(100_000)]) {
      const sealed = keys[0].seal(text, "place", nonce)
      expect(sealed).toMatch(/^[\w-]+$/)
      expect(keys[0].open(sealed, "place")).toBe(text)
      expect(keys[0].open(sealed, "Place")).toBeNull()
      expect(keys[0].open(sealed, "")).toBeNull()
      expect(keys[1].open(sealed, "place")).toBeNull()
    }
  })

  it("CRY-03: nothing else opens: cut anywhere, longer, written in another way", () => {
    const key = aead(randomBytes(32))
    const sealed = key.seal('{"count":1}', "place", nonce)
    for (let length = 0; length < sealed.length; length++) expect(key.open(sealed.slice(0, length), "place")).toBeNull()
    const last = sealed.at(-1) as string
    const twin = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    const others = [...twin].filter((letter) => letter !== last).map((letter) => sealed.slice(0, -1) + letter)
    for (const other of [
      ...others,
      `${sealed}A`,
      `${sealed}=`,
      ` ${sealed}`,
      `${sealed.slice(0, 9)}\n${sealed.slice(9)}`,
    ]) {
      expect(key.open(other, "place")).toBeNull()
    }
    expect(key.open(sealed, "place")).toBe('{"count":1}')
  })

  it("uses the second half of the nonce inside, and takes no nonce of another length", () => {
    const key = aead(randomBytes(32))
    const one = Buffer.from(key.seal("same", "", nonce), "base64url").subarray(24)
    const half = Buffer.from("ABCDEFGHIJKLmnopqrstuvwx").toString("base64url")
    expect(Buffer.from(key.seal("same", "", half), "base64url").subarray(24)).not.toEqual(one)
    expect(() => key.seal("same", "", nonce.slice(0, -4))).toThrow(TypeError)
    // A decipher of plain AES-256-GCM under the key itself makes nothing of it.
    const plain = createDecipheriv("aes-256-gcm", new Uint8Array(32).fill(1), Buffer.from("MNOPQRSTUVWX"))
    const sealed = Buffer.from(aead(new Uint8Array(32).fill(1)).seal("same", "", nonce), "base64url")
    plain.setAuthTag(sealed.subarray(-16))
    plain.update(sealed.subarray(24, -16))
    expect(() => plain.final()).toThrow(/authenticate/)
  })
})
