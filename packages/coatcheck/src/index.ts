// The door of the library: sessions, what one needs to talk about them, and the rules for whoever writes a store. Stores and
// adapters have doors of their own.

export { checkedStore, type StoreVerbs } from "./core/checked-store.ts"
export type { Clock, Duration } from "./core/clock.ts"
export {
  type CheckedQuery,
  cursorAt,
  cursorKey,
  isOther,
  isOver,
  pageOfAll,
  refusal,
  written,
} from "./core/contract.ts"
export type { CookieOptions } from "./core/cookie.ts"
export type { RandomSource } from "./core/crypto.ts"
export type { EndReason, OnEvent, RefusalReason, SessionEvent } from "./core/events.ts"
export { type Committer, type Exchange, exchangeOf, type ReplyChange } from "./core/exchange.ts"
export type { Preset } from "./core/expiry.ts"
export type { MergeFunction, Rule } from "./core/merge.ts"
export type { SessionData } from "./core/record.ts"
export type { ListSessionsQuery, RevokeQuery, SessionInfo, SessionPage } from "./core/registry.ts"
export type { Session, SignInOptions } from "./core/session.ts"
export { createSessions, type Json, type OnlyJson, type Sessions, type SessionsOptions } from "./core/sessions.ts"
export {
  type DeleteOutcome,
  type Entry,
  type GetOptions,
  type ListQuery,
  limits,
  type Outcome,
  type Page,
  type Report,
  type SetOptions,
  type Store,
  type StoreInfo,
  type StoreReport,
} from "./core/store.ts"
export { type UpdateEntryOptions, updateEntry } from "./core/update-entry.ts"
export { CoatcheckError, type ErrorCode, errorCodes } from "./errors.ts"
