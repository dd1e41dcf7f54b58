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
const ASK_EVERY_MS = 5_000
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
    try {
      const client = await pool.connect()
      connecting = false
      await listen(client)
    } catch (error) {
      connecting = false
      if (watchers.size > 0) lost(error)
    }
  }

  async function listen(client: PostgresClient): Promise<void> {
    const mine: Channel = { client, timer: undefined }
    open = mine
    client.on("error", onLost)
    client.on("end", onEnd)
    client.on("notification", onNotification)
    await ask(mine, `LISTEN "${channel}"`)
    if (open !== mine) return
    failures = 0
    tell(null)
    rest(mine)
  }

  /** Asks whether the connection is there, again and again. */
  function rest(mine: Channel): void {
    mine.timer = setTimeout(() => {
      ask(mine, "SELECT 1").then(() => open === mine && rest(mine), onLost)
    }, ASK_EVERY_MS).unref()
  }

  /** Rejects when the answer does not come in time. */
  async function ask({ client }: Channel, text: string): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("The server did not answer")), within).unref()
    })
    try {
      await Promise.race([client.query({ text, values: [], rowMode: "array", types: asText }), tooLate])
    } finally {
      clearTimeout(timer)
    }
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
