// Changes as they are committed, by LISTEN on a connection of its own. Every write of a store with the option sends the key with its
// commit; Postgres hands it to all who listen.
//
// A listener that is not sure says so: null, meaning anything may have changed, when the connection broke, and again when a new one
// listens, because what was told in between is lost. A connection that is dead without a word is found by a question every few
// seconds. It lives while somebody watches, and holds no process.

import { asText, type PostgresClient, type PostgresNotification, type PostgresPool } from "./driver.ts"

/** Who wants to know. */
export type Watcher = (key: string | null) => void

/** The changes of one table. */
export interface Watches {
  /** Calls back with each key that changed, or null. Returns the way to stop. */
  watch(onChange: Watcher): () => void
  close(): void
}

/** How often a silent connection is asked whether it is there. */
const ASK_EVERY_MS = 3_000
const RETRY_MS = 100
const LONGEST_RETRY_MS = 5_000

interface Channel {
  readonly client: PostgresClient
  timer: NodeJS.Timeout | undefined
}

/**
 * The changes told on a channel.
 *
 * @param within - ms that the server has for an answer
 * @param failed - told why the connection was lost; a new one will be made
 */
export function watches(
  pool: PostgresPool,
  channel: string,
  within: number,
  failed: (cause: unknown) => void,
): Watches {
  const watchers = new Set<Watcher>()
  let open: Channel | null = null
  let connecting = false
  let failures = 0
  let retry: NodeJS.Timeout | undefined

  function tell(key: string | null): void {
    for (const watcher of watchers) watcher(key)
  }

  async function connect(): Promise<void> {
    if (connecting || open !== null || watchers.size === 0) return
    connecting = true
    let client: PostgresClient
    try {
      client = await pool.connect()
    } catch (error) {
      connecting = false
      if (watchers.size > 0) lost(error)
      return
    }
    connecting = false
    if (watchers.size === 0) client.release()
    else listen({ client, timer: undefined })
  }

  function listen(mine: Channel): void {
    const { client } = mine
    open = mine
    client.on("error", onLost)
    client.on("end", onEnd)
    client.on("notification", onNotification)
    ask(mine, `LISTEN "${channel}"`, () => {
      failures = 0
      tell(null)
      rest(mine)
    })
  }

  /** Asks whether the connection is there, again and again. */
  function rest(mine: Channel): void {
    mine.timer = setTimeout(() => ask(mine, "SELECT 1", () => rest(mine)), ASK_EVERY_MS).unref()
  }

  /** Goes on with `answered`, or has lost the connection when the answer does not come in time. */
  function ask(mine: Channel, text: string, answered: () => void): void {
    const failing = (cause: unknown): void => {
      if (open === mine) onLost(cause)
    }
    mine.timer = setTimeout(() => failing(new Error("The server did not answer")), within).unref()
    mine.client.query({ text, values: [], rowMode: "array", types: asText }).then(() => {
      if (open !== mine) return
      clearTimeout(mine.timer)
      answered()
    }, failing)
  }

  function onNotification(notification: PostgresNotification): void {
    if (notification.channel === channel) tell(notification.payload ?? null)
  }

  function onEnd(): void {
    onLost(new Error("The server closed the connection"))
  }

  function onLost(cause: unknown): void {
    if (open === null) return
    drop()
    lost(cause)
  }

  function lost(cause: unknown): void {
    tell(null)
    if (failures === 0) failed(cause)
    const ms = Math.min(RETRY_MS * 2 ** failures, LONGEST_RETRY_MS) * (0.5 + Math.random() / 2)
    failures++
    clearTimeout(retry)
    retry = setTimeout(() => void connect(), ms).unref()
  }

  /** Closes the connection: it would go back to its pool listening. */
  function drop(): void {
    if (open === null) return
    const { client, timer } = open
    open = null
    clearTimeout(timer)
    client.removeListener("end", onEnd)
    client.removeListener("notification", onNotification)
    client.release(true)
    client.removeListener("error", onLost) // only now: the pool listens again
  }

  return {
    watch(onChange) {
      const watcher: Watcher = (key) => onChange(key) // its own, so that the same function may watch twice
      watchers.add(watcher)
      void connect()
      return () => {
        watchers.delete(watcher)
        if (watchers.size === 0) drop()
      }
    },
    close() {
      watchers.clear()
      clearTimeout(retry)
      drop()
    },
  }
}
