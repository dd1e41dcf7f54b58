// Load on a store while its servers fail: clients that write a record each, one after the other, and remember what was acknowledged.
// Afterwards it is read what became of that. What is judged are promises (typed errors, deadlines, recovery, nobody else's data); what
// a failover lost is counted and told, because no setting of the store can promise it away.

import { CoatcheckError, type Store } from "coatcheck"

/** What has happened so far. */
export interface Load {
  /** Writes that were acknowledged. */
  readonly acked: number
  /** Failures by code; "stray" for what is no CoatcheckError. */
  readonly failed: Readonly<Record<string, number>>
  /** The longest call, in ms. */
  readonly longest: number
  /** The longest time between two acknowledgements, in ms. */
  readonly longestGap: number
  /** Ends it and waits for the calls under way. */
  stop(): Promise<void>
  /** Of what was acknowledged: how much the store does not have any more, and how much of what it has is another's. */
  check(store: Store): Promise<{ readonly lost: number; readonly wrong: number }>
}

/**
 * Starts load.
 *
 * @param options `clients`: how many write at a time; default 16. `prefix`: of the keys.
 */
export function startLoad(store: Store, options: { readonly prefix: string; readonly clients?: number }): Load {
  const { prefix, clients = 16 } = options
  const acked = new Set<string>()
  const failed: Record<string, number> = {}
  const times = { longest: 0, longestGap: 0, last: performance.now() }
  let next = 0
  let stopped = false

  async function client(): Promise<void> {
    while (!stopped) {
      const key = `${prefix}${next++}`
      const began = performance.now()
      try {
        const outcome = await store.set(key, JSON.stringify(key), { if: "absent" })
        if (outcome.ok) acked.add(key)
        const now = performance.now()
        times.longestGap = Math.max(times.longestGap, now - times.last)
        times.last = now
      } catch (error) {
        const code = error instanceof CoatcheckError ? error.code : "stray"
        failed[code] = (failed[code] ?? 0) + 1
      }
      times.longest = Math.max(times.longest, performance.now() - began)
      // Lets the rest of the process have a turn when failures come at once.
      await new Promise(setImmediate)
    }
  }
  const running = Promise.all(Array.from({ length: clients }, client))

  return {
    get acked() {
      return acked.size
    },
    failed,
    get longest() {
      return times.longest
    },
    get longestGap() {
      return times.longestGap
    },
    async stop() {
      stopped = true
      await running
    },
    async check(reader) {
      let lost = 0
      let wrong = 0
      const keys = [...acked]
      for (let from = 0; from < keys.length; from += 256) {
        const part = keys.slice(from, from + 256)
        const entries = await Promise.all(part.map((key) => reader.get(key)))
        entries.forEach((entry, at) => {
          if (entry === null) lost++
          else if (entry.value !== JSON.stringify(part[at])) wrong++
        })
      }
      return { lost, wrong }
    },
  }
}
