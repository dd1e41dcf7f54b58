// The way of calls to the server: a bounded queue, a bounded number of connections, a deadline for each call. A connection is taken
// from the pool when a call needs one and kept while there is work, so that a busy store does not pay the pool for each call; it
// goes back a turn of the event loop after the last.
//
// The reads of a tick share a statement. A write is a statement of its own, on whichever connection is free: many writes in one would
// wait together for one row's lock, and fail together.
//
// A write is sent once. What happened before it was sent did not happen to it; what happened after that is in ./errors.ts. A call whose
// time is over is rejected, and the connection that it waits on is closed once nobody waits there any more. A network that went dead
// took the idle connections along, so those that have answered nothing since are closed too when they come out of the pool, and
// not one call after the other waits for its deadline on each of them.

import type { CoatcheckError } from "../../errors.ts"
import type { CoarseTimer } from "../shared/timer.ts"
import type { PostgresClient, PostgresPool, PostgresQuery } from "./driver.ts"
import { connectFailure, endsConnection, overdue, overloaded, statementFailure } from "./errors.ts"
import type { Row } from "./statements.ts"

/** How much a lane takes on. */
export interface LaneLimits {
  /** Connections at once. */
  readonly connections: number
  /** Calls that wait; one more is refused. */
  readonly maxQueued: number
}

/** See the head of the file. */
export interface Lane {
  /** The row of a key; null: there is none. */
  read(key: string): Promise<Row | null>
  /** A statement of its own. `writes`: whether it changes anything. */
  ask(query: PostgresQuery, writes: boolean): Promise<readonly Row[]>
  /** Resolves when no call is left. */
  idle(): Promise<void>
}

interface Call {
  /** Of a read that may share its statement. */
  readonly key: string | null
  /** Of every other call. */
  readonly query: PostgresQuery | null
  readonly writes: boolean
  readonly resolve: (rows: readonly Row[]) => void
  readonly reject: (error: CoatcheckError) => void
  /** The timer's turn in which it began. */
  readonly turn: number
  settled: boolean
}

/** A connection that is taken from the pool. */
interface Lease {
  readonly client: PostgresClient
  readonly onError: () => void
  /** What waits for the answer under way; empty: it is free. */
  calls: readonly Call[]
  /** The timer's turn in which they were sent. */
  sentAt: number
  broken: boolean
}

/** Keys of one statement: enough that more would save nothing. */
const TOGETHER = 128

/**
 * A lane to the server behind `pool`.
 *
 * @param readMany - the statement that reads some keys; the first column of its rows is the key
 */
