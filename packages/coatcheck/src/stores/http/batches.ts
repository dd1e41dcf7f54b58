// The four single-key verbs as operations of batches, and the results of a batch as outcomes. A reply is believed only where it
// fits what was asked: the right number of results, the right key, the version that was chosen.

import type { Clock } from "../../core/clock.ts"
import { isOver } from "../../core/contract.ts"
import type { DeleteOutcome, Entry, Outcome } from "../../core/store.ts"
import type { CoatcheckError } from "../../errors.ts"
import {
  batchLimits,
  formatBatch,
  formatOperation,
  type Operation,
  parseResults,
  type Result,
} from "../../protocol/batch.ts"
import { maxEntryBytes } from "../../protocol/entry.ts"
import { paths } from "../../protocol/paths.ts"
import type { HttpClient } from "./client.ts"
import type { HttpReply } from "./reply.ts"
import { type Verdict, verdictOfProblem, verdictOfReply, verdictOfRubbish } from "./errors.ts"
import { type Call, lane, type LaneLimits, type Packed } from "./lane.ts"
import type { CoarseTimer } from "../shared/timer.ts"

/** Sends operations. */
export interface Batches {
  /**
   * The outcome of one operation.
   *
   * @param read - makes it of a result; undefined when the result does not fit
   */
  call<T>(operation: Operation, read: (result: Result, now: number) => T | undefined): Promise<T>
  /** Resolves when no operation is left. */
  idle(): Promise<void>
}

interface BatchCall extends Call {
  readonly operation: Operation
  readonly read: (result: Result, now: number) => unknown
  readonly resolve: (outcome: unknown) => void
}

/** So many characters at most, of up to 3 bytes each; a single operation always goes. */
const MAX_CHARACTERS = Math.floor(batchLimits.bytes / 4)
/** And so much of a reply, by what results took lately: a reply is in memory as a whole, at both ends, and its calls wait for all of it. */
const MAX_RESULTS = batchLimits.bytes

/**
 * A lane of batches; see `lane` for the other parameters.
 *
 * @param maxValueBytes - the longest value that a reply may hold
 */
export function batches(
  client: HttpClient,
  where: string,
  timer: CoarseTimer,
  limits: LaneLimits,
  clock: Clock,
  maxValueBytes: number,
): Batches {
  const calls = lane<BatchCall>(client, where, timer, limits, pack)
  /** Characters of a result, as the last replies had them. */
  let usual = 0

  function pack(queue: readonly BatchCall[]): Packed<BatchCall> {
    const sentAt = clock.now()
    const texts: string[] = []
    let characters = 0
    for (const { operation } of queue) {
      const text = formatOperation(operation, sentAt)
      characters += text.length
      if (texts.length > 0 && characters > MAX_CHARACTERS) break
      texts.push(text)
      if (texts.length === batchLimits.ops || texts.length * usual >= MAX_RESULTS) break
    }
    const count = texts.length
    const maxReply = count * maxEntryBytes(maxValueBytes)
    const request = { method: "POST", path: paths.batch, body: formatBatch(texts), maxReply } as const
    return { request, count, land: (packed, reply) => land(packed, reply, sentAt) }
  }

  function land(packed: readonly BatchCall[], reply: HttpReply, sentAt: number): void {
    usual = (usual + reply.body.length / packed.length) / 2
    const results = read(packed.length, reply, sentAt)
    const now = clock.now()
    packed.forEach((call, index) => {
      if (call.settled) return
      call.settled = true
      if (!Array.isArray(results)) {
        call.reject(results[call.writes ? "write" : "read"])
        return
      }
      const result = results[index] as Result // there are as many as calls
      const outcome = result.error === undefined ? call.read(result, now) : undefined
      if (outcome === undefined) call.reject(failed(result)[call.writes ? "write" : "read"])
      else call.resolve(outcome)
    })
  }

  /** The results, or the error of all. */
  function read(count: number, reply: HttpReply, sentAt: number): Result[] | Verdict {
    if (reply.status !== 200) return verdictOfReply(where, reply)
    try {
      return parseResults(reply.body, count, sentAt)
    } catch (cause) {
      return verdictOfRubbish(where, cause)
    }
  }

  function failed(result: Result): Verdict {
    if (result.error !== undefined) return verdictOfProblem(where, result.error)
    return verdictOfRubbish(where, new Error("A result does not fit its operation"))
  }

  return {
    call: <T>(operation: Operation, read: (result: Result, now: number) => T | undefined) =>
      new Promise<T>((resolve, reject: (error: CoatcheckError) => void) => {
        calls.push({
          operation,
          read,
          writes: operation.op !== "get",
          resolve: resolve as (outcome: unknown) => void, // it gets what `read` gives, which is a T
          reject,
          turn: 0,
          settled: false,
          resent: false,
        })
      }),
    idle: calls.idle,
  }
}

/** Reads the result of `get`. */
export function readGet(key: string): (result: Result, now: number) => Entry | null | undefined {
  return ({ entry }, now) => {
    if (entry === undefined || (entry !== null && entry.key !== key)) return undefined
    return live(entry, now)
  }
}

/** Reads the result of `set` and `touch`; `version` is the one that was asked for. */
export function readOutcome(
  key: string,
  version: string | undefined,
): (result: Result, now: number) => Outcome | undefined {
  return (result, now) => {
    const { ok, entry } = result
    if (ok === true) {
      const fits = result.version !== undefined && (version === undefined || version === result.version)
      return fits ? { ok, version: result.version } : undefined
    }
    if (ok === undefined || entry === undefined || (entry !== null && entry.key !== key)) return undefined
    return { ok, current: live(entry, now) }
  }
}

/** Reads the result of `delete`. What has ended on the way was absent. */
export function readDelete(key: string): (result: Result, now: number) => DeleteOutcome | undefined {
  return ({ ok, entry }, now) => {
    if (ok === undefined || entry === undefined || (entry !== null && entry.key !== key)) return undefined
    const current = live(entry, now)
    if (ok) return { ok, removed: current }
    if (entry === null) return undefined
    return current === null ? { ok: true, removed: null } : { ok, current }
  }
}

function live(entry: Entry | null, now: number): Entry | null {
  return entry === null || isOver(entry.expiresAt, now) ? null : entry
}
