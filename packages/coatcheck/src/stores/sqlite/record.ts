// One entry as one text: `<crc32 as 8 hex digits><version> <end> <owner's length> <owner><value>`.
//
// SQLite has no page checksums, so each record carries its own, over everything that it says and over its key: a record that was
// flipped, torn or moved under another key reads as damaged, never as somebody's data. One text instead of a column each,
// because a column costs 0.2 µs to read, and the end and the owner have columns of their own only to be indexed by.

import { crc32 } from "node:zlib"
import type { Entry } from "../../core/store.ts"

/** The text that an entry is kept as. */
export function packRecord({ key, value, version, expiresAt, owner }: Entry): string {
  const end = expiresAt === null ? "-" : expiresAt.toString(36)
  const rest = owner === null ? `${version} ${end} - ${value}` : `${version} ${end} ${owner.length} ${owner}${value}`
  return checksum(key, rest) + rest
}

/** The entry that a text stands for; null when it is damaged. */
export function unpackRecord(key: string, record: unknown): Entry | null {
  if (typeof record !== "string") return null
  const rest = record.slice(8)
  if (!record.startsWith(checksum(key, rest))) return null
  const versionEnds = rest.indexOf(" ")
  const endEnds = rest.indexOf(" ", versionEnds + 1)
  const lengthEnds = rest.indexOf(" ", endEnds + 1)
  const end = rest.slice(versionEnds + 1, endEnds)
  const length = rest.slice(endEnds + 1, lengthEnds)
  const valueStarts = lengthEnds + 1 + (length === "-" ? 0 : Number(length))
  return {
    key,
    value: rest.slice(valueStarts),
    version: rest.slice(0, versionEnds),
    expiresAt: end === "-" ? null : Number.parseInt(end, 36),
    owner: length === "-" ? null : rest.slice(lengthEnds + 1, valueStarts),
  }
}

/** The second from which on an entry is rubbish that may be swept; null: never. Seconds keep the index small. */
export function sweepSecond(expiresAt: number | null): number | null {
  return expiresAt === null ? null : Math.ceil(expiresAt / 1_000)
}

// A key has no line break, so that key and record can't be cut in two ways.
function checksum(key: string, rest: string): string {
  return crc32(`${key}\n${rest}`).toString(16).padStart(8, "0")
}
