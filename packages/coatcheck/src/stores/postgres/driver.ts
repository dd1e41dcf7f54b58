// What the store asks of a driver, and the pool that it makes for itself. `pg` is loaded when a store is opened and never before; who
// has a pool already hands it over, and anything with these few methods will do (`pg`, or the pools that hosts of Postgres
// publish in its shape). Rows come as arrays of text as the server sent it: JSON is not parsed, which would lose its very text, and a
// bigint is no number before we say so.
//
// Settings that a connection needs go into the packet that opens it, and cost no round trip. `pg` can write several queries before
// the first is answered (`pipeline`); it is not used: a write that waits for a row's lock would hold up all behind it.

import { CoatcheckError } from "../../errors.ts"

/** One statement with its values. `name`: it is prepared once a connection. */
export interface PostgresQuery {
  readonly text: string
  readonly name?: string
  readonly values: unknown[]
  readonly rowMode: "array"
  readonly types: { getTypeParser(): (text: string) => string }
}

/** A connection out of a pool, as far as the store uses it. */
export interface PostgresClient {
  query(query: PostgresQuery): Promise<{ readonly rows: unknown[][] }>
  /** Gives it back to its pool; with an error (or true) it is closed instead. */
  release(broken?: Error | boolean): void
  on(event: "error", listener: (error: Error) => void): unknown
  on(event: "end", listener: () => void): unknown
  on(event: "notification", listener: (notification: PostgresNotification) => void): unknown
  removeListener(event: "error", listener: (error: Error) => void): unknown
  removeListener(event: "end", listener: () => void): unknown
  removeListener(event: "notification", listener: (notification: PostgresNotification) => void): unknown
}

/** What NOTIFY sent. */
export interface PostgresNotification {
  readonly channel: string
  readonly payload?: string | undefined
}

/** A pool of connections, as far as the store uses it: `Pool` of `pg` 8 is one. */
export interface PostgresPool {
  /** Connections that are there and free, of a pool that says so. */
  readonly idleCount?: number
  connect(): Promise<PostgresClient>
  end(): Promise<void>
  on(event: "error", listener: (error: Error) => void): unknown
  removeListener(event: "error", listener: (error: Error) => void): unknown
}

/** What the store's own pool is made with. */
export interface PoolSettings {
  readonly connectionString: string
  /** Settings of each connection that the URL asks for. */
  readonly options: string
  /** Connections at most. */
  readonly connections: number
  /** Milliseconds to make one. */
  readonly connectWithin: number
  /** Milliseconds that the server gives a statement; null: no setting is sent at all, for poolers that refuse them. */
  readonly statementTimeout: number | null
}

const isolation = "-c default_transaction_isolation=read\\ committed"

/** How a value comes: as text, whatever its type. */
export const asText: PostgresQuery["types"] = { getTypeParser: () => (text) => text }

/**
 * A pool of the store's own. An idle connection holds no process.
 *
 * @throws CoatcheckError `unsupported` without the driver, saying what to install.
 */
export async function ownPool(settings: PoolSettings): Promise<PostgresPool> {
  const { Pool } = await loadDriver()
  const { connectionString, options, connections, connectWithin, statementTimeout } = settings
  const ours = statementTimeout === null ? "" : `${isolation} -c statement_timeout=${statementTimeout}`
  return new Pool({
    connectionString,
    options: `${options} ${ours}`.trim(), // of two that set the same, the last one counts
    max: connections,
    connectionTimeoutMillis: connectWithin,
    fallback_application_name: "coatcheck",
    keepAlive: true,
    allowExitOnIdle: true,
  }) as unknown as PostgresPool // its overloads are more than we ask for
}

async function loadDriver(): Promise<{ Pool: new (options: object) => object }> {
  try {
    const driver = await import("pg")
    return driver.default
  } catch (cause) {
    throw new CoatcheckError("unsupported", "postgres: needs the driver: npm install pg", { cause })
  }
}
