import { createHmac, hkdfSync } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { keyring, sealingRing } from "./keyring.ts"

const [first, second, third] = [
  "fS8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5",
  "Qw7eR5tY3uI1oP9aS8dF6gH4jK2lZ0xC-vB_nM5qW3",
  "Zx1cV3bN5mA7sD9fG2hJ4kL6qW8eR0tY_uI-oP5aS3",
] as const

describe("signing with several secrets", () => {
  it("is HMAC-SHA-256 under a key derived from the secret for this purpose", () => {
    const key = new Uint8Array(hkdfSync("sha256", first, "", "coatcheck letters", 32))
    expect(keyring(first, "letters").sign("text")).toBe(createHmac("sha256", key).update("text").digest("base64url"))
  })

  it("C15, REG-31: the first signs, every listed one verifies, one that was dropped does not", () => {
    const old = keyring(first, "session")
    const both = keyring([second, first], "session")
    const renewed = keyring([second], "session")
    expect(both.verify("text", old.sign("text"))).toBe(true)
    expect(both.sign("text")).toBe(renewed.sign("text"))
    expect(both.sign("text")).not.toBe(old.sign("text"))
    expect(old.verify("text", both.sign("text"))).toBe(false)
    expect(renewed.verify("text", old.sign("text"))).toBe(false)
    expect(keyring([third, second, first], "session").verify("text", old.sign("text"))).toBe(true)
  })

  it("REG-32: a signature for one purpose is nothing for another", () => {
    expect(keyring(first, "session").verify("text", keyring(first, "token").sign("text"))).toBe(false)
  })

  it("REG-33: no other signature passes: a letter changed, cut, longer, empty, of another text", () => {
    const keys = keyring([second, first], "session")
    const mac = keys.sign("text")
    expect(keys.verify("text", mac)).toBe(true)
    for (let place = 0; place < mac.length; place++) {
      const letter = mac[place] === "A" ? "B" : "A"
      expect(keys.verify("text", mac.slice(0, place) + letter + mac.slice(place + 1))).toBe(false)
    }
    for (const wrong of [
      "",
      mac.slice(0, -1),
      `${mac}A`,
      `${mac}=`,
      ` ${mac}`,
      mac.toLowerCase(),
      "\u{1f9e5}".repeat(21),
    ]) {
      expect(keys.verify("text", wrong)).toBe(false)
    }
    expect(keys.verify("Text", mac)).toBe(false)
  })

  it("REG-33: MACs are compared in constant time, in one place", () => {
    const source = (file: string): string => readFileSync(join(import.meta.dirname, file), "utf8")
    expect(source("crypto.ts")).toMatch(/export function sameMac[\s\S]{0,200}timingSafeEqual\(left, right\)/)
    expect(source("keyring.ts")).toContain("sameMac(hmac(key, text), signature)")
    for (const file of ["keyring.ts", "signed-carrier.ts"]) {
      expect(source(file), `${file} compares a MAC by itself`).not.toMatch(
        /(mac|signature|sign\([^)]*\)|hmac\([^)]*\))\s*[!=]==?/i,
      )
    }
  })
})

describe("CRY-06: secrets that stop the start", () => {
  const refused: [string, string | readonly string[] | undefined, RegExp][] = [
    ["none", undefined, /secret/],
    ["an empty list", [], /secret/],
    ["an empty text", "", /shorter than 32 bytes/],
    ["31 bytes", first.slice(0, 31), /shorter than 32 bytes/],
    ["no text", [123 as never], /shorter than 32 bytes/],
    ["one letter", "a".repeat(64), /randomness/],
    ["nine letters", "abcdefghi".repeat(5).slice(0, 44), /randomness/],
    ["a short text repeated", "k8Jq2kV0mN5pR7tX".repeat(4), /randomness/],
    ["a sample of a tutorial", "keyboard cat keyboard cat 123456", /sample/],
    ["change me", "please-change_me-before-going-live!", /sample/],
    ["the alphabet", "abcdefghijklmnopqrstuvwxyz-ABCDEF", /sample/],
    ["digits in a row", "qwertzuio-0123456789-qwertzuiopyx", /sample/],
    ["a password", "my-very-long-Password-for-sessions", /sample/],
    ["the same twice", [first, first], /twice/],
    ["a good one and a short one", [first, "short"], /secret 2 of 2/],
  ]
  for (const [name, secrets, message] of refused) {
    it(name, () => {
      expect(() => keyring(secrets, "session")).toThrow(TypeError)
      expect(() => keyring(secrets, "session")).toThrow(message)
    })
  }

  it("the message does not hold the secret", () => {
    const secret = "correct horse battery staple-password-77"
    let message = ""
    try {
      keyring(secret, "session")
    } catch (error) {
      message = String((error as Error).stack)
    }
    expect(message).toContain("coatcheck secret")
    expect(message).not.toContain("horse")
  })

  it("32 random bytes pass in every usual spelling", () => {
    for (const spelling of ["hex", "base64", "base64url"] as const) {
      const secret = Buffer.from(hkdfSync("sha256", first, "", "test", 32)).toString(spelling)
      expect(() => keyring(secret, "session")).not.toThrow()
    }
    expect(() => keyring("ünïcödé-ist-länger-als-es-aus!", "session")).not.toThrow() // bytes count, not letters
  })
})

describe("sealing with several secrets", () => {
  it("CRY-05: the first seals, every listed one opens, one that was dropped does not", () => {
    const old = sealingRing(first, "store")
    const both = sealingRing([second, first], "store")
    const renewed = sealingRing([second], "store")
    const [before, after] = [old.seal("text", "place"), both.seal("text", "place")]
    expect(both.open(before, "place")).toBe("text")
    expect(renewed.open(before, "place")).toBeNull()
    expect(renewed.open(after, "place")).toBe("text")
    expect(old.open(after, "place")).toBeNull()
    expect(both.open({ ...before, key: after.key }, "place")).toBeNull()
  })

  it("CRY-06, REG-32: the same secret is another key for another purpose", () => {
    const sealed = sealingRing(first, "store").seal("text", "place")
    const other = sealingRing(first, "other")
    expect(other.seal("text", "place").key).not.toBe(sealed.key)
    expect(other.open({ ...sealed, key: other.seal("text", "place").key }, "place")).toBeNull()
  })

  it("CRY-04: where randomness repeats itself, as in two copies of a machine, two texts don't share a nonce", () => {
    const stuck = (): string => "A".repeat(43)
    const nonceOf = ({ text }: { text: string }): string => text.slice(0, 32)
    const [ring, copy] = [sealingRing(first, "store", stuck), sealingRing(first, "store", stuck)]
    const nonces = [
      ring.seal("text", "place"),
      copy.seal("texu", "place"),
      copy.seal("text", "plade"),
      sealingRing(second, "store", stuck).seal("text", "place"),
      sealingRing(first, "store").seal("text", "place"),
    ].map(nonceOf)
    expect(new Set(nonces).size).toBe(nonces.length)
    expect(ring.seal("text", "place")).toEqual(copy.seal("text", "place")) // the same thing twice tells nothing
    expect(sealingRing(first, "store").seal("text", "place")).not.toEqual(
      sealingRing(first, "store").seal("text", "place"),
    )
  })
})
