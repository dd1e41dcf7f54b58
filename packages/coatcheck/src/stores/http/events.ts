// What changes behind the service, over a connection of its own that stays open. It is there as long as somebody watches; whatever
// happens to it, the watchers are told no more than that anything may have changed, and the channel mends itself.
//
// Two things can't be known and are made up for. A channel that is down misses changes, and a service whose engine others write to
// past it may not hear of theirs. In both cases null is told again and again, every few seconds, until the channel is good: so a copy
// that was made meanwhile is old by that much at the worst, and nobody has to ask how the channel does. A connection
// that says nothing is a dead one, because the service promises a sign of life.
//
// Neither the connection nor its timers hold the process.

import * as http from "node:http"
import * as https from "node:https"
import type { Report } from "../../core/store.ts"
import { eventReader, eventsPath, eventsType, type StreamEvent } from "../../protocol/events.ts"
import type { HttpAddress } from "./address.ts"

/** The changes behind one address. */
export interface EventChannel {
  /** As the contract's `watch`. */
  watch(onChange: (key: string | null) => void): () => void
  /** Ends it; nobody is told anything from here on. */
  close(): void
}

const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2_000
/** So many signs of life may be late. */
const HEARTBEATS = 3
/** Statuses of those who will not say yes tomorrow either, and what to do. */
const refusals: Readonly<Record<number, string>> = {
  401: "wants a token to tell changes: check COATCHECK_TOKEN",
  403: "tells changes to tokens with the scope read only: check COATCHECK_TOKEN",
  404: "tells no changes, it is an older one: put a newer one there",
  421: "does not go by that host name: serve it with --allow-host",
}

/**
 * The channel to the service at `address`.
 *
 * @param deadline - ms until a connection must have said what it is good for
 * @param report - told once of each reason for which the channel can't be good
 */
export function eventChannel(address: HttpAddress, deadline: number, report: Report): EventChannel {
  const request = address.secure ? https.request : http.request
  const headers: http.OutgoingHttpHeaders = { accept: eventsType }
  if (address.authorization !== null) headers["authorization"] = address.authorization
  const watchers = new Set<{ readonly onChange: (key: string | null) => void }>()
  const told = new Set<string>()
  let pause = FIRST_PAUSE_MS
  let disconnect: (() => void) | null = null
  let retry: NodeJS.Timeout | undefined
  let closed = false

  function tell(key: string | null): void {
    for (const { onChange } of watchers) onChange(key)
  }

  function warn(message: string): void {
    if (told.has(message)) return
    told.add(message)
    report({ store: "http", kind: "warning", message: `The service at ${address.origin} ${message}` })
  }

  function connect(): void {
    let over = false
    let opened = false
    let coherent = false
    const exchange = request({
      agent: false,
      host: address.host,
      port: address.port,
      path: address.base + eventsPath(),
      headers,
    })
    let silence = setTimeout(broken, deadline).unref()

    function broken(): void {
      if (over) return
      end()
      tell(null)
      if (watchers.size === 0 || closed) return // a watcher may have stopped it just now
      retry = setTimeout(connect, pause * (0.5 + Math.random() / 2)).unref()
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS)
    }

    function end(): void {
      over = true
      disconnect = null
      clearTimeout(silence)
      exchange.destroy()
    }

    function onEvent(event: StreamEvent): void {
      if (over) return
      if (event.type === "change") return tell(event.key)
      if (event.type === "alive") return coherent ? undefined : tell(null)
      pause = FIRST_PAUSE_MS
      opened = true
      coherent = event.coherent
      if (!coherent) {
        warn("does not hear what other processes write to its store: let every write go through this one service")
      }
      clearTimeout(silence)
      silence = setTimeout(broken, Math.max(deadline, HEARTBEATS * event.heartbeat)).unref()
      tell(null)
    }

    exchange.on("socket", (socket) => socket.unref())
    exchange.on("error", broken)
    exchange.on("response", (response) => {
      response.on("error", broken)
      response.on("close", broken)
      if (response.statusCode !== 200 || response.headers["content-type"]?.startsWith(eventsType) !== true) {
        const refusal = refusals[response.statusCode ?? 0]
        if (refusal !== undefined) warn(refusal)
        broken()
        return
      }
      const read = eventReader(onEvent)
      response.setEncoding("utf8")
      response.on("data", (text: string) => {
        if (opened) silence.refresh() // a proxy may keep a stream alive that has nobody behind it
        try {
          read(text)
        } catch {
          return broken() // somebody else answers there; the verbs say so
        }
      })
    })
    exchange.end()
    disconnect = end
  }

  function stop(): void {
    clearTimeout(retry)
    disconnect?.()
    pause = FIRST_PAUSE_MS
  }

  return {
    watch(onChange) {
      const watcher = { onChange }
      if (closed) return () => {}
      watchers.add(watcher)
      if (watchers.size === 1) connect()
      return () => {
        if (watchers.delete(watcher) && watchers.size === 0) stop()
      }
    },
    close() {
      closed = true
      watchers.clear()
      stop()
    },
  }
}
