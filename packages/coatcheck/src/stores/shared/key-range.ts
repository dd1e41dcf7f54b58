// Where the keys of a page lie, as a range of texts in the order of their UTF-8 bytes, for engines that keep keys in that order. A
// range is literal: no character of a prefix is a pattern. It needs no rule about what a key may be but two: it has no control
// character, so that no key lies between another one and the same with U+0001 behind it, and it takes 512 bytes at most.

import { compareBytes } from "../../core/contract.ts"

/** From which text on (included) and up to which (excluded) the keys of a page lie; null: there is no upper end. */
export interface KeyRange {
  readonly from: string
  readonly to: string | null
}

/** The range of the keys with this prefix ("": all of them), those behind `after` only; null: from the first. */
export function keyRange(prefix: string, after: string | null): KeyRange {
  const from = after === null ? "" : behind(after)
  return { from: compareBytes(from, prefix) < 0 ? prefix : from, to: prefixEnd(prefix) }
}

/** The next text after a key that a range can begin with. */
export function behind(key: string): string {
  return `${key}\u0001`
}

/** The first text in byte order that comes after every text with this prefix. */
function prefixEnd(prefix: string): string | null {
  const points = Array.from(prefix)
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    const point = last.codePointAt(0) as number // each has one
    if (point === 0x10ffff) continue
    return points.join("") + String.fromCodePoint(point === 0xd7ff ? 0xe000 : point + 1)
  }
  return null
}
