// The embedded default: entries in one SQLite file, on one host, for any number of processes, without a server. What was
// acknowledged survives the end of the process, kill -9 and power loss, because a write is answered after the COMMIT that
// synced it to disk. This file is the door; ./sqlite/file.ts opens the file without harm, ./sqlite/store.ts is the store.

import { resolve } from "node:path"
import type { Clock, Duration } from "../core/clock.ts"
import { milliseconds, systemClock } from "../core/clock.ts"
import { warn } from "../core/contract.ts"
import { checkOptions } from "../core/options.ts"
import type { Report, Store } from "../core/store.ts"
import { limits } from "../core/store.ts"
import { loadSqlite } from "./sqlite/driver.ts"
import { isOpenToOthers, openFile, placeOf } from "./sqlite/file.ts"
import { SQLITE, storeOn } from "./sqlite/store.ts"

/** Settings of `sqliteStore`, each with a default. */
export interface SqliteStoreOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told of damaged records, of a file that others may read, and of sweeps that failed. Default: a line on stderr. */
  readonly report?: Report
  /** How long a call waits for another process's lock before it rejects with `unavailable`. Default "1s". */
  readonly deadline?: Duration
  /** The longest value, in bytes of UTF-8. Default 1 MiB. */
  readonly maxValueBytes?: number
}

/**
 * A store in the SQLite file at `path`; made, with its folder, when there is none. Several processes may open it at once.
 *
 * Every write is on disk when it is acknowledged. `count` is exact up to 10,000 entries (expired ones that were not swept
 * yet included) and null beyond. Needs Node 22.13, Bun or Deno, or the package @photostructure/sqlite.
 *
 * @throws TypeError when the path is empty or a setting makes no sense.
 * @throws CoatcheckError `unsupported` without SQLite; `corrupt` when the file is damaged, newer or another application's, which
 *   leaves it as it is; `unavailable` when file or folder can't be written.
 */
export async function sqliteStore(path: string, options: SqliteStoreOptions = {}): Promise<Store> {
  checkOptions<SqliteStoreOptions>("sqliteStore", options, {
    clock: true,
    report: true,
    deadline: true,
    maxValueBytes: true,
  })
  const { clock = systemClock, report = warn, maxValueBytes = limits.valueBytes } = options
  if (typeof path !== "string" || path === "") throw new TypeError("sqliteStore needs the path of a file")
  if (path.startsWith(":memory:")) throw new TypeError("sqliteStore keeps a file; for memory use memoryStore")
  if (!Number.isSafeInteger(maxValueBytes) || maxValueBytes < 1) {
    throw new TypeError("maxValueBytes must be a positive whole number")
  }
  const patience = milliseconds(options.deadline ?? "1s", "deadline")
  const file = resolve(path)
  const db = await openFile(await loadSqlite(), file, clock)
  if (isOpenToOthers(file)) {
    report({ store: SQLITE, kind: "warning", message: "Any user of this machine may read the file: chmod 600 it" })
  }
  return storeOn(db, { clock, report, patience, maxValueBytes, isInPlace: placeOf(file) })
}
