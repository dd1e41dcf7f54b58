// JSON text as a Python literal, the way Python's own repr() would print it: what people's course notes show, and what
// ast.literal_eval() reads back. The text is rewritten token by token and never parsed into numbers, so 12345678901234567890, 1e21
// and -0.0 stay exactly as they were written (Python reads all of JSON's ways to write a number).
//
// One thing differs from repr() on purpose: which characters count as printable follows this runtime's Unicode tables, not those of
// some Python. The literal means the same either way.

import { decodeString, stringEnd } from "./json-text.ts"

const words: Readonly<Record<string, readonly [json: string, python: string]>> = {
  t: ["true", "True"],
  f: ["false", "False"],
  n: ["null", "None"],
}
const spaced: Readonly<Record<string, string>> = { ",": ", ", ":": ": " }

/**
 * The Python literal of a JSON text: `{"a":[1,true,null]}` becomes `{'a': [1, True, None]}`. Always one line.
 *
 * @throws SyntaxError when the text holds something that JSON does not have
 */
export function pythonLiteral(json: string): string {
  let out = ""
  for (let at = 0; at < json.length; ) {
    const char = json.charAt(at)
    const word = words[char]
    if (char === '"') {
      const to = stringEnd(json, at)
      out += pythonString(decodeString(json.slice(at, to)))
      at = to
      continue
    }
    if (word) {
      if (!json.startsWith(word[0], at)) throw new SyntaxError("not JSON: a word that it does not have")
      out += word[1]
      at += word[0].length
      continue
    }
    if (!" \t\r\n".includes(char)) out += spaced[char] ?? plain(char)
    at += 1
  }
  return out
}

/** Brackets and what numbers are made of. */
function plain(char: string): string {
  if (!"{}[]0123456789+-.eE".includes(char)) throw new SyntaxError("not JSON: a character that it does not have")
  return char
}

// Printable ASCII without the quote and the backslash: most strings are made of nothing else.
const simple = /^[\x20-\x26\x28-\x5b\x5d-\x7e]*$/
// Every backslash, and what Python's str.isprintable() refuses: controls, formats, surrogates, unassigned, separators but the space.
const special = /\\|(?! )[\p{C}\p{Z}]/gu

/** A text as a Python string: single quotes, unless it has some and no double ones. */
export function pythonString(text: string): string {
  if (simple.test(text)) return `'${text}'`
  const escaped = text.replace(special, escape)
  if (!escaped.includes("'")) return `'${escaped}'`
  return escaped.includes('"') ? `'${escaped.replaceAll("'", "\\'")}'` : `"${escaped}"`
}

const named: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" }

function escape(char: string): string {
  const code = char.codePointAt(0) ?? 0
  const hex = code.toString(16)
  if (code < 0x100) return named[char] ?? `\\x${hex.padStart(2, "0")}`
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`
}
