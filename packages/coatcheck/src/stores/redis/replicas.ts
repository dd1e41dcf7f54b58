// The option `wait`: a write is acknowledged when so many replicas have it too. WAIT speaks of what its own connection has written, so it
// follows the writes on theirs; and it blocks that connection until the replicas have answered or its time is over. So there is one
// WAIT under way per primary, for all writes that were sent before it, and reads take another connection.
//
// Rejected: a WAIT a write (each blocks in turn, for its whole time when a replica is down).

import type { RedisNode } from "./connection.ts"
import { unknown } from "./errors.ts"

/** See the head of the file. */
export interface Replicas {
  /**
   * Resolves when enough replicas have what was sent to this primary until the end of this turn of the event loop.
   *
   * Rejects with `unknown-outcome` when too few have it in time: the primary has it, and may be lost with it.
   */
  follow(node: RedisNode): Promise<void>
}

interface Waiting {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** The writes on one primary. */
interface Lane {
  readonly node: RedisNode
  waiting: Waiting[]
  busy: boolean
}

/**
 * @param wanted replicas
 * @param patience ms that one WAIT takes at most
 */
export function replicasOf(wanted: number, patience: number): Replicas {
  const lanes = new Map<string, Lane>()

  function laneOf(node: RedisNode): Lane {
    const lane = lanes.get(node.id) ?? { node, waiting: [], busy: false }
    lanes.set(node.id, lane)
    return lane
  }

  async function drain(lane: Lane): Promise<void> {
    while (lane.waiting.length > 0) {
      const group = lane.waiting.splice(0)
      try {
        const count = Number(await lane.node.send(["WAIT", String(wanted), String(patience)]))
        if (count >= wanted) for (const { resolve } of group) resolve()
        else for (const { reject } of group) reject(unknown(`${count} of ${wanted} replicas have it`))
      } catch (error) {
        // Whoever waits behind has written on the connection that is lost; WAIT on a new one knows nothing of it.
        for (const { reject } of [...group, ...lane.waiting.splice(0)]) {
          reject(unknown("the replicas could not be asked", error))
        }
      }
    }
    lanes.delete(lane.node.id)
  }

  return {
    follow(node) {
      const lane = laneOf(node)
      return new Promise((resolve, reject) => {
        lane.waiting.push({ resolve, reject })
        if (lane.busy) return
        lane.busy = true
        setImmediate(() => void drain(lane)) // after this tick's writes, so that it speaks for all of them
      })
    },
  }
}
