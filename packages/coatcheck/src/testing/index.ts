// The door for tests: what we test our own stores and adapters with, for yours. Nothing here belongs into production code.

export { type FakeClock, fakeClock } from "./fake-clock.ts"
export type { StoreCase, StoreHarness, StoreSetup } from "./store-case.ts"
export { storeCases } from "./store-suite.ts"
