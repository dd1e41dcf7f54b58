// A link that is made anew whenever it breaks, for as long as the store is open. Where it leads is asked each time: for one node it is
// always the same place, Sentinel may name another.
//
// Nothing waits in here: a call that finds no link is refused at once, as not sent. A link that owes answers and gives none for
// twice the deadline is cut, so that a frozen server holds no call, no memory and no socket of ours for long. The waits between attempts
// grow to a second and are never the same, so that a hundred processes do not come back in step.

import type { Clock } from "../../core/clock.ts"
import { coarseTimer } from "../shared/timer.ts"
import type { Endpoint } from "./address.ts"
import { bell } from "./bell.ts"
import { RedisLinkError, RedisReplyError } from "./connection.ts"
import type { Link, LinkEvents, LinkOptions, OpenLink } from "./link.ts"

/** What a channel is made of. */
export interface ChannelParts {
  readonly open: OpenLink
  readonly options: LinkOptions
  readonly clock: Clock
  /** Of a call, in ms. */
  readonly deadline: number
  /** Where the server is now. */
  locate(): Promise<Endpoint>
  /** What a new link is asked before it counts as standing; a rejection throws it away. Default: nothing. */
  prepare?(link: Link): Promise<void>
  /** A link stands. */
  up?(): void
  /** The link that stood is gone. */
  down?(): void
  readonly message?: LinkEvents["message"]
  readonly readonly?: LinkEvents["readonly"]
}

/** See the head of the file. */
export interface Channel {
  readonly isUp: boolean
  /** As `Link.send`; commands of one turn of the event loop arrive in the order of the calls, with nothing between them. */
  send(args: readonly string[]): Promise<unknown>
  /** Resolves when a link stands; rejects with what stood in the way when none does within so many ms. */
  ready(ms: number): Promise<void>
  /** Waits for a link, sends a question and waits for the answer, no longer than so many ms. */
  ask(ms: number, question: readonly string[]): Promise<unknown>
  /** Gives up the link, because it leads to the wrong place, and looks where to go. */
  renew(reason: string): void
  /** Ends the link and makes no other. What is under way rejects. */
  close(): void
}

const FIRST_WAIT_MS = 25
const LONGEST_WAIT_MS = 1_000

/** Starts to make a link, and goes on for as long as it takes. */
export function channel(parts: ChannelParts): Channel {
  const { open, options, clock, deadline } = parts
  const timer = coarseTimer(clock, 2 * deadline)
  const stands = bell()
  let link: Link | null = null
  /** Why there is no link. */
  let failure: Error = new Error("The connection is still being made")
  let attempts = 0
  let closed = false
  let pause: NodeJS.Timeout | undefined

  async function connect(): Promise<void> {
    let made: Link | null = null
    let lost = false
    try {
      made = await open(await parts.locate(), options, {
        lost(cause) {
          lost = true
          if (link === null || link !== made) return
          link = null
          failure = cause
          parts.down?.()
          retry()
        },
        ...(parts.message && { message: parts.message }),
        ...(parts.readonly && { readonly: parts.readonly }),
      })
      await parts.prepare?.(made)
      if (lost || closed) throw new Error("The connection broke as soon as it was made")
    } catch (error) {
      made?.cut(new Error("The connection is of no use"))
      failure = error instanceof Error ? error : new Error("The connection was not made", { cause: error })
      if (refusal() instanceof RedisReplyError) stands.ring() // waiting longer will not help
      retry()
      return
    }
    link = made
    attempts = 0
    parts.up?.()
    stands.ring()
  }

  function retry(): void {
    if (closed) return
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempts++, 16))
    pause = setTimeout(() => void connect(), longest * (0.5 + Math.random() / 2))
  }

  // Whoever answers is alive: what counts is that nothing at all has come.
  let seen = 0
  let quietSince = 0
  let watched: Link | null = null
  timer.watch((last) => {
    if (link === null || link.owed === 0) {
      watched = null
      return false
    }
    if (watched !== link || link.answered !== seen) {
      watched = link
      seen = link.answered
      quietSince = timer.turn
    } else if (quietSince <= last) {
      link.cut(new Error("The server has stopped answering"))
      return false
    }
    return true
  })

  void connect()

  /** What a call is told that finds no link. That the server refuses us is its answer; everything else is in the way. */
  function refusal(): RedisReplyError | RedisLinkError {
    if (closed) return new RedisLinkError(false, "The connection is closed")
    if (failure instanceof RedisReplyError && /^(WRONGPASS|NOAUTH|NOPERM) /.test(failure.message)) return failure
    return new RedisLinkError(false, "There is no connection to the server", { cause: failure })
  }

  function send(args: readonly string[]): Promise<unknown> {
    if (link === null) return Promise.reject(refusal())
    timer.start()
    return link.send(args)
  }

  async function ready(ms: number): Promise<void> {
    if (link === null && !closed) await stands.wait(ms)
    if (!isStanding()) throw refusal()
  }

  return {
    get isUp() {
      return link !== null
    },
    send,
    ready,
    async ask(ms, question) {
      const end = performance.now() + ms
      await ready(ms)
      return within(end - performance.now(), send(question))
    },
    renew: (reason) => link?.cut(new Error(reason)),
    close() {
      if (closed) return
      closed = true
      clearTimeout(pause)
      stands.ring()
      const last = link
      link = null
      last?.cut(new Error("The store is closed"))
    },
  }

  function isStanding(): boolean {
    return link !== null
  }
}

function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("The server did not answer in time")), ms)
    promise.finally(() => clearTimeout(late)).then(resolve, reject)
  })
}
