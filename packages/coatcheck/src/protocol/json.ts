// JSON as text. Values must come back exactly as they were written (12345678901234567890, 1e21 and -0.0 keep their text), so
// they can't go through JSON.parse and JSON.stringify: this reader checks a text against RFC 8259 and hands out slices of it.
//
// One pass, no look-back: linear on any input. Depth is bounded, so that a text of a million brackets is an error and no stack
// overflow. `__proto__` is a name like any other, because names end up in a Map or are compared, never set on an object.
// JSON.parse for the check and a scan for the slices was tried: two passes, twice the time.

import { CoatcheckError } from "../errors.ts"

/** How deep arrays and objects may nest. Twice what a session record may, so that whatever a session keeps passes in any message. */
export const maxDepth = 1_024

/** A text and a place in it. The readers below start at `at` (white space before it is skipped) and move it behind what they read. */
export interface Cursor {
  readonly text: string
  at: number
}

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/**
 * The members of a JSON object: each name with the text of its value, without the white space around it. Of a name that comes
 * twice the last one counts.
 *
 * @throws CoatcheckError `invalid` when the text is not one JSON object, saying at which character.
 */
export function members(text: string): Map<string, string> {
  const found = new Map<string, string>()
  const cursor = { text, at: 0 }
  readObject(cursor, (name) => found.set(name, readRaw(cursor)))
  readEnd(cursor)
  return found
}

/**
 * The elements of a JSON array, as texts without the white space around them.
 *
 * @throws CoatcheckError `invalid` when the text is not one JSON array, saying at which character.
 */
export function elements(text: string): string[] {
  const found: string[] = []
  const cursor = { text, at: 0 }
  readArray(cursor, () => found.push(readRaw(cursor)))
  readEnd(cursor)
  return found
}

/**
 * Checks that a text is one JSON value of bounded depth, and gives it back without the white space around it.
 *
 * @throws CoatcheckError `invalid`, saying at which character.
 */
export function jsonText(text: string): string {
  const cursor = { text, at: 0 }
  const value = readRaw(cursor)
  readEnd(cursor)
  return value
}

/**
 * A copy that shares no memory. A slice keeps the whole text alive that it was cut from: an hour of one short value would hold the
 * megabyte it came in. What is kept for longer than a call is copied.
 */
export function ownText(slice: string): string {
  return ` ${slice}`.slice(1) // joining makes a text of its own, which the cut then refers to; a Buffer and back costs ten times as much
}

/** Whether white space stands before or after the value; a reader of a larger text would cut it off. */
export function isPadded(json: string): boolean {
  return json.charCodeAt(0) <= 0x20 || json.charCodeAt(json.length - 1) <= 0x20
}

/** A text as a JSON string. Plain ASCII, which is nearly every key, goes without a call of JSON.stringify. */
export function quote(text: string): string {
  return plain.test(text) ? `"${text}"` : JSON.stringify(text)
}
const plain = /^[\w:./ +=,;@~-]*$/

/** Calls `member` with each name of the object at the cursor; `member` must read the value, which the cursor stands before. */
export function readObject(cursor: Cursor, member: (name: string) => void): void {
  const { text } = cursor
  let at = skipSpace(text, cursor.at)
  if (text.charCodeAt(at) !== OPEN_BRACE) throw expected("an object", at)
  at = skipSpace(text, at + 1)
  if (text.charCodeAt(at) === CLOSE_BRACE) {
    cursor.at = at + 1
    return
  }
  for (;;) {
    cursor.at = at
    const name = readString(cursor)
    at = skipSpace(text, cursor.at)
    if (text.charCodeAt(at) !== COLON) throw expected(":", at)
    cursor.at = at + 1
    member(name)
    at = skipSpace(text, cursor.at)
    const code = text.charCodeAt(at)
    if (code === CLOSE_BRACE) break
    if (code !== COMMA) throw expected(", or }", at)
    at = skipSpace(text, at + 1)
  }
  cursor.at = at + 1
}

/** Calls `element` for each element of the array at the cursor; `element` must read it. */
export function readArray(cursor: Cursor, element: () => void): void {
  const { text } = cursor
  let at = skipSpace(text, cursor.at)
  if (text.charCodeAt(at) !== OPEN_BRACKET) throw expected("an array", at)
  at = skipSpace(text, at + 1)
  if (text.charCodeAt(at) === CLOSE_BRACKET) {
    cursor.at = at + 1
    return
  }
  for (;;) {
    cursor.at = at
    element()
    at = skipSpace(text, cursor.at)
    const code = text.charCodeAt(at)
    if (code === CLOSE_BRACKET) break
    if (code !== COMMA) throw expected(", or ]", at)
    at = at + 1
  }
  cursor.at = at + 1
}

/** The JSON string at the cursor, decoded. */
export function readString(cursor: Cursor): string {
  const { text } = cursor
  const start = skipSpace(text, cursor.at)
  const end = endOfString(text, start)
  cursor.at = end
  const inner = text.slice(start + 1, end - 1)
  return inner.includes("\\") ? (JSON.parse(`"${inner}"`) as string) : inner // a JSON string parses to a string
}

