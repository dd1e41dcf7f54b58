// Sessions in Redis 7 or Valkey 8: for many hosts that share one server, a primary that Sentinel watches over, or a Cluster. Every verb costs
// one round trip, conditions are decided in the server, and this process's clock decides what has expired. What a crash or a failover
// loses is up to how the server is set up; the store says at its start what it finds. This file is the door; ./redis/store.ts is the
// store, ./redis/connection.ts what it asks of a driver.

import type { Clock, Duration } from "../core/clock.ts"
import { milliseconds, systemClock } from "../core/clock.ts"
import { reporter } from "../core/contract.ts"
import { checkOptions } from "../core/options.ts"
import type { Report, Store } from "../core/store.ts"
import { limits } from "../core/store.ts"
import { type RedisAddress, redisAddress } from "./redis/address.ts"
import { adopt, type RedisClient } from "./redis/clients.ts"
import { type ConnectSettings, connectTo } from "./redis/connect.ts"
import type { RedisConnection } from "./redis/connection.ts"
import type { Ways } from "./redis/calls.ts"
import { judge } from "./redis/errors.ts"
import type { RedisTls } from "./redis/link.ts"
import { replicasOf } from "./redis/replicas.ts"
import { findingsOf } from "./redis/start.ts"
import { REDIS, type RedisSettings, storeOn } from "./redis/store.ts"

export type { IoredisClient, IoredisCluster, NodeRedisClient, NodeRedisCluster, RedisClient } from "./redis/clients.ts"
export type { RedisTls } from "./redis/link.ts"

/** Settings of `redisStore`, each with a default. Those of the URL go before them. */
export interface RedisStoreOptions {
  /**
   * What the names of all keys begin with, so that several applications can share a server: letters, digits, `.`, `_` and `-`, up to
   * 64. A colon follows. Default "coatcheck".
   */
  readonly prefix?: string
  /** A write is acknowledged when so many replicas have it too; a store made of a URL only. Default 0. */
  readonly wait?: number
  /** How long Redis keeps a record beyond its end, for machines whose clocks differ. Default "400ms". */
  readonly grace?: Duration
  /** How long a call may take, and making the connection; a day at most. Default "1s". */
  readonly deadline?: Duration
  /** The longest value, in bytes of UTF-8. Default 1 MiB. */
  readonly maxValueBytes?: number
  /** Calls that may be under way; one more rejects with `unavailable` at once. Default 10,000. */
  readonly maxQueued?: number
  /** Of the ACL user. Default: the URL's, else none. */
  readonly username?: string
  readonly password?: string
  /** Of the sentinels, where they ask for one. */
  readonly sentinelUsername?: string
  readonly sentinelPassword?: string
  /** true: TLS as with `rediss:`; an object: certificates of your own. Default: as the URL says. */
  readonly tls?: RedisTls | boolean
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told of clocks that differ, of settings of the server that lose sessions, and of damaged records. Default: a line on stderr. */
  readonly report?: Report
}

const LONGEST_DEADLINE_MS = 86_400_000

/** In the URL, as `?prefix=shop&wait=1`. */
const parameterNames: readonly string[] = ["prefix", "wait", "grace", "deadline", "maxValueBytes", "maxQueued"]

/**
 * A store in Redis or Valkey: `redis://localhost:6379`, `rediss://…`, `redis+sentinel://host:26379,host:26379/name`,
 * `redis+cluster://host:6379,host:6379`; or on a connected client of @redis/client, ioredis or iovalkey, which stays the caller's to close.
 *
 * What the server promises about crashes is up to its settings; the store reports those that lose sessions. A write whose answer did
 * not come rejects with `unknown-outcome` and is never sent again. `count` without an owner is an estimate above 5,000 keys. A URL
 * needs the package ioredis or iovalkey.
 *
 * @throws TypeError when the URL, the client or a setting makes no sense; never repeats the URL.
 * @throws CoatcheckError `unavailable` when the server can't be reached within the deadline, `denied` when it refuses the user,
 *   `unsupported` when no driver is installed.
 */
