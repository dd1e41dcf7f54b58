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
  /** The primary is another than the one that `locate` gave last. */
  moved(): void
}

/** See the head of the file. */
export interface Sentinels {
  /** Rejects when no sentinel answers, or none knows the name. */
  locate(): Promise<Endpoint>
  close(): void
}

const POLL_MS = 1_000

/** Connects to the sentinels, and watches for another primary. */
export function sentinels({ open, sentinels: endpoints, name, moved, ...parts }: SentinelParts): Sentinels {
  const channels = endpoints.map((endpoint) => channel({ ...parts, open, locate: async () => endpoint }))
  const patience = Math.min(parts.deadline, 1_000)
  let current: Endpoint | null = null
  let pause: NodeJS.Timeout | undefined
  let closed = false

  async function ask(one: Channel): Promise<Place | null> {
    return readPlace(await one.ask(patience, ["SENTINEL", "MASTER", name]))
  }

  async function find(): Promise<Endpoint> {
    const answers = await Promise.allSettled(channels.map(ask))
    const places = answers.flatMap((answer) => (answer.status === "fulfilled" && answer.value ? [answer.value] : []))
    const [first, ...others] = places
    if (first === undefined) {
      const causes = answers.flatMap((answer): unknown[] => (answer.status === "rejected" ? [answer.reason] : []))
      throw new AggregateError(causes, "No sentinel names the primary: check the sentinels' addresses and its name")
    }
    return others.reduce((best, one) => (one.epoch > best.epoch ? one : best), first)
  }

  async function poll(): Promise<void> {
    try {
      const found = await find()
      if (current !== null && !closed && (found.host !== current.host || found.port !== current.port)) moved()
    } catch {
      // No sentinel answers: the primary that we have is the best that is known.
    }
    if (!closed) pause = setTimeout(() => void poll(), POLL_MS * (0.75 + Math.random() / 2))
  }
  void poll()

  return {
    async locate() {
      current = await find()
      return current
    },
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

/** The answer to SENTINEL MASTER: names and values by turns, or a map of them. */
function readPlace(answer: unknown): Place | null {
  const pairs = Array.isArray(answer) ? answer : Object.entries(answer ?? {}).flat()
  const field = (name: string): string => {
    const at = pairs.indexOf(name)
    return at < 0 ? "" : String(pairs[at + 1])
  }
  const port = Number(field("port"))
  return field("ip") === "" || !(port > 0)
    ? null
    : { host: field("ip"), port, epoch: Number(field("config-epoch")) || 0 }
}
