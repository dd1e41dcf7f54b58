// One direction of one connection through the fault proxy: what comes in waits in a queue, and a rule says when it goes on, how fast,
// how far, and as what. The order of bytes is kept, nothing is doubled, and what has come in is delivered although its sender has
// closed meanwhile, as a network and the buffers of a stopped process do. A queue that is full stops its sender.

import type { Socket } from "node:net"
import type { Clock } from "../core/clock.ts"

/** What happens to the bytes of one direction. */
export interface FlowRule {
  /** Nothing goes on; what comes in is kept. */
  readonly still: boolean
  /** Asked for each piece that comes in: ms until it goes on. */
  readonly delay: (() => number) | null
  /** Bytes a second; null: as fast as they come. */
  readonly bandwidth: number | null
  /** The connection is cut when so many bytes went on; null: never. */
  readonly limit: number | null
  /** Goes on in place of each piece; null: the piece itself. */
  readonly instead: Buffer | null
}

/** Told what a flow does. */
export interface FlowWatcher {
  came(bytes: number): void
  /** A fault struck this many bytes. */
  struck(kind: "held" | "delayed" | "lost" | "rubbish" | "cut", bytes: number): void
  /** The limit was reached; what was before it is on its way. */
  cut(): void
}

/** One direction of one connection. */
export interface Flow {
  /** Goes by another rule from now on; what waits goes by it too, and the limit counts from here. */
  obey(rule: FlowRule): void
  /** A black hole from now on: nothing goes on, what waits and what comes is lost. */
  lose(): void
}

/** Bytes in a queue before its sender has to wait. */
const FULL = 1_048_576
/** Pieces a second that a bandwidth is made of. */
const PIECES = 50

interface Piece {
  readonly bytes: Buffer
  /** When it may go on, by the clock. */
  due: number
}

/** Passes bytes from one socket to another by a rule. */
export function flow(from: Socket, to: Socket, clock: Clock, first: FlowRule, watcher: FlowWatcher): Flow {
  let rule = first
  let queue: Piece[] = []
  let waiting = 0
  let passed = 0
  let ended = false
  let lost = false
  /** Counts the sleeps, so that one that began under an older rule wakes nobody. */
  let sleep = 0
  let asleep = false
  let free = 0

  from.on("data", (bytes: Buffer) => {
    watcher.came(bytes.length)
    if (lost) {
      watcher.struck("lost", bytes.length)
      return
    }
    if (rule.still) watcher.struck("held", bytes.length)
    queue.push({ bytes, due: dueOf(bytes) })
    waiting += bytes.length
    if (waiting > FULL) from.pause()
    pump()
  })
  from.on("end", end)
  from.on("close", end)

  function end(): void {
    ended = true
    pump()
  }

  function dueOf(bytes: Buffer): number {
    if (rule.delay === null) return 0
    watcher.struck("delayed", bytes.length)
    // Never before the piece in front of it.
    return Math.max(queue.at(-1)?.due ?? 0, clock.now() + rule.delay())
  }

  function pump(): void {
    while (queue.length > 0) {
      if (rule.still || asleep) return
      const wait = Math.max(queue[0]?.due ?? 0, free) - clock.now()
      if (wait > 0) {
        void wakeIn(wait)
        return
      }
      const bytes = next()
      if (bytes !== null) forward(bytes)
    }
    if (ended && !lost) to.end()
  }

  async function wakeIn(ms: number): Promise<void> {
    asleep = true
    const mine = ++sleep
    await clock.sleep(ms)
    if (mine !== sleep) return
    asleep = false
    pump()
  }

  function next(): Buffer | null {
    const piece = queue.shift()
    if (piece === undefined) return null
    let { bytes } = piece
    if (rule.bandwidth !== null) {
      const size = Math.max(1, Math.floor(rule.bandwidth / PIECES))
      if (bytes.length > size) {
        queue.unshift({ bytes: bytes.subarray(size), due: piece.due })
        bytes = bytes.subarray(0, size)
      }
      free = clock.now() + Math.ceil((bytes.length * 1_000) / rule.bandwidth)
      watcher.struck("delayed", bytes.length)
    }
    waiting -= bytes.length
    if (waiting <= FULL && from.isPaused()) from.resume()
    return bytes
  }

  function forward(came: Buffer): void {
    const bytes = rule.instead ?? came
    if (rule.instead !== null) watcher.struck("rubbish", bytes.length)
    const left = rule.limit === null ? Infinity : rule.limit - passed
    passed += bytes.length
    if (bytes.length < left) {
      to.write(bytes)
      return
    }
    watcher.struck("cut", bytes.length - left)
    // The bytes before the cut arrive; a reset would overtake them.
    to.end(bytes.subarray(0, left))
    lose()
    watcher.cut()
  }

  function lose(): void {
    lost = true
    for (const { bytes } of queue) watcher.struck("lost", bytes.length)
    queue = []
    waiting = 0
    from.resume()
  }

  return {
    lose,
    obey(next) {
      rule = next
      passed = 0
      free = 0
      asleep = false
      sleep++
      for (const piece of queue) piece.due = rule.delay === null ? 0 : clock.now() + rule.delay()
      pump()
    },
  }
}
