// Changes as they happen, as server-sent events (the HTML standard, 9.2): a stream of UTF-8 lines that any HTTP client can read and a
// browser reads by itself. Only keys travel: whoever wants the value asks for it, by the door that decides who may.
//
//   retry: 1000
//   event: open
//   data: {"coherent":true,"heartbeat":1000}
//
//   data: {"key":"a"}
//
//   data: {"key":null}
//
// The first event says what the stream is good for: whether it tells everybody's writes or only those that go through this service, and
// after how many ms at most something comes, if only an empty comment, so that a reader can tell a quiet stream from a dead one.
// A null key says that anything may have changed. There are no ids and no replay: what a reader missed it can't know, so
// after every break everything may have changed.

import { CoatcheckError } from "../errors.ts"
import { members, ownText, quote, readString } from "./json.ts"
import { paths } from "./paths.ts"

/** The content type of a stream of events. */
export const eventsType = "text/event-stream"

/** What a stream says first. */
export interface Opening {
  /** Whether every change is told. false: of those that other processes make in the same engine nothing is known. */
  readonly coherent: boolean
  /** Something comes at least every so many ms. */
  readonly heartbeat: number
}

/** What a stream says: its opening, that it lives, or a change (null: anything may have changed). */
export type StreamEvent =
  | ({ readonly type: "open" } & Opening)
  | { readonly type: "alive" }
  | { readonly type: "change"; readonly key: string | null }

/** After how many ms a reader that lost the stream asks again, if it follows the stream's own advice. */
const RETRY_MS = 1_000
/** A key takes 512 bytes, each of which an escape makes six characters. */
const MAX_LINE = 8_192

/** What keeps a quiet stream alive: an empty comment. */
export const heartbeat = ":\n\n"

/** The path and query that ask for the changes of keys that begin with `prefix`. */
export function eventsPath(prefix = ""): string {
  return prefix === "" ? paths.events : `${paths.events}?${new URLSearchParams({ prefix })}`
}

/**
 * The prefix that a query string (without its `?`) asks for; "" for every key.
 *
 * @throws CoatcheckError `invalid` when it holds anything else, or the prefix twice.
 */
export function parseEventsQuery(search: string): string {
  const fields = [...new URLSearchParams(search)]
  if (fields.length > 1 || fields.some(([name]) => name !== "prefix")) {
    throw new CoatcheckError("invalid", "The query of events takes prefix, once, and nothing else")
  }
  return fields[0]?.[1] ?? ""
}

/** The first event of a stream. */
export function formatOpening({ coherent, heartbeat: ms }: Opening): string {
  return `retry: ${RETRY_MS}\nevent: open\ndata: {"coherent":${coherent},"heartbeat":${ms}}\n\n`
}

/** A change of a key; null: anything may have changed. */
export function formatChange(key: string | null): string {
  return `data: {"key":${key === null ? "null" : quote(key)}}\n\n`
}

/**
 * A reader of a stream: to be called with its text, in pieces of any length, as it comes. Fields and events that it does not know it
 * passes over, as the standard has it.
 *
 * @throws CoatcheckError `invalid` (the reader it gives does) when the text is no such stream: it can't be read on.
 */
export function eventReader(onEvent: (event: StreamEvent) => void): (text: string) => void {
  let rest = ""
  let name = ""
  let data: string | null = null

  function line(text: string): void {
    if (text === "") {
      const event = data === null ? null : eventOf(name, data)
      name = ""
      data = null
      if (event !== null) onEvent(event)
      return
    }
    const colon = text.indexOf(":")
    if (colon === 0) return onEvent({ type: "alive" })
    const field = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? "" : text.slice(colon + (text.charCodeAt(colon + 1) === SPACE ? 2 : 1))
    if (field === "event") name = value
    else if (field === "data") data = data === null ? value : `${data}\n${value}`
    if (data !== null && data.length > MAX_LINE) throw noStream()
  }

  return (text) => {
    const lines = (rest + text).split("\n")
    rest = lines.pop() ?? "" // there is always a last one
    if (rest.length > MAX_LINE) throw noStream()
    for (const one of lines) line(one.endsWith("\r") ? one.slice(0, -1) : one)
  }
}
const SPACE = 0x20

function eventOf(name: string, data: string): StreamEvent | null {
  if (name !== "" && name !== "message" && name !== "open") return null
  const found = members(data)
  if (name === "open") {
    const ms = found.get("heartbeat") ?? ""
    if (!/^[1-9]\d{0,6}$/.test(ms)) throw noStream()
    return { type: "open", coherent: found.get("coherent") === "true", heartbeat: Number(ms) }
  }
  const key = found.get("key")
  if (key === undefined) throw noStream()
  return { type: "change", key: key === "null" ? null : ownText(readString({ text: key, at: 0 })) }
}

function noStream(): CoatcheckError {
  return new CoatcheckError("invalid", "This is no stream of changes: see who answers at that address")
}
