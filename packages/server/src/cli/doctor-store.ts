// The doctor's visit to a store: can it be opened, does it answer, how fast is it, what does it promise, if allowed, does an entry
// come back as it was written, and is every record whole. A store that keeps a file would make one that is not there; a doctor must not, so it looks first.

import { access, constants } from "node:fs/promises"
import { join } from "node:path"
import type { Store, StoreReport } from "coatcheck"
import { openStore } from "coatcheck/open"
import { examine, type Finding, PROBE_MS, probeKey, roundTrips, type Verdict } from "./checks.ts"
import { explain, Failure, systemCode, UsageError } from "./fail.ts"
import { intact } from "./intact.ts"
import { storeName } from "./store-name.ts"

/** Damaged records that are named one by one. */
const NAMED = 20

/**
 * Examines a store; the first failed check is the last. What the store reports in the meantime becomes a warning each, but for
 * damaged records, which are counted.
 *
 * @param note gets a line for the person who waits, while a long listing is read.
 * @throws UsageError when the URL is none of a store
 */
export async function* examineStore(
  url: string,
  mayWrite: boolean,
  note: (line: string) => void,
): AsyncGenerator<Finding> {
  const reports: StoreReport[] = []
  let store: Store
  try {
    store = await open(url, (report) => reports.push(report))
  } catch (error) {
    if (error instanceof UsageError) throw error
    yield { level: "fail", check: "open", text: explain(error) }
    return
  }
  const damaged = (): number => reports.filter(({ kind }) => kind === "damaged").length
  const visit: Readonly<Record<string, () => Promise<Verdict>>> = {
    open: async () => ["ok", `${storeName(url)} (${store.info.name}) opens`],
    reach: () => reach(store),
    keeps: async () => keeps(store),
    speed: () => roundTrips(() => store.get("coatcheck-doctor")),
    ...(mayWrite ? { write: () => write(store) } : {}),
    intact: () => intact(store, damaged, note),
  }
  try {
    for (const [check, look] of Object.entries(visit)) {
      const finding = await examine(check, look)
      yield finding
      if (check === "intact") yield* namedDamage(store, reports)
      if (finding.level === "fail") break
    }
    for (const { kind, message } of reports) if (kind !== "damaged") yield { level: "warn", check: kind, text: message }
  } finally {
    await store.close()
  }
}

/** The damaged records by name, where the store knows one that says nothing of its key: the name of a file. */
function* namedDamage({ info }: Store, reports: readonly StoreReport[]): Generator<Finding> {
  if (info.name !== "file") return
  const damaged = reports.filter(({ kind }) => kind === "damaged")
  for (const { kind, message } of damaged.slice(0, NAMED)) yield { level: "warn", check: kind, text: message }
  const more = damaged.length - NAMED
  if (more > 0)
    yield { level: "warn", check: "damaged", text: `${more} more; run the doctor again when these are dealt with` }
}

async function open(url: string, report: (report: StoreReport) => void): Promise<Store> {
  const [, scheme = "", file] = /^(sqlite|file):(?:\/\/(?=\/))?([^?]+)/i.exec(url) ?? []
  if (file !== undefined && file !== ":memory:") await mustExist(file)
  if (file !== undefined && scheme.toLowerCase() === "file") await mustBeAStore(file)
  try {
    return await openStore(url, { report })
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message, { cause: error })
    throw error
  }
}

async function mustExist(file: string): Promise<void> {
  try {
    await access(file, constants.R_OK)
  } catch (cause) {
    const reason =
      systemCode(cause) === "ENOENT" ? "is not there; coatcheck serve would make it" : "may not be read by this user"
    throw new Failure(`${file} ${reason}`, { cause })
  }
}

/** An empty folder would be made a store by opening it. */
async function mustBeAStore(folder: string): Promise<void> {
  try {
    await access(join(folder, "coatcheck"))
  } catch (cause) {
    throw new Failure(`${folder} holds no store of files; name the folder of one`, { cause })
  }
}

async function reach(store: Store): Promise<Verdict> {
  const { entries } = await store.list({ limit: 1, values: false })
  return ["ok", entries.length > 0 ? "it answers, and holds something" : "it answers, and is empty"]
}

function keeps({ info }: Store): Verdict {
  const shared = info.shared ? "several processes may use it at once" : "for one process"
  if (!info.atomic) return ["warn", "it knows no conditions: parallel changes of a session can be lost"]
  if (!info.durable) return ["warn", `volatile: what it holds is gone when the process ends; ${shared}`]
  return ["ok", `durable; ${shared}`]
}

async function write(store: Store): Promise<Verdict> {
  const key = probeKey()
  const value = JSON.stringify(key)
  const written = await store.set(key, value, { if: "absent", expiresAt: Date.now() + PROBE_MS })
  const read = await store.get(key)
  const removed = await store.delete(key)
  if (!written.ok || read?.value !== value || !removed.ok || removed.removed?.value !== value) {
    throw new Failure("an entry did not come back as it was written")
  }
  return ["ok", "an entry was written, read back and removed"]
}
