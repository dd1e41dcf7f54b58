// What changed, told by the server: client tracking in broadcast mode, over a connection to each primary that does nothing else. The
// connection redirects its messages to itself, which servers take in RESP2 too, so that there is no second one whose loss would have to be
// noticed.
//
// A silent connection looks the same as a broken one, so it is asked for a sign of life once a deadline; the channel cuts what owes one for
// two. Whatever interrupts the channel is told as null: anything may have changed. And so is the moment from which it can be
// relied on again, because changes of the time between were told to nobody; and each attempt in between that is not the first.

import type { Endpoint } from "./address.ts"
import { type Channel, channel, type ChannelParts } from "./channel.ts"
import type { Link } from "./link.ts"

/** What a watch is made of. */
export interface WatchParts extends Pick<ChannelParts, "open" | "options" | "clock" | "deadline"> {
  /** Only keys that begin with it. */
  readonly prefix: string
  onChange(key: string | null): void
}

/** The watch of one server. */
export interface Watch {
  /** Leads somewhere else now: see `Channel.renew`. */
  renew(reason: string): void
  close(): void
}

const CHANNEL = "__redis__:invalidate"

/** Watches the server that `locate` leads to; `prepare` is what its link is asked first. */
export function watchServer(
  { prefix, onChange, ...parts }: WatchParts,
  locate: () => Promise<Endpoint>,
  prepare?: (link: Link) => Promise<void>,
): Watch {
  let signs: NodeJS.Timeout | undefined
  let attempts = 0

  /** Who looks for the server again has no channel: until there is one, anything may have changed at any time. */
  function find(): Promise<Endpoint> {
    if (attempts++ > 0) onChange(null)
    return locate()
  }

  async function subscribe(link: Link): Promise<void> {
    await prepare?.(link)
    const id = await link.send(["CLIENT", "ID"])
    const broadcast = ["CLIENT", "TRACKING", "ON", "REDIRECT", String(id), "BCAST"]
    await link.send(prefix === "" ? broadcast : [...broadcast, "PREFIX", prefix])
    await link.send(["subscribe", CHANNEL]) // what changed before this is covered by the null that follows
  }

  function tell(payload: unknown): void {
    if (!Array.isArray(payload))
      onChange(null) // nil: the server was flushed
    else for (const key of payload) onChange(String(key))
  }

  const server: Channel = channel({
    ...parts,
    locate: find,
    prepare: subscribe,
    up() {
      attempts = 0
      onChange(null)
      signs = setInterval(() => {
        server.send(["ping"]).catch(ignore)
      }, parts.deadline)
    },
    down() {
      clearInterval(signs)
      onChange(null)
    },
    message: tell,
  })

  return {
    renew: server.renew,
    close() {
      clearInterval(signs)
      server.close()
    },
  }
}

/** Watches several servers, as many as there are at a time. `places` says where they are. */
export function watchServers(parts: WatchParts, places: () => readonly Endpoint[]): { update(): void; close(): void } {
  const watches = new Map<string, Watch>()

  function update(): void {
    const now = new Map(places().map((endpoint) => [`${endpoint.host}:${endpoint.port}`, endpoint]))
    for (const [name, watch] of watches) {
      if (now.has(name)) continue
      watches.delete(name)
      watch.close()
      parts.onChange(null)
    }
    for (const [name, endpoint] of now) {
      if (!watches.has(name))
        watches.set(
          name,
          watchServer(parts, async () => endpoint),
        )
    }
  }
  update()

  return {
    update,
    close() {
      for (const watch of watches.values()) watch.close()
    },
  }
}

function ignore(): void {
  // The channel is told itself when its link breaks.
}
