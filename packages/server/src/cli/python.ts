// JSON text as a Python literal, the way Python's own repr() would print it: what people's course notes show, and what
// ast.literal_eval() reads back. The text is rewritten token by token and never parsed into numbers, so 12345678901234567890, 1e21
// and -0.0 stay exactly as they were written (Python reads all of JSON's ways to write a number).
//
// One thing differs from repr() on purpose: which characters count as printable follows this runtime's Unicode tables, not those of
// some Python. The literal means the same either way.

import { decodeString, stringEnd } from "./json-text.ts"

// A run of what looks the same in both languages, spaces aside: numbers and brackets.
const same = /[{}[\]0-9.eE+-]+/y

/**
 * The Python literal of a JSON text: `{"a":[1,true,null]}` becomes `{'a': [1, True, None]}`. Always one line.
 *
 * @throws SyntaxError when the text holds something that JSON does not have
 */
export function pythonLiteral(json: string): string {
  let out = ""
  let to = 0
  for (let at = 0; at < json.length; at = to) {
    switch (json[at]) {
      case '"':
        to = stringEnd(json, at)
        out += pythonString(decodeString(json.slice(at, to)))
        break
      case ":":
        to = at + 1
        out += ": "
        break
      case ",":
        to = at + 1
        out += ", "
        break
      case "t":
        to = wordEnd(json, at, "true")
        out += "True"
        break
      case "f":
        to = wordEnd(json, at, "false")
        out += "False"
        break
      case "n":
        to = wordEnd(json, at, "null")
        out += "None"
        break
      case " ":
      case "\t":
      case "\r":
      case "\n":
        to = at + 1
        break
      default:
        same.lastIndex = at
        if (!same.test(json)) throw new SyntaxError("not JSON: a character that it does not have")
        to = same.lastIndex
        out += json.slice(at, to)
    }
  }
  return out
}

function wordEnd(json: string, at: number, word: string): number {
  if (!json.startsWith(word, at)) throw new SyntaxError("not JSON: a word that it does not have")
  return at + word.length
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
