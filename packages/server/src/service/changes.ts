// What changes, told to whoever listens. The service knows of the writes that it makes itself; where the engine has a `watch`, it tells
// the writes of everybody else too. Where several processes may use the engine and it has none, what the others write stays
// unknown, and the stream says so at its beginning.
//
// A change is told when its call has ended, well or not known how: told earlier, a listener could read the old value once more and keep
// it. What surely did not happen is not told. The changes of one tick leave together. Ends that come are not told, since
// every entry carries its own.
//
// Listeners that can't keep up must not fill memory, and a change must not be dropped in silence: one that lets more pile up than its
// bound is cut off, and has to take it that everything has changed.

import { CoatcheckError, type ErrorCode, type Store } from "coatcheck"
import { formatChange, heartbeat } from "coatcheck/protocol"

/** The verbs that the service uses. */
export type ServedStore = Pick<Store, "info" | "get" | "set" | "touch" | "delete" | "list">

/** Somebody who is told. */
export interface Listener {
  /** Only keys that begin with this text; "" for all. */
  readonly prefix: string
  /** Takes a piece of the stream. */
  send(text: string): void
  /** The service stops: the stream is to end. */
  end(): void
}

/** The changes of one store. */
export interface Changes {
  /** The store, which tells from here on what is written through it. */
  readonly store: ServedStore
  /** Whether the writes of every process are told. */
  readonly coherent: boolean
  /** How many listen. */
  readonly count: number
  /** Adds a listener; the function ends it. */
  listen(listener: Listener): () => void
  /** Ends every listener's stream. */
  end(): void
}

// Of a call that failed so, nothing was written.
const nothingHappened: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "unavailable",
  "full",
  "invalid",
  "too-large",
  "unsupported",
  "denied",
  "closed",
])

/** The changes of a store, with a sign of life every `heartbeatMs` for whoever listens. */
export function changesOf(store: Store, heartbeatMs: number): Changes {
  const listeners = new Set<Listener>()
  let pending = new Set<string | null>()
  let unwatch: (() => void) | undefined
  let timer: NodeJS.Timeout | undefined

  function tell(key: string | null): void {
    if (listeners.size === 0) return
    if (pending.size === 0) setImmediate(flush)
    pending.add(key)
  }

  function flush(): void {
    const keys = pending
    pending = new Set()
    if (keys.has(null)) return sendAll(formatChange(null))
    let all: string | undefined
    for (const listener of listeners) {
      if (listener.prefix === "") listener.send((all ??= textOf(keys, "")))
      else if (isTouched(keys, listener.prefix)) listener.send(textOf(keys, listener.prefix))
    }
  }

  function sendAll(text: string): void {
    for (const listener of listeners) listener.send(text)
  }

  async function told<Result extends { readonly ok: boolean }>(key: string, call: Promise<Result>): Promise<Result> {
    try {
      const outcome = await call
      if (outcome.ok) tell(key)
      return outcome
    } catch (error) {
      if (!(error instanceof CoatcheckError && nothingHappened.has(error.code))) tell(key)
      throw error
    }
  }

  function listen(listener: Listener): () => void {
    if (listeners.size === 0) {
      unwatch = store.watch?.(tell) // first: one that throws leaves nobody behind
      timer = setInterval(() => sendAll(heartbeat), heartbeatMs).unref()
    }
    listeners.add(listener)
    return () => {
      if (!listeners.delete(listener) || listeners.size > 0) return
      clearInterval(timer)
      unwatch?.()
    }
  }

  return {
    store: {
      info: store.info,
      get: (key, options) => store.get(key, options),
      set: (key, value, options) => told(key, store.set(key, value, options)),
      touch: (key, expiresAt, options) => told(key, store.touch(key, expiresAt, options)),
      delete: (key, options) => told(key, store.delete(key, options)),
      list: (query) => store.list(query),
    },
    coherent: store.watch !== undefined || !store.info.shared,
    get count() {
      return listeners.size
    },
    listen,
    end() {
      for (const listener of listeners) listener.end()
    },
  }
}

function isTouched(keys: ReadonlySet<string | null>, prefix: string): boolean {
  for (const key of keys) if (key?.startsWith(prefix)) return true
  return false
}

function textOf(keys: ReadonlySet<string | null>, prefix: string): string {
  let text = ""
  for (const key of keys) if (key?.startsWith(prefix)) text += formatChange(key)
  return text
}
