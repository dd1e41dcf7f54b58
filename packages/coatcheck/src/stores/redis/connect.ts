// From what `redisStore` is given to a connection that the store can use: a URL, with our own driver and our own idea of reconnecting, or a
// client of the caller's.
//
// A connection comes out when it stands. When it can't be made in time it is given up whole, so that a program which starts before its
// server fails with a reason instead of hanging; once made, it is made anew for ever.

import type { Clock } from "../../core/clock.ts"
import type { Endpoint, RedisAddress } from "./address.ts"
import { type Channel, channel, type ChannelParts } from "./channel.ts"
import { clusterConnection } from "./cluster.ts"
import type { RedisConnection, RedisNode } from "./connection.ts"
import { loadDriver } from "./ioredis.ts"
import type { LinkOptions, OpenLink, RedisTls } from "./link.ts"
import { checkPrimary, sentinels } from "./sentinel.ts"
import { type Watch, watchServer, watchServers } from "./tracking.ts"

/** How a connection is made; what the URL says goes before it. */
export interface ConnectSettings {
  readonly clock: Clock
  /** Of a call, in ms. Making a connection may take as long. */
  readonly deadline: number
  readonly username: string | undefined
  readonly password: string | undefined
  /** Of the sentinels, where they ask for one. */
  readonly sentinelUsername: string | undefined
  readonly sentinelPassword: string | undefined
  /** true: as the scheme `rediss`. */
  readonly tls: RedisTls | boolean
}

type Parts = Pick<ChannelParts, "open" | "options" | "clock" | "deadline">

/**
 * Connects to what a URL names.
 *
 * @param driver gives the driver; default: the one that is installed.
 * Rejects with `RedisReplyError` or `RedisLinkError` when no connection stands within the deadline.
 *
 * @throws CoatcheckError `unsupported` when no driver is installed.
 */
export async function connectTo(
  address: RedisAddress,
  settings: ConnectSettings,
  driver: () => Promise<OpenLink> = loadDriver,
): Promise<RedisConnection> {
  const open = await driver()
  const { tls, clock, deadline } = settings
  const options: LinkOptions = {
    tls: typeof tls === "object" ? tls : asked(tls || address.secure),
    username: address.username ?? settings.username,
    password: address.password ?? settings.password,
    db: address.db,
    patience: deadline,
  }
  const parts: Parts = { open, options, clock, deadline }
  const connection = address.kind === "cluster" ? cluster(address, parts) : single(address, parts, settings)
  try {
    await connection.ready(deadline)
    return connection
  } catch (error) {
    await connection.close()
    throw error
  }
}

function asked(secure: boolean): RedisTls | null {
  return secure ? {} : null
}

interface Ready {
  ready(ms: number): Promise<void>
}

/** Where a channel leads. */
interface Way {
  /** Where it was led last; null: nowhere yet. */
  to: Endpoint | null
  locate(): Promise<Endpoint>
  /** Leads it anew. */
  renew(reason: string): void
}

/** One node, be it always the same or the one that sentinels name. */
function single(address: RedisAddress, parts: Parts, settings: ConnectSettings): RedisConnection & Ready {
  const ways = new Set<Way>()
  const watches = new Set<Watch>()
  const [endpoint] = address.endpoints
  const guides =
    address.kind === "sentinel"
      ? sentinels({
          ...parts,
          sentinels: address.endpoints,
          name: address.name,
          options: {
            ...parts.options,
            username: settings.sentinelUsername,
            password: settings.sentinelPassword,
            db: 0,
          },
          named({ host, port }) {
            const left = [...ways].filter(({ to }) => to !== null && (to.host !== host || to.port !== port))
            for (const { renew } of left) renew("The sentinels name another primary")
          },
        })
      : null
  const locate = guides === null ? async () => endpoint as NonNullable<typeof endpoint> : guides.locate // there is at least one
  const prepare = guides === null ? undefined : checkPrimary
  const own = way()
  const server: Channel = channel({
    ...parts,
    locate: own.locate,
    ...(prepare && { prepare }),
    readonly() {
      for (const { renew } of ways) renew("The server is a replica now")
    },
  })
  own.renew = server.renew

  /** Each channel is led by itself: where another one was led says nothing of it. */
  function way(): Way {
    const made: Way = {
      to: null,
      async locate() {
        made.to = await locate()
        return made.to
      },
      renew() {},
    }
    ways.add(made)
    return made
  }

  const node: RedisNode = { id: "0", send: server.send }

  return {
    inOrder: true,
    send(_key, args, goingTo) {
      goingTo?.(node)
      return server.send(args)
    },
    primaries: async () => [node],
    ready: server.ready,
    watch(prefix, onChange) {
      const led = way()
      const watch = watchServer({ ...parts, prefix, onChange }, led.locate, prepare)
      led.renew = watch.renew
      watches.add(watch)
      return () => {
        ways.delete(led)
        watches.delete(watch)
        watch.close()
      }
    },
    async close() {
      guides?.close()
      for (const watch of watches) watch.close()
      server.close()
    },
  }
}

function cluster(address: RedisAddress, parts: Parts): RedisConnection & Ready {
  const connection = clusterConnection({ ...parts, seeds: address.endpoints })
  const watches = new Set<{ update(): void; close(): void }>()
  connection.onMove(() => {
    for (const watch of watches) watch.update()
  })
  return {
    ...connection,
    watch(prefix, onChange) {
      const watch = watchServers({ ...parts, prefix, onChange }, connection.places)
      watches.add(watch)
      return () => {
        watches.delete(watch)
        watch.close()
      }
    },
    async close() {
      for (const watch of watches) watch.close()
      await connection.close()
    },
  }
}
