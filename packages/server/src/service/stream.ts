// Answers that may be longer than memory: one page is asked of the store, written, and the next one asked for when the client has
// taken it. A client may pause, since a person may be reading; who takes nothing for ten minutes is cut. A store that fails half-way
// cuts the connection too, since an answer that ends early must not look complete.

import { limits, type ListQuery, type Page } from "coatcheck"
import { gone } from "./body.ts"
import { beginStream, type Call } from "./call.ts"
import type { ServedStore } from "./changes.ts"

const pageBytes = 1_048_576
const firstPage = 16 // nothing is known of the values yet

/**
 * The pages of a whole listing, each asked for when the one before was used. Where values are asked for, a page is made as long as
 * fits into about a megabyte by what the values so far took: neither a million small records nor a thousand large ones fill memory.
 */
export async function* pages(store: ServedStore, query: ListQuery): AsyncGenerator<Page, void, void> {
  let limit: number = query.values === false ? limits.page : firstPage
  let cursor = query.cursor
  for (;;) {
    const page = await store.list({ ...query, limit, ...(cursor === undefined ? {} : { cursor }) })
    yield page
    if (page.cursor === null) return
    cursor = page.cursor
    if (query.values !== false) limit = fitting(page, limit)
  }
}

function fitting({ entries }: Page, limit: number): number {
  if (entries.length === 0) return limit
  const bytes = entries.reduce((sum, entry) => sum + entry.value.length, 0)
  return Math.max(1, Math.min(limits.page, Math.floor((pageBytes * entries.length) / (bytes + 1))))
}

/** Begins an answer of pages. Its connection may stand still for longer than others; the next request on it sets that back. */
export function beginPages(call: Call, type: string): void {
  beginStream(call, type)
  call.request.socket.setTimeout(call.setting.limits.pauseMs)
}

/**
 * Writes a part of an answer, and waits until the client has room for more.
 *
 * @throws `gone` when there is no client any more.
 */
export function writePart(call: Call, text: string): Promise<void> | void {
  const { response } = call
  if (response.destroyed) throw gone
  if (response.write(Buffer.from(text))) return // as text its bytes would be counted first, and written then
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      response.off("drain", settle)
      response.off("close", settle)
      if (response.destroyed) reject(gone)
      else resolve()
    }
    response.on("drain", settle)
    response.on("close", settle)
  })
}

/** Ends a streamed answer. One that began before a drain promised to keep the connection: it is closed behind the answer. */
export function endStream(call: Call): void {
  const { request, response, setting } = call
  if (setting.draining) response.once("close", () => request.socket.end())
  response.end()
}
