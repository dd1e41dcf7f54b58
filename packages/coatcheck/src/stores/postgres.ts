// Sessions in a Postgres that is there already: one table, made at the first start, in which any number of processes keep them. Each
// call is one statement that decides its condition on the server, so processes need nothing of each other; values are a
// `json` column, which keeps texts to the letter and answers SQL: `SELECT value->'data'->>'cart' FROM coatcheck`.
//
// What is acknowledged was committed: with Postgres as it comes (fsync and synchronous_commit on) it survives kill -9 and power loss.
// After a failover to a replica that was fed asynchronously, what that one had not received is gone.
//
// This file is the door: it takes the URL or the pool apart, makes the table and looks at the server's settings. ./postgres/store.ts
// is the store.

import type { Clock, Duration } from "../core/clock.ts"
import { milliseconds, systemClock } from "../core/clock.ts"
import { reporter } from "../core/contract.ts"
import { checkOptions } from "../core/options.ts"
import type { Report, Store } from "../core/store.ts"
import { limits } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"
import { postgresAddress } from "./postgres/address.ts"
import { ownPool, type PostgresClient, type PostgresPool } from "./postgres/driver.ts"
import { connectFailure, POSTGRES, statementFailure } from "./postgres/errors.ts"
import { shortName, type TableNames, tableNames } from "./postgres/names.ts"
import { type PostgresSettings, storeOn } from "./postgres/store.ts"
import { openTable } from "./postgres/table.ts"

export type { PostgresClient, PostgresNotification, PostgresPool, PostgresQuery } from "./postgres/driver.ts"

/** Settings of `postgresStore`, each with a default. In a URL they stand behind the `?`, and go before these. */
export interface PostgresStoreOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told of settings of the server that promise less, of clocks that differ, and of failures in the background. Default: a line on stderr. */
  readonly report?: Report
  /** How long a call may take, waiting for a connection included. Default "1s". */
  readonly deadline?: Duration
  /** The longest value, in bytes of UTF-8. Default 1 MiB. */
  readonly maxValueBytes?: number
  /** The schema of the table; made if it is not there. Default: wherever the role's search path leads. */
  readonly schema?: string
  /** The table; made if it is not there. Default "coatcheck". */
  readonly table?: string
  /** Connections at once. Default 8. Of a pool of your own, no more than it has. */
  readonly connections?: number
  /** Calls that may wait for a connection; one more rejects with `unavailable` at once. Default 10,000. */
  readonly maxQueued?: number
  /** Whether each write is told to those who `watch`, by NOTIFY, which makes commits wait for each other. All processes or none. Default false. */
  readonly notify?: boolean
  /** false: no prepared statements and no settings of connections, for a pooler in transaction mode. Default true. */
  readonly prepare?: boolean
}

/** The server gets this part of the deadline for a statement; it then says itself that nothing happened. */
const STATEMENT_PART = 0.7
const SKEW_MS = 2_000
/** How long a start may take: connecting, and making the table behind others who make it. */
const OPEN_WITHIN_MS = 15_000

/**
 * A store in a table of Postgres: `postgres://user:password@localhost:5432/database?table=sessions`, or a pool of `pg` 8 that is
 * yours, which `close` leaves open.
 *
 * Makes the table if it is not there. `count` is exact up to 10,000 entries (expired ones that were not swept yet included) and null
 * beyond. Needs the package `pg`, unless you bring a pool.
 *
 * @throws TypeError when the URL or a setting makes no sense, or a name has other characters than letters, digits and underscores.
 * @throws CoatcheckError `unsupported` without the driver; `unavailable` when the server can't be reached; `denied` when the role may
 *   not connect, or not create or use the table; `corrupt` when the table is another application's or newer.
 */
