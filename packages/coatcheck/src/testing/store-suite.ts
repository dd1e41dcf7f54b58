// The store suite: everything that the store contract promises, as cases that any test runner can run. Ours and anyone's stores
// are held to the same list; a wrapper around a store is a store and runs it too.
//
//     import { storeCases } from "coatcheck/testing"
//     for (const { name, run } of storeCases({ open: ({ clock }) => myStore({ clock }) })) test(name, run)
//
// A case opens a store of its own and closes it; it uses no network, no files and no real time. The model run needs fast-check.

import type { StoreCase, StoreHarness } from "./store-case.ts"
import { runCheck } from "./store-case.ts"
import { listChecks } from "./store-listing.ts"
import { runModel } from "./store-model.ts"
import { raceChecks } from "./store-races.ts"
import { verbChecks } from "./store-verbs.ts"

/**
 * The cases that a store of this harness must pass; those about several handles only when it can open a second one.
 *
 * Hand each `name` and `run` to a test runner. `run` rejects with an AssertionError that says what the store did instead.
 */
export function storeCases(harness: StoreHarness): StoreCase[] {
  const checks = [...verbChecks, ...listChecks, ...raceChecks].filter(
    ({ shared }) => !shared || harness.openSecond !== undefined,
  )
  const cases = checks.map(({ name, check: work }) => ({ name, run: () => runCheck(harness, work) }))
  return [...cases, { name: modelName, run: () => runModel(harness) }]
}

const modelName = "REL-01: random sequences of calls agree with a model"
