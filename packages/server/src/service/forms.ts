// What the body of a classic write says: a JSON object, or a form, each member of which is one key. Values stay text from here to
// the store, so that a number keeps its digits.
//
// `curl -d '{"a":1}'` labels JSON as a form. A form's serialiser never leaves a bare {, [ or " at its start, so a body that begins
// with one is JSON whatever its label. Multipart is read by the platform's own parser, the one behind Response.formData:
// the body is bounded before it gets there.

import { CoatcheckError } from "coatcheck"
import { members, quote } from "coatcheck/protocol"

/**
 * The members that a body asks to store, in order: each key with its value as JSON text. A repeated name keeps its last value.
 *
 * @throws CoatcheckError `invalid` when the body is empty or not what it says it is.
 */
export function parseWrite(
  body: string,
  contentType: string | undefined,
): Map<string, string> | Promise<Map<string, string>> {
  if (body === "") throw new CoatcheckError("invalid", 'The body is empty: send a JSON object such as {"key": "value"}')
  const type = mediaType(contentType)
  if (type === "application/x-www-form-urlencoded" && !/^\s*[{["]/.test(body)) return asJson(new URLSearchParams(body))
  if (type === "multipart/form-data") return parseMultipart(body, contentType as string) // it has a type, so it was given
  return members(body)
}

function mediaType(contentType: string | undefined): string {
  if (contentType === undefined) return ""
  const end = contentType.indexOf(";")
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}

async function parseMultipart(body: string, contentType: string): Promise<Map<string, string>> {
  const form = await new Response(body, { headers: { "Content-Type": contentType } })
    .formData()
    .catch((cause: unknown) => {
      throw new CoatcheckError("invalid", "The body is not the multipart form that its Content-Type announces", {
        cause,
      })
    })
  return asJson(form)
}

function asJson(pairs: Iterable<[string, unknown]>): Map<string, string> {
  const found = new Map<string, string>()
  for (const [name, value] of pairs) {
    if (typeof value !== "string")
      throw new CoatcheckError("invalid", "A file can't be a value: send its text as a field")
    found.set(name, quote(value))
  }
  return found
}