export async function postgresStore(
  urlOrPool: string | PostgresPool,
  options: PostgresStoreOptions = {},
): Promise<Store> {
  checkOptions<PostgresStoreOptions>("postgresStore", options, {
    clock: true,
    report: true,
    deadline: true,
    maxValueBytes: true,
    schema: true,
    table: true,
    connections: true,
    maxQueued: true,
    notify: true,
    prepare: true,
  })
  const address = typeof urlOrPool === "string" ? postgresAddress(urlOrPool) : null
  const given = { ...options, ...fromUrl(address?.parameters ?? {}) }
  const settings: PostgresSettings = {
    clock: given.clock ?? systemClock,
    report: reporter(given.report),
    deadline: milliseconds(given.deadline ?? "1s", "deadline"),
    maxValueBytes: positive("maxValueBytes", given.maxValueBytes ?? limits.valueBytes),
    connections: positive("connections", given.connections ?? 8),
    maxQueued: positive("maxQueued", given.maxQueued ?? 10_000),
    notify: boolean("notify", given.notify ?? false),
    prepare: boolean("prepare", given.prepare ?? true),
  }
  const names = tableNames(given.schema ?? null, given.table ?? "coatcheck")
  const { deadline, connections } = settings

  const pool = typeof urlOrPool === "string" ? await own() : checkPool(urlOrPool)
  const ignore = (): void => {} // an idle connection that breaks is replaced; without a listener it would end the process
  pool.on("error", ignore)

  function own(): Promise<PostgresPool> {
    return ownPool({
      connectionString: address?.connectionString ?? "",
      options: address?.options ?? "",
      connections: connections + (settings.notify ? 1 : 0), // the one that listens
      connectWithin: deadline,
      statementTimeout: settings.prepare ? Math.ceil(deadline * STATEMENT_PART) : null,
    })
  }

  async function end(): Promise<void> {
    if (typeof urlOrPool === "string") await pool.end()
    else pool.removeListener("error", ignore)
  }

  let place = ""
  try {
    place = await prepareTable(pool, names, settings)
  } catch (error) {
    void end().catch(ignore) // not waited for: a server that does not answer does not say goodbye either
    throw error
  }
  return storeOn(pool, names, shortName(place), settings, end)
}

/** Makes and checks the table over one connection, reports what there is to say about the server, and says where the table is. */
async function prepareTable(
  pool: PostgresPool,
  names: TableNames,
  { clock, report }: PostgresSettings,
): Promise<string> {
  const { warnings, skew, place } = await overConnection(pool, (client) => openTable(client, names, clock))
  for (const message of warnings) report({ store: POSTGRES, kind: "warning", message })
  if (Math.abs(skew) > SKEW_MS) {
    const message = `The server's clock is ${Math.round(Math.abs(skew) / 1_000)} s ${skew > 0 ? "ahead of" : "behind"} ours; set both by NTP`
    report({ store: POSTGRES, kind: "skew", message })
  }
  return place
}

/** Works on a connection, which is closed when that fails or takes too long. */
async function overConnection<T>(pool: PostgresPool, work: (client: PostgresClient) => Promise<T>): Promise<T> {
  let release = (_broken: boolean): void => {}
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const message = "The postgres store could not be opened in time: see that the server answers, and try again"
    timer = setTimeout(() => reject(new CoatcheckError("unavailable", message)), OPEN_WITHIN_MS)
  })
  let over = false
  const connecting = pool.connect().then((client) => {
    if (over) client.release()
    else release = (broken) => client.release(broken)
    return client
  })
  try {
    const client = await Promise.race([connecting, late]).catch((error: unknown) => {
      throw error instanceof CoatcheckError ? error : connectFailure(error)
    })
    const result = await Promise.race([work(client), late])
    release(false)
    return result
  } catch (error) {
    over = true
    release(true)
    throw error instanceof CoatcheckError ? error : statementFailure(error, false)
  } finally {
    clearTimeout(timer)
  }
}

/** The parameters of a URL as options. */
function fromUrl(parameters: Readonly<Record<string, string | undefined>>): Partial<PostgresStoreOptions> {
  const entries = Object.entries(parameters).map(([name, text = ""]) => {
    if (name === "connections" || name === "maxQueued" || name === "maxValueBytes") return [name, number(name, text)]
    if (name === "notify" || name === "prepare") return [name, truth(name, text)]
    return [name, text]
  })
  return Object.fromEntries(entries) as Partial<PostgresStoreOptions> // the address takes no other names
}

function number(name: string, text: string): number {
  if (!/^\d+$/.test(text)) throw new TypeError(`${name} must be a whole number`)
  return Number(text)
}

function truth(name: string, text: string): boolean {
  if (text !== "true" && text !== "false") throw new TypeError(`${name} must be true or false`)
  return text === "true"
}

function positive(name: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`${name} must be a positive whole number`)
  return value
}

function boolean(name: string, value: boolean): boolean {
  if (typeof value !== "boolean") throw new TypeError(`${name} must be true or false`)
  return value
}

function checkPool(pool: PostgresPool): PostgresPool {
  const methods: readonly unknown[] = [pool?.connect, pool?.on, pool?.removeListener]
  if (!methods.every((method) => typeof method === "function")) {
    throw new TypeError("postgresStore needs a URL such as postgres://localhost/database, or a pool of pg")
  }
  return pool
}
