// What a service can be told, with its defaults. Everything that waits or fills up has a number here: a server on the defaults
// of node:http holds a silent client for minutes and counts neither connections nor requests.

import type { Clock, Store } from "coatcheck"
import { batchLimits } from "coatcheck/protocol"
import { type Changes, changesOf, type ServedStore } from "./changes.ts"
import { type Pace, pace } from "./pace.ts"
import { type HostRule, hostRule } from "./hosts.ts"
import { parseTokens, type Token } from "./tokens.ts"

/** Where the service tells what it does. pino's shape; any logger that takes an object and a sentence fits. */
export interface Logger {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  /** Gets a line for each request. Left out: requests are not told. */
  debug?(fields: object, message: string): void
  /** Where it is there and false for "debug", requests are not even timed. */
  isLevelEnabled?(level: string): boolean
}

/** How much one client may ask of the service, and how long it may take. */
export interface ServiceLimits {
  /** Bytes of a request's body, batches aside; more is answered by 413. Default 1 MiB. */
  readonly bodyBytes: number
  /** Bytes of a batch's body. Default 4 MiB, as `batchLimits`: clients count on that much. */
  readonly batchBytes: number
  /** Operations in one batch. Default 256, as `batchLimits`. */
  readonly batchOps: number
  /** Header fields of a request: one that has so many, or more, is answered by 431. Default 100. */
  readonly headerFields: number
  /** Bytes of a request's header block; more is answered by 431. Default 16 KiB. */
  readonly headerBytes: number
  /** Milliseconds until the headers must be here, then 408. Default 10,000. */
  readonly headersMs: number
  /** Milliseconds until the whole request must be here, then 408; and of silence on a connection. Default 30,000. */
  readonly requestMs: number
  /** Milliseconds that the reader of a long answer may pause, as a pager does while somebody reads. Default 600,000. */
  readonly pauseMs: number
  /** Milliseconds that an idle connection is kept. Default 5,000. */
  readonly keepAliveMs: number
  /** Requests on one connection; the last one is answered with `Connection: close`. Default 10,000. */
  readonly requestsPerSocket: number
  /** Open connections for each address that is listened on; more are closed at once. Default 10,000. */
  readonly connections: number
  /** Milliseconds that the store may take to answer `/-/ready`. Default 500. */
  readonly readyMs: number
  /** Streams of changes at once; one more is answered by 503. Default 1,000. */
  readonly listeners: number
  /** Bytes of changes that may wait for a client that takes them too slowly, before it is cut off. Default 256 KiB. */
  readonly eventBytes: number
  /** Milliseconds after which a stream of changes says something, if only that it lives. Default 1,000. */
  readonly heartbeatMs: number
}

/** The limits where nothing else is said. */
export const defaultLimits: ServiceLimits = {
  bodyBytes: 1_048_576,
  batchBytes: batchLimits.bytes,
  batchOps: batchLimits.ops,
  headerFields: 100,
  headerBytes: 16_384,
  headersMs: 10_000,
  requestMs: 30_000,
  pauseMs: 600_000,
  keepAliveMs: 5_000,
  requestsPerSocket: 10_000,
  connections: 10_000,
  readyMs: 500,
  listeners: 1_000,
  eventBytes: 262_144,
  heartbeatMs: 1_000,
}

/** What `createService` can be told. */
export interface ServiceOptions {
  /**
   * Who may ask: entries `name scopes sha256:hex`, where scopes is a comma-separated choice of read, write and admin, and hex is
   * the SHA-256 of the token in 64 hexadecimal digits. Left out: anybody who reaches the service may do anything.
   */
  readonly tokens?: readonly string[]
  /** More names under which the service may be asked (`kv.internal`, or `kv.internal:8080` for that port only). */
  readonly allowHosts?: readonly string[]
  readonly limits?: Partial<ServiceLimits>
  /** Default: silence. */
  readonly log?: Logger
  /** Which time it is, to turn ends into remaining times and back. Default: the machine's clock. */
  readonly clock?: Pick<Clock, "now">
}

/** Where to listen. */
export interface ListenOptions {
  /** 0: one that is free. */
  readonly port: number
  /** Default: 127.0.0.1 and, where there is one, ::1. An address that others can reach needs `tokens`. */
  readonly host?: string
}

/** What everything in one service shares. */
export interface Setting {
  /** Tells its changes. */
  readonly store: ServedStore
  readonly changes: Changes
  readonly limits: ServiceLimits
  /** Of batches. */
  readonly pace: Pace
  /** null: anybody may do anything. */
  readonly tokens: readonly Token[] | null
  readonly allowed: HostRule
  readonly log: Logger | undefined
  readonly now: () => number
  /** Set once, when the service begins to stop. */
  draining: boolean
  /** Whether the store was seen to tell of a write whether it created. */
  tellsCreated: boolean
  /** By key, the version that the last of those writes will leave that replace whatever stands there; see match.ts. */
  readonly chains: Map<string, { end: string }>
  /** When each kind of failure was logged last, and how often it came since without being logged. */
  readonly told: Map<string, { at: number; untold: number }>
}

/**
 * Options with their defaults filled in.
 *
 * @throws TypeError for what can't be meant.
 */
export function settle(store: Store, options: ServiceOptions): Setting {
  checkNames("createService", options, optionNames)
  const { tokens, allowHosts, log, clock } = options
  const limits = checkLimits(options.limits)
  const changes = changesOf(store, limits.heartbeatMs)
  return {
    store: changes.store,
    changes,
    limits,
    pace: pace(),
    tokens: tokens === undefined ? null : parseTokens(tokens),
    allowed: hostRule(allowHosts),
    log,
    now: clock ? () => clock.now() : Date.now,
    draining: false,
    tellsCreated: false,
    chains: new Map(),
    told: new Map(),
  }
}

const optionNames: Readonly<Record<keyof ServiceOptions, true>> = {
  tokens: true,
  allowHosts: true,
  limits: true,
  log: true,
  clock: true,
}

/**
 * Refuses options that are no object, or that have a name nobody knows: a mistyped one would leave the default standing.
 *
 * @throws TypeError naming the unknown option and those of `names`.
 */
export function checkNames(what: string, options: object, names: object): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`${what} takes an object of settings`)
  }
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(names, name))
  if (unknown === undefined) return
  throw new TypeError(`${what} knows no setting "${unknown}"; there are ${Object.keys(names).join(", ")}`)
}

function checkLimits(limits: Partial<ServiceLimits> = {}): ServiceLimits {
  checkNames("limits", limits, defaultLimits)
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`limits.${name} must be a whole number above 0`)
  }
  const settled = { ...defaultLimits, ...limits }
  if (settled.headersMs > settled.requestMs) throw new TypeError("limits.headersMs must not be above limits.requestMs")
  if (settled.heartbeatMs > settled.requestMs + 1_000) {
    throw new TypeError("limits.heartbeatMs must not be above limits.requestMs: silence ends a connection")
  }
  return settled
}
