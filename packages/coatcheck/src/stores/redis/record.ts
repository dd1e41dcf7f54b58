// An entry as one string, so that it is read by GET, replaced in one step, and looked at by people in redis-cli:
//
//     1 hx0Yq3vTgkD1mVbW 1767225600000 alice
//     {"v":1,"created":1767223800000,…}
//
// A line of the format's number, the version, the end in epoch ms ("-": none) and the owner, if there is one; then the value. The end
// stands in it because the caller's clock decides about it; Redis's own expiry only removes what nobody asks for any more.
//
// A text of any other form counts as absent and is reported. The scripts of ./scripts.ts read the first line by the same rules,
// which a test holds together. There is no checksum: Redis checks what it loads, and RDB files and AOF have their own.
//
// Rejected: a hash (several fields cost 100 bytes more and four commands), JSON around the value (it would be escaped twice).

import { isOver } from "../../core/contract.ts"
import type { Entry } from "../../core/store.ts"

const HEAD = /^1 ([\w-]{1,64}) (-?\d*)(?: ([^\n]+))?\n/
const LONGEST_END = 17
/** Bytes that hold the first line of any record: two numbers, a version of 64 and an owner of 512 bytes. */
export const HEAD_BYTES = 600

/** The entry that a text under `key` stands for; null when it is damaged. Without its value, when that was cut off. */
export function unpackRecord(key: string, text: string): Entry | null {
  const head = HEAD.exec(text)
  if (head === null || head[0].length === text.length) return null
  const [{ length }, version = "", end = "", owner = null] = head
  if (end === "" || end.length > LONGEST_END) return null
  return { key, value: text.slice(length), version, expiresAt: end === "-" ? null : Number(end), owner }
}

/** What a reply of the server says of a key: an entry that lives, or null; told of what is damaged. */
export function liveEntry(key: string, reply: unknown, now: number, tellDamaged: (key: string) => void): Entry | null {
  if (typeof reply !== "string") return null
  const entry = unpackRecord(key, reply)
  if (entry === null) tellDamaged(key)
  return entry === null || isOver(entry.expiresAt, now) ? null : entry
}

/** An end as the scripts take it. undefined: it stays as it was. */
export function packEnd(expiresAt: number | null | undefined): string {
  if (expiresAt === undefined) return ""
  return expiresAt === null ? "-" : String(expiresAt)
}

/** An owner as the scripts take it. undefined: it stays as it was. */
export function packOwner(owner: string | null | undefined): string {
  if (owner === undefined) return ""
  return owner === null ? "-" : ` ${owner}`
}
