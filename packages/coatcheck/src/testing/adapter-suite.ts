// The adapter suite: what every adapter must do, as cases that any test runner can run. Each case serves one small application over
// real HTTP on 127.0.0.1 through the adapter under test, and talks to it as browsers, strangers and attackers do.
//
//     import { adapterCases } from "coatcheck/testing"
//     for (const { name, run } of adapterCases) test(name, () => run({ serve: serveWithMyFramework, store: ({ clock }) => memoryStore({ clock }) }))

import { cachingCases } from "./adapter-caching.ts"
import { cookieCases } from "./adapter-cookies.ts"
import { failureCases } from "./adapter-failures.ts"
import { guardCases } from "./adapter-guard.ts"
import type { AdapterCase } from "./adapter-harness.ts"
import { sessionCases } from "./adapter-sessions.ts"
import { wireCases } from "./adapter-wire.ts"

/** The cases that an adapter must pass. Each serves an application of its own and closes it. */
export const adapterCases: readonly AdapterCase[] = [
  ...sessionCases,
  ...cachingCases,
  ...cookieCases,
  ...guardCases,
  ...failureCases,
  ...wireCases,
]
