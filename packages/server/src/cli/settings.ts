// What `coatcheck serve` was told: a flag, else the environment, else the default. Reading is apart from doing, so that every rule here
// is a plain function of two objects, and a mistake is told before anything is opened. An empty variable counts as not set.

import { isIP } from "node:net"
import { UsageError } from "./fail.ts"

/** The flags as commander hands them over. */
export interface ServeFlags {
  readonly store?: string
  readonly port?: string
  readonly host?: string
  readonly tokenFile?: string
  readonly allowHost?: readonly string[]
  readonly logLevel?: string
  readonly logFormat?: string
}

/** What `serve` goes by. */
export interface ServeSettings {
  readonly store: string
  /** Where the store's URL comes from: an argument can be seen by other users, and messages name what to mend. null: the default. */
  readonly storeFrom: "--store" | "STORE_URL" | null
  /** 0: any free port. */
  readonly port: number
  /** null: loopback, 127.0.0.1 and ::1. */
  readonly host: string | null
  readonly tokenFile: string | null
  readonly allowHosts: readonly string[]
  readonly logLevel: string
  readonly logFormat: LogFormat
}

/** How much is logged: this level and those before it; silent: nothing. */
export const logLevels = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const
/** How a log line looks. auto: plain on a terminal, else JSON. */
export const logFormats = ["auto", "json", "plain"] as const
/** One of {@link logFormats}. */
export type LogFormat = (typeof logFormats)[number]

/** Where things are unless one is told otherwise. */
export const defaults = { store: "sqlite:./var/coatcheck.db", port: 5100, logLevel: "info", logFormat: "auto" } as const

interface Given<From extends string = string> {
  readonly value: string
  readonly from: From
}

/**
 * Settles the settings.
 *
 * @throws UsageError naming the flag or the variable that holds the mistake, and what it should be
 */
export function serveSettings(flags: ServeFlags, env: Readonly<Record<string, string | undefined>>): ServeSettings {
  const pick = <From extends string>(flag: string | undefined, name: From, variable: From): Given<From> | null => {
    if (flag !== undefined) return { value: flag, from: name }
    const value = env[variable]
    return value ? { value, from: variable } : null
  }
  const host = pick(flags.host, "--host", "HOST")
  const store = pick<"--store" | "STORE_URL">(flags.store, "--store", "STORE_URL")
  const tokenFile = pick(flags.tokenFile, "--token-file", "TOKEN_FILE")
  const level = pick(flags.logLevel, "--log-level", "LOG_LEVEL")
  const format = pick(flags.logFormat, "--log-format", "LOG_FORMAT")
  if (store?.value === "")
    throw new UsageError(`${store.from} must be a store's URL, such as ${defaults.store} or memory:`)
  if (tokenFile?.value === "") throw new UsageError(`${tokenFile.from} must name a file`)
  return {
    store: store?.value ?? defaults.store,
    storeFrom: store?.from ?? null,
    port: port(pick(flags.port, "--port", "PORT")),
    host: host && hostName(host.value, host.from),
    tokenFile: tokenFile?.value ?? null,
    allowHosts: flags.allowHost
      ? hostList(flags.allowHost.join(","), "--allow-host")
      : hostList(env["ALLOW_HOSTS"] ?? "", "ALLOW_HOSTS"),
    logLevel: level ? oneOf(logLevels, level.value, level.from) : defaults.logLevel,
    logFormat: format ? oneOf(logFormats, format.value, format.from) : defaults.logFormat,
  }
}

function port(given: Given | null): number {
  if (!given) return defaults.port
  const number = /^\d{1,5}$/.test(given.value) ? Number(given.value) : Number.NaN
  if (!(number <= 65_535)) throw new UsageError(`${given.from} must be a port, 0 to 65535 (0: any free one)`)
  return number
}

function oneOf<T extends string>(known: readonly T[], value: string, from: string): T {
  const found = known.find((word) => word === value)
  if (found === undefined) throw new UsageError(`${from} must be one of ${known.join(", ")}`)
  return found
}

const dnsName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i

/** An address or name to listen on, without the brackets of an IPv6 address. */
function hostName(value: string, from: string): string {
  const bare = /^\[(.+)\]$/.exec(value)?.[1] ?? value
  if (isIP(bare) === 0 && !dnsName.test(bare)) {
    throw new UsageError(`${from} must be an address or a host name, such as 127.0.0.1, ::1 or 0.0.0.0, without a port`)
  }
  return bare
}

/** Host names that requests may carry; with a port: only together with that port. */
function hostList(list: string, from: string): string[] {
  const names = list.split(",").map((name) => name.trim().toLowerCase())
  return names.filter(Boolean).map((name) => {
    const [, inBrackets, bare, port = ""] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(name) ?? []
    const fine = inBrackets === undefined ? dnsName.test(bare ?? "") : isIP(inBrackets) === 6
    if (!fine || Number(port) > 65_535) {
      throw new UsageError(`${from} must be host names such as kv.example or kv.example:8080, without http:// and path`)
    }
    return name
  })
}

/** Whether only this machine reaches the address. A name other than localhost is not trusted to stay what it is. */
export function isLoopback(host: string | null): boolean {
  if (host === null || host.toLowerCase() === "localhost" || host === "::1") return true
  return isIP(host) === 4 && host.startsWith("127.")
}