/** The text of whatever value is at the cursor, checked to its end. */
export function readRaw(cursor: Cursor): string {
  const start = skipSpace(cursor.text, cursor.at)
  cursor.at = endOfValue(cursor.text, start, 0)
  return cursor.text.slice(start, cursor.at)
}

/** Whether `null` stands at the cursor; if so, it is read. */
export function readNull(cursor: Cursor): boolean {
  const start = skipSpace(cursor.text, cursor.at)
  if (!cursor.text.startsWith("null", start)) return false
  cursor.at = start + 4
  return true
}

/** Nothing but white space may follow. */
export function readEnd(cursor: Cursor): void {
  const at = skipSpace(cursor.text, cursor.at)
  if (at !== cursor.text.length) throw expected("the end", at)
  cursor.at = at
}

function endOfValue(text: string, at: number, depth: number): number {
  switch (text.charCodeAt(at)) {
    case QUOTE:
      return endOfString(text, at)
    case OPEN_BRACE:
      return endOfObject(text, at, depth + 1)
    case OPEN_BRACKET:
      return endOfArray(text, at, depth + 1)
    case 0x74:
      return endOfWord(text, at, "true")
    case 0x66:
      return endOfWord(text, at, "false")
    case 0x6e:
      return endOfWord(text, at, "null")
    default:
      return endOfNumber(text, at)
  }
}

function endOfObject(text: string, start: number, depth: number): number {
  if (depth > maxDepth) throw tooDeep(start)
  let at = skipSpace(text, start + 1)
  if (text.charCodeAt(at) === CLOSE_BRACE) return at + 1
  for (;;) {
    at = skipSpace(text, endOfString(text, at))
    if (text.charCodeAt(at) !== COLON) throw expected(":", at)
    at = skipSpace(text, endOfValue(text, skipSpace(text, at + 1), depth))
    const code = text.charCodeAt(at)
    if (code === CLOSE_BRACE) return at + 1
    if (code !== COMMA) throw expected(", or }", at)
    at = skipSpace(text, at + 1)
  }
}

function endOfArray(text: string, start: number, depth: number): number {
  if (depth > maxDepth) throw tooDeep(start)
  let at = skipSpace(text, start + 1)
  if (text.charCodeAt(at) === CLOSE_BRACKET) return at + 1
  for (;;) {
    at = skipSpace(text, endOfValue(text, at, depth))
    const code = text.charCodeAt(at)
    if (code === CLOSE_BRACKET) return at + 1
    if (code !== COMMA) throw expected(", or ]", at)
    at = skipSpace(text, at + 1)
  }
}

function endOfString(text: string, start: number): number {
  if (text.charCodeAt(start) !== QUOTE) throw expected("a string", start)
  let at = start + 1
  for (;;) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) return at + 1
    if (code === BACKSLASH) at = endOfEscape(text, at)
    else if (code >= 0x20) at++
    else throw expected('"', at) // a control character, or NaN at the end of the text
  }
}

function endOfEscape(text: string, start: number): number {
  const code = text.charCodeAt(start + 1)
  if (code !== 0x75) {
    if (!escapes.has(code)) throw expected("an escape", start)
    return start + 2
  }
  for (let at = start + 2; at < start + 6; at++) if (!isHex(text.charCodeAt(at))) throw expected("an escape", start)
  return start + 6
}
const escapes = new Set([...'"\\/bfnrt'].map((letter) => letter.charCodeAt(0)))

function endOfWord(text: string, start: number, word: string): number {
  if (!text.startsWith(word, start)) throw expected("a value", start)
  return start + word.length
}

function endOfNumber(text: string, start: number): number {
  let at = start
  if (text.charCodeAt(at) === 0x2d) at++
  if (text.charCodeAt(at) === 0x30) at++
  else at = endOfDigits(text, at)
  if (text.charCodeAt(at) === 0x2e) at = endOfDigits(text, at + 1)
  const code = text.charCodeAt(at)
  if (code !== 0x65 && code !== 0x45) return at
  const sign = text.charCodeAt(at + 1)
  return endOfDigits(text, sign === 0x2b || sign === 0x2d ? at + 2 : at + 1)
}

function endOfDigits(text: string, start: number): number {
  let at = start
  while (isDigit(text.charCodeAt(at))) at++
  if (at === start) throw expected("a value", start)
  return at
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39
}

function isHex(code: number): boolean {
  return isDigit(code) || ((code | 0x20) >= 0x61 && (code | 0x20) <= 0x66)
}

function skipSpace(text: string, start: number): number {
  let at = start
  for (;;) {
    const code = text.charCodeAt(at)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at
    at++
  }
}

function expected(what: string, at: number): CoatcheckError {
  return new CoatcheckError("invalid", `Not valid JSON: expected ${what} at character ${at}`)
}

function tooDeep(at: number): CoatcheckError {
  return new CoatcheckError("invalid", `JSON nested deeper than ${maxDepth} levels at character ${at}: make it flatter`)
}
