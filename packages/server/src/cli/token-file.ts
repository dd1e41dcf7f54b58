// The file that says who may use the service: one line a token, `name scopes sha256:hex`, `#` begins a comment. It holds hashes only,
// so that whoever reads it (a backup, a glance over a shoulder) gains no access. A plain SHA-256 is enough because a token is 32
// random bytes, which nobody can guess; for passwords that people choose it would not be.
//
// Messages name the line's number and never its text: people paste the token itself where its hash belongs.

import { createHash, randomBytes } from "node:crypto"
import { readFile, stat } from "node:fs/promises"
import { explain, systemCode, UsageError } from "./fail.ts"

/** What a token may do: read values, write them, use what only an operator should. Each stands for itself; none includes another. */
export const scopes = ["read", "write", "admin"] as const
/** One of {@link scopes}. */
export type Scope = (typeof scopes)[number]

const nameForm = /^[\w.@-]{1,64}$/
const hashForm = /^sha256:[0-9a-f]{64}$/i

/**
 * The entries of a file's text, each `name scopes sha256:hex` with single spaces, without comments.
 *
 * @throws UsageError naming the file and the first bad line's number, or saying that the file holds no token
 */
export function parseTokens(text: string, file: string): string[] {
  const names = new Set<string>()
  const entries: string[] = []
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/)
  for (const [index, line] of lines.entries()) {
    const words = line.replace(/#.*$/, "").trim().split(/\s+/)
    if (words.length === 1 && words[0] === "") continue
    const where = `line ${index + 1} of the token file ${file}`
    const name = checkLine(words, where)
    if (names.has(name)) throw new UsageError(`${where}: that name stands in an earlier line`)
    names.add(name)
    entries.push(words.join(" "))
  }
  if (entries.length === 0) {
    throw new UsageError(`the token file ${file} holds no token: make one with "coatcheck secret --token NAME"`)
  }
  return entries
}

/** The name in a line's words, when all of them are well-formed. */
function checkLine(words: readonly string[], where: string): string {
  const [name = "", list = "", hash = ""] = words
  if (words.length !== 3) throw new UsageError(`${where}: a line is "name scopes sha256:hex", three words`)
  if (!nameForm.test(name)) throw new UsageError(`${where}: the name may hold letters, digits and . _ @ -, at most 64`)
  parseScopes(list, where)
  if (!hashForm.test(hash)) throw new UsageError(`${where}: the third word is sha256: and 64 hexadecimal digits`)
  return name
}

/**
 * Scopes from a comma-separated list.
 *
 * @throws UsageError beginning with `where` when one is unknown, or none is given
 */
export function parseScopes(list: string, where: string): Scope[] {
  const wanted = list.split(",")
  const known = scopes.filter((scope) => wanted.includes(scope))
  if (known.length < wanted.length) {
    throw new UsageError(`${where}: scopes are ${scopes.join(", ")}, each once, joined by commas without spaces`)
  }
  return known
}

/** A file's entries, and what a person should know about the file (null: nothing). */
export interface TokenFile {
  readonly entries: readonly string[]
  readonly warning: string | null
}

/**
 * Reads a token file.
 *
 * @throws UsageError when it can't be read or a line is malformed
 */
export async function readTokenFile(file: string): Promise<TokenFile> {
  try {
    const [text, { mode }] = await Promise.all([readFile(file, "utf8"), stat(file)])
    const open = process.platform !== "win32" && (mode & 0o004) !== 0
    const warning = open ? `the token file ${file} can be read by everyone on this machine: chmod o-r it` : null
    return { entries: parseTokens(text, file), warning }
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError(`the token file ${file} can't be read: ${reasons[systemCode(error) ?? ""] ?? explain(error)}`)
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "this user may not read it",
  EISDIR: "it is a folder",
}

/** A fresh secret: 32 random bytes as 43 characters of base64url. */
export function freshSecret(): string {
  return randomBytes(32).toString("base64url")
}

/**
 * The token file's line for a token.
 *
 * @throws UsageError when the name has a character that names may not have
 */
export function tokenLine(name: string, granted: readonly Scope[], token: string): string {
  if (!nameForm.test(name)) throw new UsageError("a token's name may hold letters, digits and . _ @ -, at most 64")
  return `${name} ${granted.join(",")} sha256:${createHash("sha256").update(token).digest("hex")}`
}
