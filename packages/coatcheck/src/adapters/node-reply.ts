// What is put on a node response: the head that the application hands to writeHead, the fields that sessions ask for, and
// problems of our own. Nothing here sends anything.

import type { OutgoingHttpHeaders, ServerResponse } from "node:http"
import { appendVary, cacheControl, targetedCacheFields } from "../core/caching.ts"
import { replaceCookie } from "../core/cookie.ts"
import type { ProblemReply } from "./problem.ts"
import { overruled, type Reporter } from "./reporter.ts"

/**
 * Puts the arguments of a writeHead call on the response, merged with what is there as node does it: an object replaces fields, and
 * so does a list of names and values, flat or in pairs, in which a name may stand several times.
 *
 * @throws what node throws for a status or headers that it doesn't take.
 */
export function takeHead(response: ServerResponse, [status, ...rest]: readonly unknown[]): void {
  const code = Number(status) | 0
  if (code < 100 || code > 999) throw codedError(RangeError, "ERR_HTTP_INVALID_STATUS_CODE", "Invalid status code")
  const reason = typeof rest[0] === "string" ? rest[0] : null
  const headers = reason === null ? (rest[0] ?? rest[1]) : rest[1]
  response.statusCode = code
  // HTTP/2 has no reason phrases, and node warns when one is set.
  if (reason !== null && response.req.httpVersionMajor === 1) response.statusMessage = reason
  if (Array.isArray(headers)) takePairs(response, Array.isArray(headers[0]) ? headers : paired(headers))
  else if (typeof headers === "object" && headers !== null) {
    const fields = Object.entries(headers as OutgoingHttpHeaders) // setHeader refuses what is none
    for (const [name, value] of fields) if (name !== "") response.setHeader(name, value as string)
  }
}

function takePairs(response: ServerResponse, pairs: readonly (readonly [name: string, value: string])[]): void {
  for (const [name] of pairs) if (response.hasHeader(name)) response.removeHeader(name)
  for (const [name, value] of pairs) response.appendHeader(name, value)
}

function paired(flat: readonly string[]): [string, string][] {
  if (flat.length % 2 !== 0) throw codedError(TypeError, "ERR_INVALID_ARG_VALUE", "The argument 'headers' is invalid")
  const pairs: [string, string][] = []
  for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i] as string, flat[i + 1] as string]) // an even length, as was just seen
  return pairs
}

/** What our side adds to a reply. */
export interface ReplyFields {
  /** Whole Set-Cookie fields, one a name. */
  readonly cookies: readonly string[]
  /** Names for Vary; "": none. */
  readonly vary: string
  /** Whether the reply depends on a session, so that no cache may keep it for others. */
  readonly personal: boolean
}

/** Adds the fields; reports what of the application's it had to drop. */
export function addFields(
  response: ServerResponse,
  { cookies, vary, personal }: ReplyFields,
  reporter: Reporter,
): void {
  for (const cookie of cookies) {
    response.setHeader("Set-Cookie", replaceCookie(asText(response.getHeader("set-cookie")), cookie))
  }
  if (vary !== "") response.setHeader("Vary", appendVary(response.getHeader("vary"), vary))
  if (!personal) return
  const { value, dropped } = cacheControl(response.getHeader("cache-control"), cookies.length > 0)
  response.setHeader("Cache-Control", value)
  if (dropped !== null) reporter.warn(overruled(`Cache-Control: ${dropped}`))
  for (const field of targetedCacheFields) {
    if (!response.hasHeader(field)) continue
    response.removeHeader(field)
    reporter.warn(overruled(field))
  }
}

/** Puts a problem on the response in place of all that the application put there. The body is left to the caller. */
export function takeProblem(response: ServerResponse, problem: ProblemReply): void {
  for (const name of response.getHeaderNames()) if (name !== "connection") response.removeHeader(name)
  response.sendDate = true
  if (response.req.httpVersionMajor === 1) response.statusMessage = ""
  response.statusCode = problem.status
  for (const [name, value] of problem.headers) response.setHeader(name, value)
}

/** What node throws, for calls that are refused before they reach it. */
export function codedError(Kind: new (message: string) => Error, code: string, message: string): Error {
  return Object.assign(new Kind(message), { code })
}

// Node keeps numbers as they were set, for any header.
const asText = (value: number | string | string[] | undefined): string | string[] | undefined =>
  typeof value === "number" ? String(value) : value
