// The door of the library: sessions and what one needs to talk about them. Stores and adapters have doors of their own.

export type { Duration, Clock } from "./core/clock.ts"
export { CoatcheckError, errorCodes, type ErrorCode } from "./errors.ts"
export { limits } from "./core/store.ts"
export type { DeleteOutcome, Entry, ListQuery, Outcome, Page, Report, SetOptions, Store, StoreInfo, StoreReport } from "./core/store.ts"
