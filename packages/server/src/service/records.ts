// Listing records on the strict wire: a page as one JSON document, or, for who accepts lines, the whole as a stream, an entry a line.

import type { Entry, ListQuery } from "coatcheck"
import { formatEntry, formatPage, parseListQuery } from "coatcheck/protocol"
import { type Call, sendJson } from "./call.ts"
import { sendAllowed } from "./failure.ts"
import { permits } from "./scope.ts"
import { beginPages, endStream, pages, writePart } from "./stream.ts"

const lines = "application/x-ndjson"
// Of a page as text there is this much at a time, however slowly the client takes it.
const partLength = 65_536
const lineBreak = /[\r\n]/g

/** `/-/v1/records`. */
export function records(call: Call): Promise<void> | void {
  if (call.method !== "GET" && call.method !== "HEAD") return sendAllowed(call, "GET, HEAD, OPTIONS")
  if (!permits(call, "read")) return
  const query = parseListQuery(call.search)
  return call.request.headers.accept?.includes(lines) ? streamRecords(call, query) : sendPage(call, query)
}

async function sendPage(call: Call, query: ListQuery): Promise<void> {
  const { store, now } = call.setting
  sendJson(call, 200, formatPage(await store.list(query), now()))
}

async function streamRecords(call: Call, query: ListQuery): Promise<void> {
  const { store, now } = call.setting
  for await (const { entries } of pages(store, query)) {
    if (!call.response.headersSent) beginPages(call, lines)
    if (call.method === "HEAD") break
    const at = now()
    let text = ""
    for (const entry of entries) {
      text += lineOf(entry, at)
      if (text.length < partLength) continue
      await writePart(call, text)
      text = ""
    }
    if (text !== "") await writePart(call, text)
  }
  endStream(call)
}

// A value is as it was written, with line breaks between its tokens perhaps; in a string they are escaped. Looking for one costs far
// less than a replacement that finds none.
function lineOf(entry: Entry, now: number): string {
  const line = formatEntry(entry, now)
  const isBroken = entry.value.includes("\n") || entry.value.includes("\r")
  return `${isBroken ? line.replace(lineBreak, " ") : line}\n`
}
