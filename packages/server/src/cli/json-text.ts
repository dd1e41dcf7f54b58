// Rewrites JSON text without parsing it: what a dump does to strings and line breaks, while numbers stay exactly as they were written.
// Reading members and values out of JSON text is in coatcheck/protocol; this is only what the command needs besides.

const QUOTE = 0x22
const BACKSLASH = 0x5c

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
