// The door for tests: what we test our own stores and adapters with, for yours. Nothing here belongs into production code.

export type {
  AdapterCase,
  AdapterHarness,
  SuiteApplication,
  SuiteCall,
  SuiteData,
  SuiteReply,
} from "./adapter-harness.ts"
export { adapterCases } from "./adapter-suite.ts"
export { type CookieJar, cookieJar, type JarCookie } from "./cookie-jar.ts"
export { type FakeClock, fakeClock } from "./fake-clock.ts"
export type { FailureHarness, FailureSetup } from "./failure-harness.ts"
export { failureCases } from "./failure-suite.ts"
export { type FaultDirection, type FaultCounts, type FaultProxy, faultProxy } from "./fault-proxy.ts"
export {
  type Fault,
  type FaultPosition,
  type FaultyStore,
  faultyStore,
  type StoreCall,
  type StoreVerb,
} from "./faulty-store.ts"
export { seededRandom } from "./seeded-random.ts"
export type { StoreCase, StoreHarness, StoreSetup } from "./store-case.ts"
export { storeCases } from "./store-suite.ts"
