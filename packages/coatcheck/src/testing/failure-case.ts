// What the cases of the failure suite are made of: a store behind the proxy, one past it that sees what really happened, and
// a watch on what no call may do (end late, reject with something else than our error, leave a rejection that nobody handles).
//
// Time is the machine's here, for the network is real. So that a busy machine fails nothing, a heartbeat adds up how long this process
// could not run, and that much is taken off.

import assert from "node:assert/strict"
import { randomText } from "../core/crypto.ts"
import type { Store, StoreReport } from "../core/store.ts"
import { CoatcheckError, type ErrorCode } from "../errors.ts"
import type { FailureHarness } from "./failure-harness.ts"
import { type FaultProxy, faultProxy } from "./fault-proxy.ts"
import type { StoreCase } from "./store-case.ts"

/** How one call ended. */
export interface Ending<T> {
  readonly code: "ok" | ErrorCode
  /** What it answered; undefined when it rejected. */
  readonly answer: T | undefined
  /** How long it took. */
  readonly ms: number
}

/** What a case works with. */
export interface FailureBench {
  readonly harness: FailureHarness
  readonly proxy: FaultProxy
  /** Behind the proxy, and used once. */
  readonly store: Store
  /** Past the proxy. */
  readonly look: Store
  readonly deadline: number
  /** The longest that a call may take, in ms. */
  readonly patience: number
  /** Begins every key of this case. */
  readonly prefix: string
  /** A text that no other call of any case gets; as a key it is removed after the case. */
  unique(what: string): string
  /** Makes a call, and asserts that it ended in time, well, or with an error of ours that gives nothing away. */
  timed<T>(call: () => Promise<T>): Promise<Ending<T>>
  /** Makes a call again until it goes well, for what may be repeated; as long as `recovered` waits. */
  surely<T>(call: () => Promise<T>): Promise<T>
  /** Waits until a dozen calls at once go well, and asserts that it took less than five seconds. */
  recovered(): Promise<void>
}

/** A case of the failure suite, before it has a harness. */
export interface FailureCheck {
  readonly name: string
  check(bench: FailureBench): Promise<void>
}

const DEADLINE_MS = 400
const SLACK_MS = 500
const RECOVERY_MS = 5_000
const BEAT_MS = 10

/** The cases that run. Nobody can tell whose a stray rejection is, so it is held against all of them. */
const watches = new Set<unknown[]>()

function stray(reason: unknown): void {
  for (const strays of watches) strays.push(reason)
}

/** Binds a check to a harness. */
export function failureCase(harness: FailureHarness, { name, check }: FailureCheck): StoreCase {
  return { name, run: () => run(harness, check) }
}

async function run(harness: FailureHarness, check: FailureCheck["check"]): Promise<void> {
  const strays: unknown[] = []
  if (watches.size === 0) process.on("unhandledRejection", stray)
  watches.add(strays)
  const heart = heartbeat()
  const proxy = await faultProxy({ target: harness.target })
  const look = await harness.look()
  const { deadline = DEADLINE_MS, slack = SLACK_MS } = harness
  const reports: StoreReport[] = []
  const store = await harness.open({ port: proxy.port, deadline, report: (report) => void reports.push(report) })
  const prefix = `failure.${randomText(6)}.`
  const made: string[] = []

  async function timed<T>(call: () => Promise<T>): Promise<Ending<T>> {
    const began = performance.now()
    const ended = call().then(
      (answer) => ({ code: "ok" as const, answer }),
      (error: unknown) => ({ code: codeOf(error, prefix), answer: undefined }),
    )
    const ending = await heart.within(deadline + slack, ended)
    return { ...ending, ms: performance.now() - began }
  }

  async function again<T>(work: () => Promise<readonly Ending<T>[]>): Promise<readonly Ending<T>[]> {
    const began = heart.now()
    for (;;) {
      const endings = await work()
      const failed = endings.find(({ code }) => code !== "ok")
      if (failed === undefined) return endings
      assert.ok(heart.now() - began < RECOVERY_MS, `no recovery within ${RECOVERY_MS} ms: ${failed.code}`)
      await pause(BEAT_MS * 2)
    }
  }

  const surely = async <T>(call: () => Promise<T>): Promise<T> => {
    const [ending] = await again(async () => [await timed(call)])
    return ending?.answer as T // it went well
  }

  async function recovered(): Promise<void> {
    const key = `${prefix}back`
    const calls = Array.from(
      { length: 12 },
      (_, at) => (): Promise<unknown> => (at % 4 === 0 ? store.set(key, "1") : store.get(key)),
    )
    await again(() => Promise.all(calls.map((call) => timed(call))))
  }

  try {
    const unique = (what: string): string => {
      const text = `${prefix}${made.length}.${what}`
      made.push(text)
      return text
    }
    const patience = deadline + slack
    const bench = { harness, proxy, store, look, deadline, patience, prefix, unique, timed, surely, recovered }
    await recovered()
    await check(bench)
    for (const { message } of reports) assert.ok(!message.includes(prefix), "a report gives a key away")
  } finally {
    await proxy.passThrough()
    // A store that failed its case may not close either, and whether it does was looked at already.
    await Promise.race([store.close().catch(() => {}), pause(deadline + slack)])
    await Promise.allSettled([...made, `${prefix}back`].map((key) => look.delete(key)))
    await look.close()
    await proxy.close()
    heart.stop()
    watches.delete(strays)
    if (watches.size === 0) process.off("unhandledRejection", stray)
  }
  assert.deepEqual(strays, [], "a promise was rejected, and nobody was there to see it")
}

function codeOf(error: unknown, prefix: string): ErrorCode {
  assert.ok(error instanceof CoatcheckError, `expected a CoatcheckError, got ${String(error)}`)
  assert.ok(!error.message.includes(prefix), "an error gives a key, a version or a value away")
  return error.code
}

/** Resolves after so many ms of the machine's time. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Resolves when the condition holds; rejects with `what` when it does not within so many ms. */
export async function eventually(condition: () => boolean, what: string, ms: number): Promise<void> {
  for (const began = performance.now(); !condition(); await pause(BEAT_MS)) {
    assert.ok(performance.now() - began < ms, what)
  }
}

interface Heart {
  /** A clock that stands still while the process can't run. */
  now(): number
  /** The promise; rejects when it is not settled within so many ms of that clock. */
  within<T>(ms: number, promise: Promise<T>): Promise<T>
  stop(): void
}

function heartbeat(): Heart {
  const open = new Set<{ readonly until: number; tooLate(): void }>()
  let stalled = 0
  let last = performance.now()

  function now(): number {
    const time = performance.now()
    const missed = time - last - BEAT_MS
    if (missed > BEAT_MS / 2) stalled += missed
    last = time
    return time - stalled
  }

  const timer = setInterval(() => {
    const time = now()
    for (const { until, tooLate } of open) if (until < time) tooLate()
  }, BEAT_MS)

  function within<T>(ms: number, promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const message = `a call did not end within ${ms} ms: its deadline, and the slack`
      const one = { until: now() + ms, tooLate: () => reject(new assert.AssertionError({ message })) }
      open.add(one)
      promise.then(resolve, reject).finally(() => open.delete(one))
    })
  }

  return { now, within, stop: () => clearInterval(timer) }
}
