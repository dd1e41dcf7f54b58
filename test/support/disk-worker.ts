// One process that writes to a store, one write after another, and tells how each ended. What may stand under each key afterwards is
// kept exactly: an acknowledged write stands, one that says that nothing happened does not, of an unknown one nobody knows. A read
// in between that gives anything else ends the process with a line. So a test may let any call of the file system fail.

import { CoatcheckError } from "coatcheck"
import { openStore } from "coatcheck/open"

/** How a run of writes ended. */
export interface DiskRun {
  /** Codes of writes that were not acknowledged. */
  readonly failed: readonly string[]
  /** Key to the values that may stand there; null: nothing. */
  readonly may: Readonly<Record<string, readonly (string | null)[]>>
}

const WRITES = 11
const KEYS = 3
const [url = ""] = process.argv.slice(2)
const store = await openStore(url, { report: () => {}, deadline: "60s" })
const may: Record<string, (string | null)[]> = {}
let writes = 0

async function attempt(work: () => Promise<unknown>): Promise<string> {
  try {
    await work()
    return "ok"
  } catch (error) {
    if (error instanceof CoatcheckError) return error.code
    throw error
  }
}

async function check(key: string): Promise<void> {
  const value = await store.get(key).then(
    (entry) => entry?.value ?? null,
    () => undefined, // a read that fails says nothing
  )
  if (value === undefined) return
  if (!(may[key] ?? [null]).includes(value)) throw new Error(`Under ${key} stands ${value}, which was never promised`)
  may[key] = [value]
}

async function run(): Promise<DiskRun> {
  const failed: string[] = []
  for (let left = WRITES; left > 0; left--) {
    writes += 1
    const key = `k${writes % KEYS}`
    const value = writes % 4 === 0 ? null : String(writes)
    const code = await attempt(() =>
      value === null ? store.delete(key) : store.set(key, value, { owner: `owner ${writes % 5}` }),
    )
    if (code === "ok") may[key] = [value]
    else failed.push(code)
    if (code === "unknown-outcome") may[key] = [...(may[key] ?? [null]), value]
    await check(key)
  }
  return { failed, may }
}

async function answer(): Promise<void> {
  try {
    process.send?.(await run())
  } catch (error) {
    console.error(String(error))
    process.exit(1)
  }
}

process.on("message", () => void answer())
process.send?.("ready")
