// Whether another connection, of this process or of another one, has changed the file: SQLite counts that in `data_version`, a number
// that this connection's own commits don't move. It does not say which keys, so watchers are told that anything may have changed.
//
// It is asked ten times a second, two microseconds each, as long as somebody watches, by a timer that holds no process. Rejected:
// watching the log file (inotify tells of it before the commit is visible, and of our own writes too), a table of changes
// (each write would write twice).

import type { SqliteDatabase } from "./driver.ts"

/** Others see a change so many milliseconds later at the most, while their event loop turns. */
const WATCH_EVERY_MS = 100

/** The watchers of one connection. */
export interface FileWatch {
  /** As the contract's `watch`; tells null alone. */
  watch(onChange: (key: null) => void): () => void
  /** Nobody is told anything from here on. */
  close(): void
}

/** Watches the file of a connection. */
export function fileWatch(db: SqliteDatabase): FileWatch {
  const ask = db.prepare("PRAGMA data_version")
  const watchers = new Set<{ readonly onChange: (key: null) => void }>()
  let timer: NodeJS.Timeout | undefined
  let seen: number | null = null
  let isClosed = false

  /** null: it can't be told now. */
  function version(): number | null {
    try {
      return Number((ask.get() as { data_version: number | bigint }).data_version) // this pragma answers with one row
    } catch {
      return null // a lock or a failing disk, which the verbs tell of
    }
  }

  function look(): void {
    const now = version()
    if (now !== null && now === seen) return
    seen = now
    for (const { onChange } of watchers) onChange(null)
  }

  function stop(): void {
    clearInterval(timer)
    timer = undefined
  }

  return {
    watch(onChange) {
      if (isClosed) return () => {}
      const watcher = { onChange }
      watchers.add(watcher)
      if (timer === undefined) {
        seen = version()
        timer = setInterval(look, WATCH_EVERY_MS).unref()
      }
      return () => {
        if (watchers.delete(watcher) && watchers.size === 0) stop()
      }
    },
    close() {
      isClosed = true
      watchers.clear()
      stop()
    },
  }
}
