// What a check of `coatcheck doctor` finds, and how it is printed. A check never throws: what goes wrong is its finding.

import { performance } from "node:perf_hooks"
import { randomBytes } from "node:crypto"
import { explain } from "./fail.ts"

/** ok: as it should be. warn: it works, and there is something to know. fail: it does not work. */
export type Level = "ok" | "warn" | "fail"

/** How a check ended, and what to say about it. */
export type Verdict = readonly [level: Level, text: string]

/** What a check found. */
export interface Finding {
  readonly level: Level
  /** What was looked at, one word. */
  readonly check: string
  /** What was found and, unless all is well, what to do. */
  readonly text: string
}

/** A finding as one line of the report. */
export function findingLine({ level, check, text }: Finding): string {
  return `${level.padEnd(4)}  ${check.padEnd(6)}  ${text}`
}

/** Does one thing and turns its outcome, or its error, into a finding. */
export async function examine(check: string, look: () => Promise<Verdict>): Promise<Finding> {
  try {
    const [level, text] = await look()
    return { level, check, text }
  } catch (error) {
    return { level: "fail", check, text: explain(error) }
  }
}

const ROUNDS = 7

/** How long a call takes: the median and the worst of a few, one after another, in words. */
export async function roundTrips(call: () => Promise<unknown>): Promise<Verdict> {
  const times: number[] = []
  await call() // opens the connection, which is not what is measured
  for (let round = 0; round < ROUNDS; round += 1) {
    const from = performance.now()
    await call()
    times.push(performance.now() - from)
  }
  times.sort((a, b) => a - b)
  const median = times[(ROUNDS - 1) / 2] ?? 0
  const worst = times[ROUNDS - 1] ?? 0
  const text = `${median.toFixed(1)} ms a round trip (median of ${ROUNDS}; worst ${worst.toFixed(1)} ms)`
  return median < 50 ? ["ok", text] : ["warn", `${text}: every request with a session waits for one or two of them`]
}

/** A key that nobody else uses. */
export function probeKey(): string {
  return `coatcheck-doctor:${randomBytes(12).toString("base64url")}`
}

/** How long a probe may stay when the doctor is stopped before it could remove it. */
export const PROBE_MS = 60_000