export function lane(
  pool: PostgresPool,
  timer: CoarseTimer,
  { connections, maxQueued }: LaneLimits,
  readMany: (keys: readonly string[]) => PostgresQuery,
): Lane {
  let reads: Call[] = []
  let others: Call[] = []
  let readsWaited = false
  let connecting = 0
  const leases = new Set<Lease>()
  const answeredAt = new WeakMap<PostgresClient, number>() // the turn of a connection's last answer
  let silentSince = -1 // the last turn in which something was sent that was never answered
  const waiting: (() => void)[] = []
  let scheduled = false

  function push(call: Omit<Call, "resolve" | "reject" | "turn" | "settled">): Promise<readonly Row[]> {
    if (reads.length + others.length >= maxQueued) return Promise.reject(overloaded())
    return new Promise((resolve, reject) => {
      const whole = { ...call, resolve, reject, turn: timer.turn, settled: false }
      if (call.key === null) others.push(whole)
      else reads.push(whole)
      timer.start()
      schedule()
    })
  }

  // By setImmediate, so that all calls of the tick are in the queue, those too that the last answers have led to.
  function schedule(): void {
    if (scheduled) return
    scheduled = true
    setImmediate(launch)
  }

  function launch(): void {
    scheduled = false
    for (const lease of leases) if (lease.calls.length === 0) work(lease)
    const wanted = Math.ceil(reads.length / TOGETHER) + others.length
    const free = connections - leases.size - connecting
    // One that is ready in the pool is not to wait for those that are still being made.
    const more = Math.max(wanted - connecting, Math.min(wanted, pool.idleCount ?? 0))
    for (let left = Math.min(more, free); left > 0; left--) void take()
    tellIdle()
  }

  /** Takes one more connection from the pool. */
  async function take(): Promise<void> {
    connecting++
    let client: PostgresClient
    try {
      client = await connect()
    } catch (error) {
      connecting--
      // The others may still be answered; with the last one gone, nobody would be.
      if (leases.size === 0 && connecting === 0) for (const call of drain()) settle(call, connectFailure(error))
      tellIdle()
      return
    }
    connecting--
    const lease: Lease = { client, onError: () => (lease.broken = true), calls: [], sentAt: 0, broken: false }
    client.on("error", lease.onError) // without a listener it would end the process
    leases.add(lease)
    work(lease)
  }

  /** A connection that is new, or has answered since another one fell silent. */
  async function connect(): Promise<PostgresClient> {
    for (;;) {
      const client = await pool.connect()
      const last = answeredAt.get(client)
      if (last === undefined) answeredAt.set(client, timer.turn)
      if (last === undefined || last > silentSince) return client
      client.release(true)
    }
  }

  /** Gives a connection the next call, or back to its pool. */
  function work(lease: Lease): void {
    if (lease.broken) return giveBack(lease, true)
    const calls = next()
    if (calls.length === 0) return giveBack(lease, false)
    lease.calls = calls
    lease.sentAt = timer.turn
    const query = calls[0]?.query ?? readMany(calls.map(({ key }) => key as string)) // calls without a query have a key
    lease.client.query(query).then(
      ({ rows }) => {
        if (!leases.has(lease)) return
        land(calls, rows as Row[]) // columns come as text: ./driver.ts asks for that
        answered(lease)
      },
      (error: unknown) => {
        if (!leases.has(lease)) return
        for (const call of calls) settle(call, statementFailure(error, call.writes))
        if (endsConnection(error)) giveBack(lease, true)
        answered(lease)
      },
    )
  }

  function answered(lease: Lease): void {
    lease.calls = []
    answeredAt.set(lease.client, timer.turn)
    schedule()
  }

  function next(): Call[] {
    const takeReads = reads.length > 0 && (others.length === 0 || readsWaited)
    readsWaited = !takeReads && reads.length > 0
    if (takeReads) return reads.splice(0, TOGETHER)
    return others.splice(0, 1)
  }

  function land(calls: readonly Call[], rows: readonly Row[]): void {
    const [first] = calls
    if (first?.query) {
      if (!first.settled) first.resolve(rows)
      first.settled = true
      return
    }
    const byKey = new Map(rows.map((row) => [row[0], row]))
    for (const call of calls) {
      const row = byKey.get(call.key)
      if (!call.settled) call.resolve(row === undefined ? [] : [row])
      call.settled = true
    }
  }

  function settle(call: Call, error: CoatcheckError): void {
    if (!call.settled) call.reject(error)
    call.settled = true
  }

  function giveBack(lease: Lease, broken: boolean): void {
    leases.delete(lease)
    lease.client.removeListener("error", lease.onError)
    lease.client.release(broken)
  }

  function drain(): Call[] {
    const all = [...reads, ...others]
    reads = []
    others = []
    return all
  }

  function busy(): boolean {
    return reads.length + others.length > 0 || [...leases].some(({ calls }) => calls.length > 0)
  }

  function tellIdle(): void {
    if (waiting.length > 0 && !busy()) for (const resolve of waiting.splice(0)) resolve()
  }

  timer.watch((last) => {
    const late = drain()
    for (const call of late) {
      if (call.turn <= last) settle(call, overdue(false))
      else if (call.key === null) others.push(call)
      else reads.push(call)
    }
    for (const lease of leases) {
      for (const call of lease.calls) if (call.turn <= last) settle(call, overdue(call.writes))
      if (lease.calls.length === 0 || !lease.calls.every(({ settled }) => settled)) continue
      silentSince = Math.max(silentSince, lease.sentAt)
      giveBack(lease, true)
    }
    schedule()
    return busy()
  })

  return {
    async read(key) {
      const [row] = await push({ key, query: null, writes: false })
      return row ?? null
    },
    ask: (query, writes) => push({ key: null, query, writes }),
    idle: () => (busy() ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve()),
  }
}
