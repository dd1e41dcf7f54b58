// How the adapter suite gets hold of an adapter. The application under test is one and the same for every adapter, written against
// a call and a reply that any framework can be translated to; a harness serves it over real HTTP through the adapter under test.

import type { GuardOptions } from "../core/guard.ts"
import type { Sessions } from "../core/sessions.ts"
import type { Store } from "../core/store.ts"
import type { FakeClock } from "./fake-clock.ts"

/** What the sessions of the suite keep. */
export interface SuiteData {
  count: number
  filling: string
}

/** One request, as the application of the suite sees it. */
export interface SuiteCall {
  readonly method: string
  /** Path and query, as they were sent. */
  readonly url: string
  /** What the framework's handler got, for `sessions.open`. */
  readonly request: object
  /** The body as text. Called at most once. */
  text(): Promise<string>
}

/** One reply, as the application of the suite makes it. */
export interface SuiteReply {
  /** Default 200. */
  readonly status?: number
  /** Names may stand several times. */
  readonly headers?: readonly (readonly [name: string, value: string])[]
  /** Pieces are sent as they come. Default: none. */
  readonly body?: string | AsyncIterable<string>
}

/** What a harness must serve. */
export interface SuiteApplication {
  /** To create the adapter with. */
  readonly sessions: Sessions<SuiteData>
  readonly guard: false | GuardOptions
  /** Whether X-Forwarded-Proto is to be believed from 127.0.0.1. */
  readonly behindProxy: boolean
  onError(error: unknown): void
  warn(message: string): void
  /** The handler. Its errors must reach the adapter, or the framework, as they are. */
  answer(call: SuiteCall): Promise<SuiteReply>
}

/** How the suite gets hold of an adapter. */
export interface AdapterHarness {
  /** Serves the application over HTTP on 127.0.0.1, at a port that the system chooses, through the adapter under test. */
  serve(application: SuiteApplication): Promise<{ readonly port: number; close(): Promise<void> }>
  /** An empty store in memory. */
  store(setup: { readonly clock: FakeClock }): Store
}

/** One thing that an adapter must do. */
export interface AdapterCase {
  /** What it shows, as a sentence; made for the name of a test. */
  readonly name: string
  /** Ids of the requirements that it shows. */
  readonly rows: readonly string[]
  /** Serves the application, checks it and closes it. Rejects with an AssertionError when the adapter does something else. */
  run(harness: AdapterHarness): Promise<void>
}
