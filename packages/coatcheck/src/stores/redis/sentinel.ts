// Who the primary is, by the sentinels. All of them are asked at once, over a connection each that stays, and the answer with the highest
// epoch counts: a failover raises it, so a sentinel that missed one can't lead back to the old primary as long as one that did not miss
// it answers. The server found has the last word: it must call itself the primary.
//
// They are asked whenever the connection to the primary was lost or answers READONLY, and once a second besides: a primary that was cut
// off from the others goes on taking writes that will be lost, and nothing on its connection tells.

import type { Clock } from "../../core/clock.ts"
import type { Endpoint } from "./address.ts"
import { type Channel, channel } from "./channel.ts"
import type { Link, LinkOptions, OpenLink } from "./link.ts"

/** What finding a primary needs. */
export interface SentinelParts {
  readonly open: OpenLink
  readonly sentinels: readonly Endpoint[]
  /** What the sentinels call the primary. */
  readonly name: string
  /** Of the connections to the sentinels. */
  readonly options: LinkOptions
  readonly clock: Clock
  /** Of a call, in ms. */
  readonly deadline: number
  /** Told about once a second whom the sentinels call the primary, as long as one of them answers. */
  named(primary: Endpoint): void
}

/** See the head of the file. */
export interface Sentinels {
  /** Rejects when no sentinel answers, or none knows the name. */
  locate(): Promise<Endpoint>
  close(): void
}

const POLL_MS = 1_000
/** How long the other sentinels are waited for when one has answered: some may be down. */
const OTHERS_MS = 200

/** Connects to the sentinels, and watches for another primary. */
export function sentinels({ open, sentinels: endpoints, name, named, ...parts }: SentinelParts): Sentinels {
  const channels = endpoints.map((endpoint) => channel({ ...parts, open, locate: async () => endpoint }))
  const patience = Math.min(parts.deadline, 1_000)
  let pause: NodeJS.Timeout | undefined
  let closed = false

  /** While a failover is under way, the address is the new one before the state is; the epoch is in the state alone. */
  async function ask(one: Channel): Promise<Place> {
    const questions = [
      ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name],
      ["SENTINEL", "MASTER", name],
    ]
    const [address, state] = await Promise.all(questions.map((question) => one.ask(patience, question)))
    const [host, port] = Array.isArray(address) ? (address as unknown[]) : []
    if (typeof host !== "string" || !(Number(port) > 0)) throw new Error("The sentinel knows no primary of that name")
    return { host, port: Number(port), epoch: epochOf(state) }
  }

  /** The best of the answers: those that come within a moment of the first, or all. */
  function find(): Promise<Endpoint> {
    return new Promise((resolve, reject) => {
      const places: Place[] = []
      const causes: unknown[] = []
      let asked = 0
      let others: NodeJS.Timeout | undefined

      function decide(): void {
        clearTimeout(others)
        const [first, ...more] = places
        if (first !== undefined) resolve(more.reduce((best, one) => (one.epoch > best.epoch ? one : best), first))
        else reject(new AggregateError(causes, "No sentinel names the primary: check their addresses and its name"))
      }
      for (const one of channels) {
        ask(one)
          .then((place) => void places.push(place))
          .catch((cause: unknown) => void causes.push(cause))
          .finally(() => {
            if (++asked === channels.length) decide()
            else if (places.length > 0) others ??= setTimeout(decide, OTHERS_MS)
          })
      }
    })
  }

  async function poll(): Promise<void> {
    try {
      const found = await find()
      if (!closed) named(found)
    } catch {
      // No sentinel answers: the primary that we have is the best that is known.
    }
    if (!closed) pause = setTimeout(() => void poll(), POLL_MS * (0.75 + Math.random() / 2))
  }
  void poll()

  return {
    locate: find,
    close() {
      closed = true
      clearTimeout(pause)
      for (const one of channels) one.close()
    },
  }
}

/**
 * Asks a server whether it is a primary.
 *
 * Rejects when it says that it is none. Where asking is forbidden to this user, the sentinels' word is taken for it.
 */
export async function checkPrimary(link: Link): Promise<void> {
  const role = await link.send(["ROLE"]).catch((error: unknown) => {
    if (error instanceof Error && error.message.startsWith("NOPERM")) return ["master"]
    throw error
  })
  if (!Array.isArray(role) || role[0] !== "master") throw new Error("The server that the sentinels name is no primary")
}

interface Place extends Endpoint {
  readonly epoch: number
}

/** Out of the answer to SENTINEL MASTER: names and values by turns, or a map of them. */
function epochOf(state: unknown): number {
  const fields = Array.isArray(state) ? (state as unknown[]) : Object.entries(state ?? {}).flat()
  return Number(fields[fields.indexOf("config-epoch") + 1]) || 0
}
