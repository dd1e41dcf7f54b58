// The strict wire, for clients that care: absent is 404, a version is an entity tag, and conditions are decided by the store in one
// step with the write. Every condition that HTTP knows is honoured. The store knows "absent" and one version; what more If-Match
// may say is in match.ts.

import { randomBytes } from "node:crypto"
import { CoatcheckError, type Entry, type GetOptions, type Outcome, type SetOptions } from "coatcheck"
import {
  formatOwner,
  formatTag,
  formatTtl,
  headers,
  jsonText,
  parseOwner,
  parseTags,
  parseTtl,
  plainProblem,
  remaining,
  strongMatch,
  weakMatch,
} from "coatcheck/protocol"
import { readText } from "./body.ts"
import { type Call, sendEmpty, sendJson, sendProblem } from "./call.ts"
import { sendAllowed, sendNotFound } from "./failure.ts"
import { checkKey } from "./keys.ts"
import { onMatch } from "./match.ts"
import { permits } from "./scope.ts"

/** `/-/v1/records/<key>`. */
export function record(call: Call, key: string): Promise<void> | void {
  switch (call.method) {
    case "GET":
    case "HEAD":
      return permits(call, "read") ? getRecord(call, key) : undefined
    case "PUT":
      return permitsWrite(call) ? putRecord(call, key) : undefined
    case "PATCH":
      return permitsWrite(call) ? patchRecord(call, key) : undefined
    case "DELETE":
      return permitsWrite(call) ? deleteRecord(call, key) : undefined
    default:
      return sendAllowed(call, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS")
  }
}

// A condition that fails shows what stands there, so setting one takes the right to read as well.
function permitsWrite(call: Call): boolean {
  const isConditional = field(call, "if-match") !== undefined || field(call, "if-none-match") !== undefined
  return permits(call, "write") && (!isConditional || permits(call, "read"))
}

async function getRecord(call: Call, key: string): Promise<void> {
  checkKey(key)
  const match = field(call, "if-match")
  const wanted = match === undefined ? null : parseTags(match)
  const known = field(call, "if-none-match")
  const condition = known === undefined ? null : parseTags(known)
  const isFresh = field(call, "cache-control")?.includes("no-cache") === true
  const entry = await call.setting.store.get(key, isFresh ? freshly : undefined)
  if (entry === null) return sendNotFound(call, "There is no such record")
  if (wanted !== null && !strongMatch(wanted, entry.version)) return sendRefused(call, entry)
  if (condition !== null && weakMatch(condition, entry.version)) return sendEmpty(call, 304, tagOf(entry.version))
  sendEntry(call, 200, entry)
}

const freshly: GetOptions = { fresh: true }

async function putRecord(call: Call, key: string): Promise<void> {
  checkKey(key)
  const { store, limits } = call.setting
  const options = writeOptions(call)
  const match = field(call, "if-match")
  const create = isCreateOnly(call)
  if (match !== undefined && create)
    throw new CoatcheckError("invalid", "If-Match and If-None-Match exclude each other")
  const value = jsonText(await readText(call, limits.bodyBytes))
  if (match !== undefined) {
    const next = options?.version ?? randomBytes(12).toString("base64url")
    const write = (version: string) => store.set(key, value, { ...options, version: next, if: { version } })
    return sendWritten(call, 204, await onMatch(call, key, match, write, next))
  }
  if (create) return sendWritten(call, 201, await store.set(key, value, { ...options, if: "absent" }))
  const wasThere = call.setting.tellsCreated || (await store.get(key).then(isThere, isThere))
  const outcome = await store.set(key, value, options)
  sendWritten(call, isCreated(call, outcome, !wasThere) ? 201 : 204, outcome)
}

// Which of two statuses a write has may cost a look before it: awaited, since no store promises that of two calls the first one is
// the first to be done. A store that tells it by itself is believed, and after the first time nobody looks any more.
function isCreated({ setting }: Call, outcome: Outcome, looked: boolean): boolean {
  const created = outcome.ok ? outcome.created : undefined
  if (outcome.ok) setting.tellsCreated = created !== undefined
  return created ?? looked
}

async function patchRecord(call: Call, key: string): Promise<void> {
  checkKey(key)
  takesNoCreation(call)
  const { store, now } = call.setting
  const ttl = field(call, headers.ttl)
  if (ttl === undefined) throw new CoatcheckError("invalid", "PATCH moves the end: say it by Coatcheck-TTL")
  const match = field(call, "if-match")
  const end = endOf(ttl, now())
  const outcome =
    match === undefined
      ? await store.touch(key, end)
      : await onMatch(call, key, match, (version) => store.touch(key, end, { version }), null)
  if (!outcome.ok && outcome.current === null) return sendNotFound(call, "There is no such record")
  sendWritten(call, 204, outcome)
}

async function deleteRecord(call: Call, key: string): Promise<void> {
  checkKey(key)
  takesNoCreation(call)
  const { store } = call.setting
  const match = field(call, "if-match")
  const outcome =
    match === undefined
      ? await store.delete(key)
      : await onMatch(call, key, match, (version) => store.delete(key, { version }), null)
  if (!outcome.ok) return sendRefused(call, outcome.current)
  if (outcome.removed === null) return sendNotFound(call, "There is no such record")
  sendEntry(call, 200, outcome.removed)
}

function writeOptions(call: Call): SetOptions | undefined {
  const version = field(call, headers.version)
  const ttl = field(call, headers.ttl)
  const owner = field(call, headers.owner)
  if (version === undefined && ttl === undefined && owner === undefined) return undefined
  return {
    ...(version === undefined ? {} : { version }),
    ...(ttl === undefined ? {} : { expiresAt: endOf(ttl, call.setting.now()) }),
    ...(owner === undefined ? {} : { owner: parseOwner(owner) }),
  }
}

function endOf(ttl: string, now: number): number | null {
  const left = parseTtl(ttl)
  return left === null ? null : now + left
}

function isCreateOnly(call: Call): boolean {
  const known = field(call, "if-none-match")
  if (known === undefined) return false
  if (parseTags(known) !== "*") throw new CoatcheckError("invalid", "A write takes If-None-Match: * and no tags")
  return true
}

// What needs a record can't ask for its absence; passed over in silence, the condition would seem to have held.
function takesNoCreation(call: Call): void {
  if (field(call, "if-none-match") === undefined) return
  throw new CoatcheckError("invalid", `${call.method} takes If-Match and not If-None-Match`)
}

function isThere(found: unknown): boolean {
  return found !== null // an error says nothing against it
}

function sendWritten(call: Call, status: 201 | 204, outcome: Outcome): void {
  if (outcome.ok) sendEmpty(call, status, tagOf(outcome.version))
  else sendRefused(call, outcome.current)
}

function sendRefused(call: Call, current: Entry | null): void {
  if (current === null) sendProblem(call, noRecord)
  else sendEntry(call, 412, current)
}
const noRecord = plainProblem(412, "Precondition Failed", "There is no such record; an update never creates one")

function sendEntry(call: Call, status: number, entry: Entry): void {
  const more = tagOf(entry.version)
  const left = remaining(entry.expiresAt, call.setting.now())
  if (left !== null) more.push("Coatcheck-TTL", formatTtl(left))
  if (entry.owner !== null) more.push("Coatcheck-Owner", formatOwner(entry.owner))
  sendJson(call, status, entry.value, more)
}

function tagOf(version: string): string[] {
  return ["ETag", formatTag(version)]
}

function field(call: Call, name: string): string | undefined {
  const value = call.request.headers[name]
  return Array.isArray(value) ? value.join(", ") : value
}
