// The way of calls to a service: a bounded queue, a bounded number of requests under way, a deadline for each call, and a settlement
// for every call of a request that failed. What a request looks like, and how many calls share one, is its user's business.
//
// While as many requests are under way as may be, further calls gather. So where calls share requests, a busy store sends few and
// large ones and a lone call waits for nobody; no window of time has to be guessed.
//
// A failed request is settled call by call: a read may be asked again, a write may have happened. The one thing that is sent again
// from here are the reads of a request that met a dead connection, once. Writes never are.

import type { CoatcheckError } from "../../errors.ts"
import type { HttpClient, HttpExchange, HttpFailure, HttpRequest } from "./client.ts"
import type { HttpReply } from "./reply.ts"
import { overdue, overloaded, type Verdict, verdictOfFailure } from "./errors.ts"
import type { CoarseTimer } from "../shared/timer.ts"

/** One call that waits for its answer. */
export interface Call {
  /** Whether it changes anything. */
  readonly writes: boolean
  readonly reject: (error: CoatcheckError) => void
  /** The timer's turn in which it began; the lane sets it. */
  turn: number
  /** It has its answer, or was given up; whoever settles it sets this. */
  settled: boolean
  /** It was sent again already. */
  resent: boolean
}

/** A request made of calls. */
export interface Packed<C extends Call> {
  readonly request: HttpRequest
  /** How many calls it carries: the first ones of the queue, at least one. */
  readonly count: number
  /** Settles each of its calls that is not settled yet. */
  land(calls: readonly C[], reply: HttpReply): void
}

/** How much a lane takes on. */
export interface LaneLimits {
  /** Requests under way at once. */
  readonly inFlight: number
  /** Calls that wait; one more is refused. */
  readonly maxQueued: number
}

/** See the head of the file. */
export interface Lane<C extends Call> {
  /** Takes a call; its answer comes by `land`, or by `reject`. */
  push(call: C): void
  /** Resolves when no call is left. */
  idle(): Promise<void>
}

interface Flight<C> {
  readonly calls: readonly C[]
  exchange: HttpExchange | null
}

/**
 * A lane to the service behind `client`.
 *
 * @param where - names the service in messages
 * @param pack - makes a request of the first calls of the queue, which has at least one
 */
export function lane<C extends Call>(
  client: HttpClient,
  where: string,
  timer: CoarseTimer,
  { inFlight, maxQueued }: LaneLimits,
  pack: (queue: readonly C[]) => Packed<C>,
): Lane<C> {
  let queue: C[] = []
  const flights = new Set<Flight<C>>()
  const waiting: (() => void)[] = []
  let scheduled = false

  function push(call: C): void {
    if (queue.length >= maxQueued) {
      call.reject(overloaded(where))
      return
    }
    call.turn = timer.turn
    queue.push(call)
    timer.start()
    schedule()
  }

  // By setImmediate, so that all calls of the tick are in the queue, those too that the last reply's answers have led to.
  function schedule(): void {
    if (scheduled || queue.length === 0 || flights.size >= inFlight) return
    scheduled = true
    setImmediate(launch)
  }

  function launch(): void {
    scheduled = false
    while (queue.length > 0 && flights.size < inFlight) {
      const { request, count, land } = pack(queue)
      const calls = count === queue.length ? queue : queue.slice(0, count)
      queue = count === queue.length ? [] : queue.slice(count)
      const flight: Flight<C> = { calls, exchange: null }
      flights.add(flight)
      flight.exchange = client.send(request, (reply, failure) => {
        flights.delete(flight)
        if (reply !== null) land(calls, reply)
        else settle(calls, failure)
        onward()
      })
    }
  }

  function settle(calls: readonly C[], failure: HttpFailure): void {
    const verdict = verdictOfFailure(where, failure)
    const again: C[] = []
    for (const call of calls) {
      if (call.settled) continue
      if (failure.stale && !call.writes && !call.resent) {
        call.resent = true
        again.push(call)
        continue
      }
      call.settled = true
      call.reject(call.writes ? verdict.write : verdict.read)
    }
    if (failure.stale) client.dropIdle()
    if (again.length > 0) queue = [...again, ...queue]
  }

  function onward(): void {
    schedule()
    if (queue.length === 0 && flights.size === 0) for (const resolve of waiting.splice(0)) resolve()
  }

  /** Ends the calls of a request that began in turn `last` or before, and gives back those that are still open. */
  function endLate({ calls }: Flight<C>, last: number, verdict: Verdict): C[] {
    const open: C[] = []
    for (const call of calls) {
      if (call.settled) continue
      if (call.turn > last) {
        open.push(call)
        continue
      }
      call.settled = true
      call.reject(call.writes ? verdict.write : verdict.read)
    }
    return open
  }

  timer.watch((last) => {
    const late = queue.filter((call) => call.turn <= last)
    if (late.length > 0) queue = queue.filter((call) => call.turn > last)
    for (const call of late) {
      call.settled = true
      call.reject(overdue(where, false).read)
    }
    const back: C[] = []
    for (const flight of flights) {
      const sent = flight.exchange?.sent ?? false
      const open = endLate(flight, last, overdue(where, sent))
      // While it is not sent, who is over was told that nothing happened: the others go again, without those.
      if (open.length > 0 && (sent || open.length === flight.calls.length)) continue
      flight.exchange?.cancel()
      flights.delete(flight)
      back.push(...open)
    }
    if (back.length > 0) queue = [...back, ...queue]
    onward()
    return queue.length > 0 || flights.size > 0
  })

  return {
    push,
    idle: () =>
      queue.length === 0 && flights.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve)),
  }
}
