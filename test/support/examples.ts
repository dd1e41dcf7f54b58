// The examples for tests: an application served in this process, over a store that the test holds; and what every example's pages have
// in common.

import type { RequestListener } from "node:http"
import { CoatcheckError, type Store } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { onTestFinished } from "vitest"
import { listen } from "../../examples/shared/listen.ts"
import { storeWith } from "./service.ts"

/** Serves an application on a free port until the test ends; gives its address without a slash. */
export async function serveExample(listener: RequestListener): Promise<string> {
  const { port, close } = await listen(listener, "127.0.0.1", 0)
  onTestFinished(close)
  return `http://127.0.0.1:${port}`
}

/** A store that fails, as one does that can't be reached, as long as the switch is on. */
export function failingStore(): { readonly store: Store; readonly fault: { on: boolean } } {
  const fault = { on: false }
  const base = memoryStore()
  const unless =
    <Args extends unknown[], Result>(verb: (...args: Args) => Promise<Result>) =>
    (...args: Args): Promise<Result> =>
      fault.on ? Promise.reject(new CoatcheckError("unavailable", "the store is away")) : verb(...args)
  const store = storeWith({ get: unless(base.get), set: unless(base.set), delete: unless(base.delete) }, base)
  return { store, fault }
}

/** What browsers say that they read. */
export const asBrowser = { accept: "text/html,application/xhtml+xml" } as const

/** The text of the page's heading, as it is in the markup. */
export function heading(body: string): string {
  return /<h1[^>]*>(.*?)<\/h1>/s.exec(body)?.[1] ?? ""
}
