// The door of the HTTP wire: what the key-value service and the http store say to each other, as pure functions. Whoever writes a
// client or a service of their own finds every path, field and body here.

export {
  batchLimits,
  formatBatch,
  formatDeleteOutcome,
  formatFailure,
  formatGet,
  formatOperation,
  formatOutcome,
  formatResults,
  type Operation,
  parseBatch,
  parseResults,
  type Result,
} from "./batch.ts"
export { formatEntry, formatPage, parsePage, readEntry } from "./entry.ts"
export {
  eventReader,
  eventsPath,
  eventsType,
  formatChange,
  formatOpening,
  heartbeat,
  type Opening,
  parseEventsQuery,
  type StreamEvent,
} from "./events.ts"
export {
  type EntityTag,
  formatOwner,
  formatTag,
  formatTtl,
  headers,
  parseOwner,
  parseTags,
  parseTtl,
  remaining,
  strongMatch,
  weakMatch,
} from "./headers.ts"
export { type Cursor, elements, jsonText, maxDepth, members, ownText, quote } from "./json.ts"
export { keyPath, listPath, parseListQuery, paths, recordPath, route, type Route } from "./paths.ts"
export {
  codeOf,
  formatProblem,
  parseProblem,
  plainProblem,
  type Problem,
  problemOf,
  problemType,
  statusOf,
} from "./problem.ts"
