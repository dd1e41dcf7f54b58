// The way of calls to the server: a bound on how many are under way, a deadline for each, and what is done when one fails.
//
// What surely did not happen (no link, a server that loads, a primary that has just moved) waits for the timer's next turn and is sent
// again, until its deadline: a failover that is shorter is felt by nobody. So is a read whose answer was lost. A write that
// left and got no answer is never sent again. The first call that gets through takes the waiting ones along; until then only some
// are tried a turn, so that a server that is down costs little.
//
// A call whose deadline has come is settled here, whatever the driver still hopes for. It goes on counting until the driver lets go of
// it, so that a frozen server can't fill the memory.

import { closedError } from "../../core/contract.ts"
import type { CoatcheckError } from "../../errors.ts"
import type { CoarseTimer } from "../shared/timer.ts"
import { type RedisConnection, type RedisNode, RedisReplyError } from "./connection.ts"
import { judge, overdue, overloaded } from "./errors.ts"
import type { Replicas } from "./replicas.ts"
import type { Script } from "./scripts.ts"

/** Calls that are sent again in one turn while none gets through. */
const TRIED_A_TURN = 64

interface Call {
  /** `teach`: send the whole script, the server does not know it. */
  attempt(teach: boolean): Promise<unknown>
  /** A write that is never sent again when its answer was lost. */
  readonly once: boolean
  readonly turn: number
  teach: boolean
  settled: boolean
  /** Why it waits to be sent again; null: it is under way. */
  waitsFor: CoatcheckError | null
  /** It has waited before. */
  waited: boolean
  readonly resolve: (reply: unknown) => void
  readonly reject: (error: CoatcheckError) => void
}

/** The ways to the server, which may be one and the same. */
export interface Ways {
  readonly reads: RedisConnection
  readonly writes: RedisConnection
  /** Given: a record counts as written when replicas have it too. */
  readonly replicas: Replicas | null
}

/** What is sent, and the key by which it finds its server. */
type Command = readonly [key: string, args: readonly string[]]

/** See the head of the file. Replies are the driver's, errors are CoatcheckErrors. */
export interface Calls {
  /** The present, to hand to several calls that share one deadline. */
  moment(): number
  /** A command that changes nothing. */
  read(key: string, args: readonly string[], since?: number): Promise<unknown>
  /**
   * Commands that change nothing, each with its key, as one call. Gives the replies in their order, and where a key holds another kind of
   * data than its command reads, the error `corrupt` in the reply's place.
   */
  readAll(commands: readonly Command[], since?: number): Promise<readonly unknown[]>
  /** A command that changes nothing, to one server. */
  ask(node: RedisNode, args: readonly string[], since?: number): Promise<unknown>
  /** Every primary. */
  nodes(since?: number): Promise<readonly RedisNode[]>
  /** A script over `key`. */
  script(script: Script, key: string, args: readonly string[], since?: number): Promise<unknown>
  /** Resolves when no call is left, nor one that follows from its answer; from then on each rejects with `closed`. */
  end(): Promise<void>
}

/** @param most calls that may be under way; one more is refused. */
export function callsTo({ reads, writes, replicas }: Ways, timer: CoarseTimer, most: number): Calls {
  const open = new Set<Call>()
  const waiting = new Set<Call>()
  const onIdle: (() => void)[] = []
  let underWay = 0
  let closed = false

  function begin(attempt: Call["attempt"], once: boolean, turn: number): Promise<unknown> {
    if (closed) return Promise.reject(closedError("redis"))
    if (underWay + waiting.size >= most) return Promise.reject(overloaded())
    return new Promise((resolve, reject) => {
      const state = { teach: false, settled: false, waitsFor: null, waited: false }
      const call: Call = { attempt, once, turn, resolve, reject, ...state }
      open.add(call)
      timer.start()
      send(call)
    })
  }

  function send(call: Call): void {
    underWay += 1
    call.attempt(call.teach).then(
      (reply) => {
        underWay -= 1
        if (call.waited) release(waiting.size)
        if (settle(call)) call.resolve(reply)
      },
      (error: unknown) => {
        underWay -= 1
        if (!call.settled) failed(call, error)
      },
    )
  }

  function failed(call: Call, error: unknown): void {
    if (!call.teach && error instanceof RedisReplyError && error.message.startsWith("NOSCRIPT")) {
      call.teach = true
      send(call)
      return
    }
    const verdict = judge(error, call.once)
    if (verdict.again) {
      call.waitsFor = verdict.error
      call.waited = true
      waiting.add(call)
    } else if (settle(call)) call.reject(verdict.error)
  }

  /** Sends the oldest of those that wait. */
  function release(most: number): void {
    let left = most
    for (const call of waiting) {
      if (left-- === 0) return
      waiting.delete(call)
      call.waitsFor = null
      send(call)
    }
  }

  function settle(call: Call): boolean {
    if (call.settled) return false
    call.settled = true
    open.delete(call)
    if (open.size === 0) for (const wake of onIdle.splice(0)) wake()
    return true
  }

  timer.watch((last) => {
    for (const call of open) {
      if (call.turn > last) continue
      waiting.delete(call)
      settle(call)
      call.reject(call.waitsFor ?? overdue(call.once))
    }
    release(TRIED_A_TURN)
    return open.size > 0
  })

  function evaluate(script: Script, key: string, args: readonly string[]): Call["attempt"] {
    const way = script.use === "read" ? reads : writes
    const send = (teach: boolean, goingTo?: (node: RedisNode) => void): Promise<unknown> =>
      way.send(key, [teach ? "EVAL" : "EVALSHA", teach ? script.text : script.sha, "1", key, ...args], goingTo)
    if (replicas === null || script.use !== "once") return (teach) => send(teach)
    return async (teach) => {
      let followed: Promise<void> | undefined
      const reply = await send(teach, (node) => {
        followed = replicas.follow(node) // a redirected write is another server's
        followed.catch(() => {}) // when the write itself fails, nobody asks
      })
      if (Array.isArray(reply)) await followed
      return reply
    }
  }

  /** Ends with the last of them, so that the call counts as long as the driver has one. */
  async function together(commands: readonly Command[]): Promise<unknown[]> {
    const replies = await Promise.allSettled(commands.map(([key, args]) => reads.send(key, args)))
    return replies.map((reply) => {
      if (reply.status === "fulfilled") return reply.value
      const { error } = judge(reply.reason, false)
      if (error.code === "corrupt") return error
      throw reply.reason // judged with the call
    })
  }

  return {
    moment: () => timer.turn,
    read: (key, args, since = timer.turn) => begin(() => reads.send(key, args), false, since),
    readAll: (commands, since = timer.turn) => begin(() => together(commands), false, since) as Promise<unknown[]>, // what it resolves to
    nodes: (since = timer.turn) => begin(() => reads.primaries(), false, since) as Promise<readonly RedisNode[]>, // what it resolves to
    ask: (node, args, since = timer.turn) => begin(() => node.send(args), false, since),
    script: (script, key, args, since = timer.turn) => begin(evaluate(script, key, args), script.use === "once", since),
    async end() {
      do {
        if (open.size > 0) await new Promise<void>((wake) => onIdle.push(wake))
        await new Promise(setImmediate) // a verb that has one answer may have another question
      } while (open.size > 0)
      closed = true
    },
  }
}
