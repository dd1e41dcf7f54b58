import { createHash } from "node:crypto"
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { UsageError } from "./fail.ts"
import { secretLines } from "./secret.ts"
import { parseTokens, readTokenFile } from "./token-file.ts"

const hash = `sha256:${"a".repeat(64)}`
const upper = `sha256:${"B".repeat(64)}`

describe("parseTokens", () => {
  it("reads entries, and passes over comments, empty lines and a byte order mark", () => {
    const text = `\ufeff# who may ask\r\n\r\nweb read,write ${hash}\n  ops\tread,write,admin   ${upper} # ann\n`
    expect(parseTokens(text, "f")).toEqual([`web read,write ${hash}`, `ops read,write,admin ${upper}`])
  })

  const good = `web read ${hash}`
  it.each([
    [`${good}\nweb2 read`, "line 2", /three words/],
    [`\n\n${good} more`, "line 3", /three words/],
    [`we/b read ${hash}`, "line 1", /name may hold/],
    [`web read,fly ${hash}`, "line 1", /scopes are read, write, admin/],
    [`web read,read ${hash}`, "line 1", /each once/],
    [`# x\nweb read, ${hash}`, "line 2", /scopes/],
    [`web read pa55word-in-clear`, "line 1", /third word is sha256:/],
    [`web read ${hash}0`, "line 1", /third word/],
    [`${good}\n${good}`, "line 2", /stands in an earlier line/],
  ])("P4: names the line's number, and never its text: %j", (text, line, reason) => {
    const message = caught(() => parseTokens(text, "tokens.txt"))
    expect(message).toContain(`${line} of the token file tokens.txt`)
    expect(message).toMatch(reason)
    expect(message).not.toMatch(/pa55word|fly|aaaa|we\/b/)
  })

  it.each(["", "# nothing\n\n"])("P4: refuses a file without a token, which would open the door to all: %j", (text) => {
    expect(caught(() => parseTokens(text, "tokens.txt"))).toMatch(/tokens.txt holds no token/)
  })
})

describe("readTokenFile", () => {
  it("ADM-05: warns of a file that everybody can read", async () => {
    const folder = await mkdtemp(join(tmpdir(), "coatcheck-"))
    try {
      const file = join(folder, "tokens")
      await writeFile(file, `web read ${hash}\n`)
      await chmod(file, 0o640)
      expect(await readTokenFile(file)).toEqual({ entries: [`web read ${hash}`], warning: null })
      await chmod(file, 0o644)
      expect((await readTokenFile(file)).warning).toMatch(/can be read by everyone.*chmod o-r/)
      await expect(readTokenFile(join(folder, "none"))).rejects.toThrow(/can't be read: there is no such file/)
      await expect(readTokenFile(folder)).rejects.toThrow(/can't be read: it is a folder/)
      await expect(readTokenFile(folder)).rejects.toThrow(UsageError)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

describe("secretLines", () => {
  it("prints one fresh secret of 32 bytes", () => {
    const [secret, ...rest] = secretLines({})
    expect(secret).toMatch(/^[\w-]{43}$/)
    expect(rest).toEqual([])
    expect(secretLines({})).not.toEqual([secret])
  })

  it("makes a token and the line that the token file takes", () => {
    const [token = "", line = ""] = secretLines({ token: "web", scopes: "write,read" })
    expect(parseTokens(line, "f")).toEqual([line])
    expect(line).toBe(`web read,write sha256:${createHash("sha256").update(token).digest("hex")}`)
    expect(secretLines({ token: "web" })[1]).toMatch(/^web read,write sha256:/)
  })

  it("P4: refuses a name or a scope that the file could not hold", () => {
    expect(caught(() => secretLines({ token: "a b", scopes: "read" }))).toMatch(/name may hold/)
    expect(caught(() => secretLines({ token: "a", scopes: "all" }))).toMatch(/^--scopes: scopes are/)
    expect(caught(() => secretLines({ scopes: "read" }))).toMatch(/name one with --token/)
  })
})

function caught(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError)
    return (error as UsageError).message
  }
  throw new Error("it did not throw")
}