export async function redisStore(urlOrClient: string | RedisClient, options: RedisStoreOptions = {}): Promise<Store> {
  checkOptions<RedisStoreOptions>("redisStore", options, {
    prefix: true,
    wait: true,
    grace: true,
    deadline: true,
    maxValueBytes: true,
    maxQueued: true,
    username: true,
    password: true,
    sentinelUsername: true,
    sentinelPassword: true,
    tls: true,
    clock: true,
    report: true,
  })
  const address = typeof urlOrClient === "string" ? redisAddress(urlOrClient) : null
  const given = { ...options, ...(address !== null && parametersOf(address)) }
  const { clock = systemClock } = options
  const report = reporter(options.report)
  const wait = whole("wait", given.wait ?? 0, 0)
  const settings = {
    clock,
    report,
    prefix: prefixOf(given.prefix ?? "coatcheck"),
    grace: milliseconds(given.grace ?? "400ms", "grace"),
    deadline: deadlineOf(given.deadline ?? "1s"),
    maxValueBytes: whole("maxValueBytes", given.maxValueBytes ?? limits.valueBytes, 1),
    maxQueued: whole("maxQueued", given.maxQueued ?? 10_000, 1),
  }

  if (address === null) {
    if (wait > 0) throw new TypeError("wait needs connections of the store's own: give it a URL instead of a client")
    const { connection, warnings } = adopt(urlOrClient as RedisClient) // what is no URL
    for (const message of warnings) report({ store: REDIS, kind: "warning", message })
    return open({ reads: connection, writes: connection, replicas: null }, settings)
  }
  const { username, password, sentinelUsername, sentinelPassword, tls = false } = options
  const access = { clock, deadline: settings.deadline, username, password, sentinelUsername, sentinelPassword, tls }
  const reads = await connected(address, access)
  if (wait === 0) return open({ reads, writes: reads, replicas: null }, settings)
  try {
    const writes = await connected(address, access)
    // A write may come while others wait for theirs: twice the time, and some for itself.
    const patience = Math.ceil(settings.deadline * 0.4)
    return await open({ reads, writes, replicas: replicasOf(wait, patience) }, settings)
  } catch (error) {
    await reads.close()
    throw error
  }
}

async function connected(address: RedisAddress, access: ConnectSettings): Promise<RedisConnection> {
  try {
    return await connectTo(address, access)
  } catch (error) {
    throw judge(error, false).error
  }
}

/** The store, after a look at what it stands on, which takes no longer than a call. */
async function open(ways: Ways, settings: RedisSettings): Promise<Store> {
  const { clock, report, deadline } = settings
  const findings = findingsOf(ways.reads, clock, ways.replicas !== null).catch(() => []) // the first call will tell why
  const late = new Promise<[]>((resolve) => void setTimeout(resolve, deadline, []).unref())
  for (const finding of await Promise.race([findings, late])) report({ store: REDIS, ...finding })
  return storeOn(ways, settings)
}

function parametersOf({ parameters }: RedisAddress): RedisStoreOptions {
  const unknown = Object.keys(parameters).some((name) => !parameterNames.includes(name))
  if (unknown) throw new TypeError(`The parameters of a redis store's URL are ${parameterNames.join(", ")}`)
  const numbers = ["wait", "maxValueBytes", "maxQueued"] as const
  const read = numbers.flatMap((name) => {
    const text = parameters[name]
    return text === undefined ? [] : [[name, /^\d+$/.test(text) ? Number(text) : Number.NaN]]
  })
  return { ...parameters, ...Object.fromEntries(read) } as RedisStoreOptions // texts and numbers of those names, checked by whoever uses them
}

/** A prefix without a colon, so that none is the beginning of another one's keys. */
function prefixOf(prefix: string): string {
  if (typeof prefix === "string" && /^[\w.-]{1,64}$/.test(prefix)) return prefix
  throw new TypeError("prefix must be 1 to 64 letters, digits, dots, underscores and hyphens")
}

/** No longer than a timer can wait, by far. */
function deadlineOf(duration: Duration): number {
  const ms = milliseconds(duration, "deadline")
  if (ms <= LONGEST_DEADLINE_MS) return ms
  throw new TypeError("deadline must be a day at most")
}

function whole(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new TypeError(`${name} must be a whole number from ${least} up`)
}
