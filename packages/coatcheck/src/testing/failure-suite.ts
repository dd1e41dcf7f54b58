// The failure suite: what a store must keep of its contract while the network or its server fails, as cases that any test runner
// can run. It is for every store that speaks to a server, ours and anyone's, bare or as `openStore` hands it out. The cases bring
// their own TCP proxy and no time but the machine's; deadlines are short, so that the whole takes some seconds.
//
//     import { failureCases } from "coatcheck/testing"
//     const harness = { target: 6379, open: ({ port, deadline }) => myStore({ port, deadline }), look: () => myStore({ port: 6379 }) }
//     for (const { name, run } of failureCases(harness)) test(name, run)

import { boundChecks, fullCase } from "./failure-bounds.ts"
import { failureCase } from "./failure-case.ts"
import { cutChecks } from "./failure-cuts.ts"
import { lastingChecks } from "./failure-faults.ts"
import type { FailureHarness } from "./failure-harness.ts"
import type { StoreCase } from "./store-case.ts"

/**
 * The cases that a networked store of this harness must pass.
 *
 * Each call ends within its deadline and the slack, with a CoatcheckError if not well; a read that fails is `unavailable` (or
 * `corrupt`, of rubbish), a write that is called `unavailable` never happens, any other is `unknown-outcome`; conditional writes
 * happen once at most; the store is back within 5 s without a restart, and closes in time whatever goes on.
 *
 * Hand each `name` and `run` to a test runner; they may run at the same time. `run` rejects with an AssertionError that says what
 * the store did instead.
 */
export function failureCases(harness: FailureHarness): StoreCase[] {
  const cases = [...lastingChecks, ...cutChecks, ...boundChecks].map((check) => failureCase(harness, check))
  return harness.fill === undefined ? cases : [...cases, fullCase(harness, harness.fill)]
}
