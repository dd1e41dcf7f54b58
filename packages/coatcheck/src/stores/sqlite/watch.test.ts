import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, describe, expect, it, vi } from "vitest"
import type { Store } from "../../core/store.ts"
import { cachedStore } from "../cached.ts"
import { sqliteStore } from "../sqlite.ts"
import type { SqliteDatabase } from "./driver.ts"
import { fileWatch } from "./watch.ts"

const folder = mkdtempSync(join(tmpdir(), "coatcheck-sqlite-watch-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

let files = 0
/** Two handles on one file, as two processes have them. */
async function pair(): Promise<[Store, Store]> {
  const path = join(folder, `${++files}.db`)
  const stores = [await sqliteStore(path), await sqliteStore(path)] as const
  for (const store of stores) closers.push(() => store.close())
  return [...stores]
}

/** Resolves when a store tells of a change; the function counts those told so far. */
function heard(store: Store): { next(): Promise<void>; count(): number; stop(): void } {
  let told = 0
  let wake = (): void => {}
  const stop = store.watch?.((key) => {
    expect(key).toBeNull()
    told++
    wake()
  })
  return {
    next: () =>
      new Promise((resolve) => {
        wake = resolve
      }),
    count: () => told,
    stop: () => stop?.(),
  }
}

describe("watching a SQLite file", () => {
  it("tells what another connection writes, moves and removes, and nothing of its own", async () => {
    const [store, other] = await pair()
    const changes = heard(store)
    await store.set("own", "1")
    const told = changes.next()
    await other.set("k", "1")
    await told
    expect(changes.count()).toBe(1)
    expect(await store.get("k")).toMatchObject({ value: "1" }) // what is told can be read
    for (const change of [() => other.touch("k", Date.now() + 60_000), () => other.delete("k")]) {
      const next = changes.next()
      await change()
      await next
    }
    await store.set("own", "2")
    await store.delete("own")
    const next = changes.next()
    await other.set("last", "1")
    await next
    expect(changes.count()).toBe(4)
    changes.stop()
    changes.stop()
  })

  it("tells every watcher until it stops or the store is closed", async () => {
    const [store, other] = await pair()
    const [first, second] = [heard(store), heard(store)]
    const both = Promise.all([first.next(), second.next()])
    await other.set("k", "1")
    await both
    first.stop()
    const next = second.next()
    await other.set("k", "2")
    await next
    expect([first.count(), second.count()]).toEqual([1, 2])
    await store.close()
    first.stop()
    const prepared = { prepare: () => ({ get: () => ({ data_version: 1 }) }) } as unknown as SqliteDatabase // all that it asks for
    const closed = fileWatch(prepared)
    closed.close()
    const timers = vi.spyOn(globalThis, "setInterval")
    closed.watch(() => {})
    expect(timers).not.toHaveBeenCalled()
    timers.mockRestore()
  })

  it("holds no process, and no timer once nobody watches", async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length
    const before = timers()
    const [store] = await pair()
    const changes = heard(store)
    expect(timers()).toBe(before)
    changes.stop()
  })

  it("says that anything may have changed while it can't be told", async () => {
    const answers = [1, 1, "fails", 2, 2] as const
    let asked = 0
    const db = {
      prepare: () => ({
        get: () => {
          const answer = answers[Math.min(asked++, answers.length - 1)]
          if (answer === "fails") throw new Error("disk I/O error")
          return { data_version: answer }
        },
      }),
    } as unknown as SqliteDatabase // all that it asks for
    const told: number[] = []
    await new Promise<void>((resolve) => {
      const watching = fileWatch(db)
      watching.watch(() => {
        told.push(asked)
        if (told.length === 2) {
          watching.close()
          resolve()
        }
      })
    })
    expect(told).toEqual([3, 4])
  })
})

describe("a near-cache over SQLite", () => {
  it("sees what another process writes as soon as the file tells, long before its age is up", async () => {
    const [one, other] = await pair()
    const cached = cachedStore(one, { maxAge: "1h" })
    await cached.set("k", "1", { if: "absent" })
    const changes = heard(cached)
    await other.set("k", "2")
    expect(await cached.get("k", { fresh: true })).toMatchObject({ value: "2" })
    await other.delete("k")
    let entry: unknown
    for (;;) {
      const told = changes.next()
      entry = await cached.get("k")
      if (entry === null) break
      await told
    }
    expect(entry).toBeNull()
    changes.stop()
  })
})
