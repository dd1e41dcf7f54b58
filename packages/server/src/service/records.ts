// Listing records on the strict wire: a page as one JSON document, or, for who accepts lines, the whole as a stream, an entry a line.

import type { ListQuery } from "coatcheck"
import { formatEntry, formatPage, parseListQuery } from "coatcheck/protocol"
import { beginStream, type Call, sendJson } from "./call.ts"
import { sendAllowed } from "./failure.ts"
import { permits } from "./scope.ts"
import { endStream, pages, writePart } from "./stream.ts"

const lines = "application/x-ndjson"
// Of a page as text there is this much at a time, however slowly the client takes it.
const partLength = 65_536
// White space inside a value as it was written; in a string it would be escaped.
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
    if (!call.response.headersSent) beginStream(call, lines)
    if (call.method === "HEAD") break
    let text = ""
    for (const entry of entries) {
      text += `${formatEntry(entry, now()).replace(lineBreak, " ")}\n`
      if (text.length < partLength) continue
      await writePart(call, text)
      text = ""
    }
    if (text !== "") await writePart(call, text)
  }
  endStream(call)
}
