// One file a record in one folder: for learning, because a record can be looked at with `cat`, and for small sites that want no database.
// Any number of processes of one host may share the folder. What was acknowledged survives the end of the process, kill -9 and power
// loss: each write is a new file that is synced, renamed into its place, and acknowledged when the folder is synced too. SQLite does the
// same with one sync for many writes and lists in order; take ./sqlite.ts when it matters how fast.
// This file is the door; ./file/folder.ts opens the folder without harm, ./file/store.ts is the store.

import type { Clock, Duration } from "../core/clock.ts"
import { milliseconds, systemClock } from "../core/clock.ts"
import { warn } from "../core/contract.ts"
import { checkOptions } from "../core/options.ts"
import type { Report, Store } from "../core/store.ts"
import { limits } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"
import { openFolder } from "./file/folder.ts"
import { storeIn } from "./file/store.ts"

/** Settings of `fileStore`, each with a default. */
export interface FileStoreOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told of damaged records, by the names of their files, of a folder that others may enter, and of sweeps that failed. Default: a line on stderr. */
  readonly report?: Report
  /** How long a write may take, waiting for another process's lock included. Default "1s". */
  readonly deadline?: Duration
  /** The longest value, in bytes of UTF-8. Default 1 MiB. */
  readonly maxValueBytes?: number
}

/**
 * A store in the folder at `path`; made, mode 700, when there is none. Several processes of one host may open it at once.
 *
 * Every write is on disk when it is acknowledged. Listings are in no order of keys; one with a prefix reads every record, one of an
 * owner that owner's alone. `count` takes names only: expired records that were not swept yet are counted, more than 10,000
 * are guessed, and with a prefix it is null. Needs a local file system with hard links, so not Windows.
 *
 * @throws TypeError when the path is empty or a setting makes no sense.
 * @throws CoatcheckError `corrupt` when the folder holds something else or is newer, which leaves it as it is; `denied` when this process may
 *   not use it; `unavailable` or `full` when it can't be made or used; `unsupported` on Windows.
 */
export async function fileStore(path: string, options: FileStoreOptions = {}): Promise<Store> {
  checkOptions<FileStoreOptions>("fileStore", options, {
    clock: true,
    report: true,
    deadline: true,
    maxValueBytes: true,
  })
  const { clock = systemClock, report = warn, maxValueBytes = limits.valueBytes } = options
  if (typeof path !== "string" || path === "") throw new TypeError("fileStore needs the path of a folder")
  if (!Number.isSafeInteger(maxValueBytes) || maxValueBytes < 1) {
    throw new TypeError("maxValueBytes must be a positive whole number")
  }
  const deadline = milliseconds(options.deadline ?? "1s", "deadline")
  if (process.platform === "win32") {
    const message =
      "The file store needs modes, hard links and folders that can be synced, which Windows has not: take sqlite:"
    throw new CoatcheckError("unsupported", message)
  }
  return storeIn(await openFolder(path, report), { clock, report, deadline, maxValueBytes })
}
