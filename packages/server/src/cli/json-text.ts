// Walks JSON text without parsing it. A dump must print numbers as they were written (12345678901234567890 would lose digits in a
// double) and a million values quickly, so values are cut out of what the service sent and never become objects.
//
// The text is trusted to be JSON as far as it goes: where it is not, these functions throw a SyntaxError rather than guess. None of
// them recurses, so that depth is no danger.

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** One member of an object: its name, decoded, its name as written (with quotes), and the text of its value. */
export interface Member {
  readonly name: string
  readonly token: string
  readonly value: string
}

/**
 * The members of the object that the text is, in order, values as they were written.
 *
 * @throws SyntaxError when the text is not one object
 */
export function members(text: string): Member[] {
  const found: Member[] = []
  let at = expect(text, skipSpace(text, 0), "{")
  at = skipSpace(text, at)
  if (text[at] === "}") {
    end(text, at + 1)
    return found
  }
  for (;;) {
    const nameEnd = stringEnd(text, at)
    const token = text.slice(at, nameEnd)
    const from = skipSpace(text, expect(text, skipSpace(text, nameEnd), ":"))
    const to = valueEnd(text, from)
    found.push({ name: decodeString(token), token, value: text.slice(from, to) })
    at = skipSpace(text, to)
    if (text[at] === "}") break
    at = skipSpace(text, expect(text, at, ","))
  }
  end(text, at + 1)
  return found
}

/** The text of a JSON string token. */
export function decodeString(token: string): string {
  return token.includes("\\") ? String(JSON.parse(token)) : token.slice(1, -1)
}

/**
 * Where the string that begins at `from` (its quote) ends: the index after the closing quote.
 *
 * @throws SyntaxError when no string begins there, or it does not end
 */
export function stringEnd(text: string, from: number): number {
  if (text.charCodeAt(from) !== QUOTE) throw new SyntaxError("not JSON: a string should begin here")
  let close = text.indexOf('"', from + 1)
  while (close !== -1 && escaped(text, close, from)) close = text.indexOf('"', close + 1)
  if (close === -1) throw new SyntaxError("not JSON: a string does not end")
  return close + 1
}

/** An odd number of backslashes before a quote makes it part of the string. */
function escaped(text: string, quote: number, from: number): boolean {
  let at = quote - 1
  while (at > from && text.charCodeAt(at) === BACKSLASH) at -= 1
  return (quote - 1 - at) % 2 === 1
}

/**
 * Where the value that begins at `from` ends: the index after its last character.
 *
 * @throws SyntaxError when no value begins there, or it does not end
 */
export function valueEnd(text: string, from: number): number {
  const first = text[from]
  if (first === '"') return stringEnd(text, from)
  if (first !== "{" && first !== "[") return scalarEnd(text, from)
  let depth = 0
  for (let at = from; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) at = stringEnd(text, at) - 1
    else if (code === 0x7b || code === 0x5b) depth += 1
    else if (code === 0x7d || code === 0x5d) {
      depth -= 1
      if (depth === 0) return at + 1
    }
  }
  throw new SyntaxError("not JSON: an object or array does not end")
}

function scalarEnd(text: string, from: number): number {
  scalar.lastIndex = from
  if (!scalar.test(text)) throw new SyntaxError("not JSON: a value should begin here")
  return scalar.lastIndex
}

const scalar = /(?:true|false|null|-?\d[\d.eE+-]*)/y

/** The text with every string token, names of members too, put through `change`; everything else stays as it was. */
export function mapStrings(text: string, change: (token: string) => string): string {
  let out = ""
  let from = 0
  for (let at = text.indexOf('"'); at !== -1; at = text.indexOf('"', from)) {
    const to = stringEnd(text, at)
    out += text.slice(from, at) + change(text.slice(at, to))
    from = to
  }
  return out + text.slice(from)
}

/** The same JSON on one line: line breaks can only stand between tokens, where a space means the same. */
export function oneLine(json: string): string {
  return json.includes("\n") || json.includes("\r") ? json.replace(/[\r\n]+/g, " ") : json
}

function skipSpace(text: string, from: number): number {
  let at = from
  while (at < text.length && " \t\r\n".includes(text.charAt(at))) at += 1
  return at
}

function expect(text: string, at: number, what: string): number {
  if (text[at] !== what) throw new SyntaxError(`not JSON: "${what}" should stand here`)
  return at + 1
}

function end(text: string, at: number): void {
  if (skipSpace(text, at) !== text.length) throw new SyntaxError("not JSON: something follows the object")
}
