import { fork } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { afterAll, describe, expect, it } from "vitest"
import { randomText } from "./crypto.ts"
import { isId, newId, newVersion, storedId } from "./id.ts"

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
const lastLetters = "AEIMQUYcgkosw048"

describe("S15, SES-01: ids", () => {
  it("a million: one form, no repeat, every letter as often as the others in every place", () => {
    const count = 1_000_000
    const counts = Array.from({ length: 43 }, () => new Uint32Array(128))
    const seen = new Set<string>()
    for (let i = 0; i < count; i++) {
      const id = newId(randomText)
      seen.add(id)
      if (id.length !== 43) throw new Error("an id of another length")
      for (let place = 0; place < 43; place++) {
        const letters = counts[place]!
        const code = id.charCodeAt(place)
        letters[code] = letters[code]! + 1
      }
    }
    expect(seen.size).toBe(count)
    counts.forEach((letters, place) => {
      const allowed = place === 42 ? lastLetters : alphabet
      const foreign = letters.reduce(
        (sum, times, code) => sum + (allowed.includes(String.fromCharCode(code)) ? 0 : times),
        0,
      )
      expect(foreign, `letters of another alphabet in place ${place}`).toBe(0)
      const expected = count / allowed.length
      const chiSquare = [...allowed].reduce(
        (sum, letter) => sum + (letters[letter.charCodeAt(0)]! - expected) ** 2 / expected,
        0,
      )
      // Beyond these a true random source comes once in 10^8 (63 degrees of freedom, and 15).
      expect(chiSquare, `chi-square in place ${place}`).toBeLessThan(place === 42 ? 66 : 145)
    })
  })

  const folders: string[] = []
  afterAll(async () => {
    for (const folder of folders) await rm(folder, { recursive: true, force: true })
  })

  it("two processes of one parent share no beginning of their ids", async () => {
    const folder = await mkdtemp(join(tmpdir(), "coatcheck-ids-"))
    folders.push(folder)
    const script = join(folder, "ids.mjs")
    const core = (file: string): string => JSON.stringify(pathToFileURL(join(import.meta.dirname, file)).href)
    await writeFile(
      script,
      `import { newId } from ${core("id.ts")}
       import { randomText } from ${core("crypto.ts")}
       process.send(Array.from({ length: 200 }, () => newId(randomText)), () => process.disconnect())`,
    )
    const idsOf = (): Promise<string[]> =>
      new Promise((resolve, reject) => {
        const child = fork(script, { execArgv: ["--import", "tsx"], cwd: import.meta.dirname })
        child.once("error", reject)
        child.once("message", (ids) => resolve(ids as string[]))
        child.once("exit", (code) => {
          if (code !== 0) reject(new Error(`the child process ended with ${code}`))
        })
      })
    const here = Array.from({ length: 200 }, () => newId(randomText))
    const all = [...here, ...(await idsOf()), ...(await idsOf())]
    expect(all).toHaveLength(600)
    // 600 ids of 64^10 beginnings: that two agree has a chance of one in 10^12.
    expect(new Set(all.map((id) => id.slice(0, 10))).size).toBe(600)
  })

  it("CRY-01: the store's name of an id is its SHA-256", () => {
    const id = newId(randomText)
    expect(storedId(id)).toBe(createHash("sha256").update(id).digest("base64url"))
    expect(storedId(id)).toHaveLength(43)
  })

  it("versions are 96 bits", () => {
    const versions = Array.from({ length: 10_000 }, () => newVersion(randomText))
    expect(versions.every((version) => /^[A-Za-z0-9_-]{16}$/.test(version))).toBe(true)
    expect(new Set(versions).size).toBe(10_000)
  })
})

describe("randomness", () => {
  it("never gives the same bytes twice, whatever sizes are asked for", () => {
    const sizes = [1, 12, 16, 32, 64]
    const texts = Array.from({ length: 5_000 }, (_, i) => ({ size: sizes[i % 5]!, text: randomText(sizes[i % 5]!) }))
    for (const { size, text } of texts) expect(Buffer.from(text, "base64url")).toHaveLength(size)
    const long = texts.filter(({ size }) => size >= 12).map(({ text }) => text.slice(0, 16))
    expect(new Set(long).size).toBe(long.length)
  })
})

describe("S10, PRS-06, REG-38: what is no id", () => {
  const id = "8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5yA0"

  it("an id is one", () => expect(isId(id)).toBe(true))

  const texts = [
    "",
    "?prefix=",
    "a/b",
    "../../x",
    "%2e%2e%2f",
    "x".repeat(10_240),
    "undefined",
    "null",
    "[object Object]",
    "attacker",
    id.slice(0, 42),
    `${id}A`,
    `${id}=`,
    ` ${id}`.slice(0, 43),
    `${id}\n`,
    `${id}\u0000`,
    `${id.slice(0, 42)}B`, // a second spelling of the same bytes
    `${id.slice(0, 42)}/`,
    `${id.slice(0, 20)}*${id.slice(21)}`,
    `${id.slice(0, 20)}+${id.slice(21)}`,
    `${id.slice(0, 20)}é${id.slice(21)}`,
    `j:{"a":1}`.padEnd(43, "A"),
  ]
  for (const text of texts) {
    it(`${JSON.stringify(text.slice(0, 24))}, ${text.length} long`, () => expect(isId(text)).toBe(false))
  }

  it("things that are no text", () => {
    for (const thing of [
      null,
      undefined,
      0,
      [id],
      { 0: id },
      new String(id),
      Symbol.iterator,
      { toString: () => id },
    ]) {
      expect(isId(thing)).toBe(false)
    }
  })

  it("each id has one spelling: of all last letters those whose spare bits are zero", () => {
    const letters = [...alphabet].filter((letter) => isId(id.slice(0, 42) + letter))
    expect(letters.toSorted()).toEqual([...lastLetters].toSorted())
  })
})
