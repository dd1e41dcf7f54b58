import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import type { Store, StoreReport } from "../../core/store.ts"
import { type FakeClock, fakeClock } from "../../testing/fake-clock.ts"
import { loadSqlite, type OpenDatabase, type SqliteDatabase, type SqliteValue } from "./driver.ts"
import { openFile, placeOf } from "./file.ts"
import { storeOn } from "./store.ts"

let folder = ""
let open: OpenDatabase
let files = 0
beforeAll(async () => {
  folder = fs.mkdtempSync(join(fs.existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "coatcheck-sqlite-store-"))
  open = await loadSqlite()
})
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

/** Called before each statement; what it throws, the statement throws. */
type Watch = (sql: string) => void

interface Rig {
  readonly path: string
  readonly store: Store
  readonly clock: FakeClock
  readonly reports: StoreReport[]
  /** Looks at every statement from now on. */
  watch(watch: Watch): void
  /** A connection of its own to the same file, as another process has. */
  other(): SqliteDatabase
}

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

/** A store on a real file, through a connection that can be made to fail. */
async function rig(path = join(folder, `${++files}.db`)): Promise<Rig> {
  const clock = fakeClock()
  const reports: StoreReport[] = []
  let watch: Watch = () => {}
  const db = await openFile(open, path, clock)
  const watched: SqliteDatabase = {
    exec: (sql) => {
      watch(sql)
      db.exec(sql)
    },
    prepare: (sql) => {
      const statement = db.prepare(sql)
      const seen = <Result>(call: (...values: SqliteValue[]) => Result) => {
        return (...values: SqliteValue[]): Result => {
          watch(sql)
          return call(...values)
        }
      }
      return {
        run: seen((...values) => statement.run(...values)),
        get: seen((...values) => statement.get(...values)),
        all: seen((...values) => statement.all(...values)),
      }
    },
    close: () => db.close(),
  }
  const report = (one: StoreReport): void => {
    reports.push(one)
  }
  const store = storeOn(watched, { clock, report, patience: 1_000, maxValueBytes: 1_048_576, isInPlace: placeOf(path) })
  closers.push(() => store.close())
  return {
    path,
    store,
    clock,
    reports,
    watch: (next) => {
      watch = next
    },
    other: () => {
      const connection = open(path, { readOnly: false })
      closers.push(() => connection.close())
      return connection
    },
  }
}

/** An error as SQLite throws it. */
function sqliteError(errcode: number): Error {
  return Object.assign(new Error(`SQLite says ${errcode}`), { code: "ERR_SQLITE_ERROR", errcode })
}

const BUSY = 5
const CORRUPT = 11
const FULL = 13
const IO_ERROR_READ = 266
const IO_ERROR_WRITE = 778
const IO_ERROR_SYNC = 1_034

/** One turn of the event loop. */
const turn = (): Promise<void> => new Promise(setImmediate)

describe("a file that is removed or replaced while it is open", () => {
  it("REL-02: takes no write that would be gone with the process, and takes them again when it is back", async () => {
    const { store, path } = await rig()
    await store.set("k", "1")
    const refused = async (): Promise<void> => {
      const writes = [store.set("k", "2"), store.touch("k", null), store.delete("k")]
      for (const write of writes) await expect(write).rejects.toMatchObject({ code: "unavailable" })
    }
    fs.renameSync(path, `${path}.away`)
    await refused()
    fs.copyFileSync(`${path}.away`, path)
    await refused()
    fs.renameSync(`${path}.away`, path)
    expect(await store.set("k", "3")).toMatchObject({ ok: true })
    expect(await store.get("k")).toMatchObject({ value: "3" })
  })
})

describe("calls of one tick share a transaction", () => {
  it("K14 REL-02: writes are done in order, each sees those before it, and all are acknowledged after one COMMIT", async () => {
    const { store, watch } = await rig()
    await store.set("old", "1", { version: "a" })
    const seen: string[] = []
    watch((sql) => seen.push(sql.split(" ")[0] as string))
    const outcomes = await Promise.all([
      store.set("k", "1", { if: "absent", version: "v1" }).finally(() => seen.push("acknowledged")),
      store.set("k", "2", { if: "absent", version: "v2" }),
      store.set("k", "3", { if: { version: "v1" }, version: "v3" }),
      store.touch("k", null, { version: "v1" }),
      store.delete("k", { version: "v3" }),
      store.set("k", "4", { if: { version: "v3" } }),
      store.set("old", "2", { if: { version: "a" }, version: "a" }),
    ])
    const v1 = { key: "k", value: "1", version: "v1", expiresAt: null, owner: null }
    const v3 = { ...v1, value: "3", version: "v3" }
    expect(outcomes).toEqual([
      { ok: true, version: "v1" },
      { ok: false, current: v1 },
      { ok: true, version: "v3" },
      { ok: false, current: v3 },
      { ok: true, removed: v3 },
      { ok: false, current: null },
      { ok: true, version: "a" },
    ])
    expect(seen.filter((word) => word === "BEGIN")).toHaveLength(1)
    expect(seen.indexOf("COMMIT")).toBeGreaterThan(seen.lastIndexOf("SELECT"))
    expect(seen.indexOf("acknowledged")).toBe(seen.indexOf("COMMIT") + 1)
  })

  it("reads share one too, and a single one needs none", async () => {
    const { store, watch } = await rig()
    await Promise.all([store.set("a", "1"), store.set("b", "2")])
    await turn() // the first write looks for what has expired
    await turn()
    const seen: string[] = []
    watch((sql) => seen.push(sql.split(" ")[0] as string))
    await Promise.all([store.get("a"), store.get("b"), store.get("c")])
    expect(seen).toEqual(["BEGIN", "SELECT", "SELECT", "SELECT", "COMMIT"])
    await store.get("a")
    expect(seen.slice(5)).toEqual(["SELECT"])
  })

  it("a thousand writes of one tick take several transactions, so that the event loop turns in between", async () => {
    const { store, watch } = await rig()
    let begun = 0
    watch((sql) => {
      if (sql === "BEGIN IMMEDIATE") begun += 1
    })
    let turns = 0
    let over = false
    const looking = (async () => {
      for (; !over; turns++) await turn()
    })()
    await Promise.all(Array.from({ length: 1_000 }, (_, at) => store.set(`k${at}`, "1")))
    over = true
    await looking
    expect(begun).toBeGreaterThanOrEqual(8)
    expect(turns).toBeGreaterThanOrEqual(8)
  })

  it("what was called before close is done, and is in the file alone", async () => {
    const { store, path } = await rig()
    const writes = Promise.all(Array.from({ length: 300 }, (_, at) => store.set(`k${at}`, "1")))
    await store.close()
    expect((await writes).every((outcome) => outcome.ok)).toBe(true)
    const copy = join(folder, "copy.db")
    fs.copyFileSync(path, copy)
    expect((await (await rig(copy)).store.list({ limit: 1_000 })).entries).toHaveLength(300)
  })
})

describe("closing", () => {
  it("reports a log that can't be moved into the file, and closes; nothing is lost", async () => {
    const { store, path, reports, watch } = await rig()
    await store.set("k", "1")
    watch((sql) => {
      if (sql.includes("wal_checkpoint")) throw sqliteError(IO_ERROR_WRITE)
    })
    await store.close()
    expect(reports).toMatchObject([{ store: "sqlite", kind: "background", cause: { errcode: IO_ERROR_WRITE } }])
    expect(await (await rig(path)).store.get("k")).toMatchObject({ value: "1" })
  })
})

describe("another process holds the lock", () => {
  it("REL-03: a write waits without holding the event loop, and goes through when the lock is free", async () => {
    const { store, clock, other } = await rig()
    await store.set("k", "1", { version: "a" })
    const second = other()
    second.exec("BEGIN IMMEDIATE")
    const writing = store.set("k", "2", { if: { version: "a" } })
    while (clock.sleeping === 0) await turn()
    expect(await store.get("k")).toMatchObject({ value: "1" })
    clock.advance(500)
    while (clock.sleeping === 0) await turn()
    second.exec("ROLLBACK")
    clock.advance(20)
    expect((await writing).ok).toBe(true)
  })

  it("REL-03: a write whose deadline passes rejects with unavailable, and nothing was written", async () => {
    const { store, clock, other } = await rig()
    const second = other()
    second.exec("BEGIN IMMEDIATE")
    const writes = [store.set("a", "1"), store.delete("b"), store.touch("c", null)].map((write) =>
      write.catch((error: unknown) => error),
    )
    let settled = false
    void Promise.all(writes).finally(() => {
      settled = true
    })
    let waited = 0
    for (; !settled; waited += 10) {
      clock.advance(10)
      await turn()
    }
    for (const error of await Promise.all(writes)) {
      expect(error).toMatchObject({ code: "unavailable", retryable: true, message: expect.stringContaining("locked") })
    }
    expect(waited).toBeGreaterThanOrEqual(1_000)
    expect(waited).toBeLessThan(5_000)
    second.exec("ROLLBACK")
    expect(await store.get("a")).toBeNull()
    expect((await store.set("a", "2", { if: "absent" })).ok).toBe(true)
  })

  it("a read that meets a lock waits as well", async () => {
    const { store, clock, watch } = await rig()
    await Promise.all([store.set("a", "1"), store.set("b", "2")])
    let busy = 3
    watch((sql) => {
      if (sql.startsWith("SELECT") && busy-- > 0) throw sqliteError(BUSY)
    })
    const reading = Promise.all([store.get("a"), store.get("b")])
    while (clock.sleeping === 0) await turn()
    clock.advance(20)
    while (clock.sleeping === 0) await turn()
    clock.advance(20)
    expect((await reading).map((entry) => entry?.value)).toEqual(["1", "2"])
  })
})

describe("the disk fails", () => {
  const commitFails: [number, string][] = [
    [FULL, "full"],
    [IO_ERROR_WRITE, "unavailable"],
    [IO_ERROR_SYNC, "unknown-outcome"],
  ]
  for (const [errcode, code] of commitFails) {
    it(`REL-04: a COMMIT that fails with ${errcode} rejects every call of it with ${code}, and the store works on`, async () => {
      const { store, watch } = await rig()
      await store.set("old", "1")
      watch((sql) => {
        if (sql === "COMMIT") throw sqliteError(errcode)
      })
      const writes = await Promise.allSettled([store.set("a", "1"), store.set("old", "2"), store.delete("old")])
      for (const write of writes) {
        expect(write).toMatchObject({ status: "rejected", reason: { code, cause: { errcode } } })
      }
      watch(() => {})
      expect(await store.get("a")).toBeNull()
      expect(await store.get("old")).toMatchObject({ value: "1" })
      expect((await store.set("a", "1", { if: "absent" })).ok).toBe(true)
    })
  }

  it("REL-03: whichever statement fails, the call says so, nothing is half done, and the next call works", async () => {
    const work: ((store: Store) => Promise<unknown>)[] = [
      (store) => Promise.all([store.set("new", "1", { owner: "o" }), store.set("old", "2"), store.delete("gone")]),
      (store) => Promise.all([store.touch("old", 1_900_000_000_000), store.set("old", "3", { owner: "o" })]),
      (store) => Promise.all([store.get("old"), store.get("new")]),
      (store) => store.list({ owner: "o" }),
    ]
    for (const call of work) {
      for (let nth = 1; ; nth++) {
        const { store, watch } = await rig()
        await store.set("old", "1")
        await store.set("gone", "1")
        let statements = 0
        watch((sql) => {
          if (sql !== "ROLLBACK" && ++statements >= nth) throw sqliteError(IO_ERROR_READ)
        })
        const outcome = await call(store).then(
          () => "done",
          (error: unknown) => (error as { code?: unknown }).code,
        )
        const failed = statements >= nth
        watch(() => {})
        if (outcome !== "done") {
          expect(["unavailable", "unknown-outcome"]).toContain(outcome)
          expect(await store.get("new")).toBeNull()
          expect(await store.get("old")).toMatchObject({ value: "1", owner: null, expiresAt: null })
          expect(await store.get("gone")).not.toBeNull()
        }
        expect((await store.set("new", "2")).ok).toBe(true)
        if (!failed) break
        expect(nth).toBeLessThan(30)
      }
    }
  })

  it("REL-03: a statement that fails once fails no call of its transaction", async () => {
    const { store, watch } = await rig()
    let failures = 1
    watch((sql) => {
      if (sql.startsWith("INSERT") && failures-- > 0) throw sqliteError(IO_ERROR_READ)
    })
    const writes = await Promise.all([store.set("a", "1"), store.set("b", "1"), store.set("a", "2", { if: "absent" })])
    expect(writes.map((outcome) => outcome.ok)).toEqual([true, true, false])
    expect(failures).toBeLessThan(0)
  })

  it("F-POW-2: a damaged page fails the calls that meet it, and not those that share their transaction", async () => {
    const { store, watch } = await rig()
    await Promise.all(["a", "b", "c"].map((key) => store.set(key, "1")))
    let lookups = 0
    watch((sql) => {
      if (sql.startsWith("SELECT record") && ++lookups % 3 === 2) throw sqliteError(CORRUPT)
    })
    const writes = await Promise.allSettled([store.set("a", "2"), store.set("b", "2"), store.set("c", "2")])
    const reads = await Promise.allSettled([store.get("a"), store.get("b"), store.get("c")])
    for (const calls of [writes, reads]) {
      const failed = calls.filter((one) => one.status === "rejected")
      expect(failed).toMatchObject([{ reason: { code: "corrupt", retryable: false } }])
    }
  })
})

describe("a damaged record", () => {
  /** Turns one character of a record in the file. */
  function damage(connection: SqliteDatabase, key: string): void {
    connection
      .prepare("UPDATE entries SET record = substr(record, 1, length(record) - 1) || '~' WHERE key = ?")
      .run(key)
  }

  it("F-POW-2: is absent to every verb and reported once an hour, and can be replaced and deleted", async () => {
    const { store, clock, reports, other } = await rig()
    for (const key of ["a", "b", "c", "d", "fine"])
      await store.set(key, '"secret"', { version: `v-${key}`, owner: "o" })
    const second = other()
    for (const key of ["a", "b", "c", "d"]) damage(second, key)
    expect(await store.get("a")).toBeNull()
    expect(await store.set("a", "1", { if: { version: "v-a" } })).toEqual({ ok: false, current: null })
    expect(await store.touch("a", null)).toEqual({ ok: false, current: null })
    expect((await store.list()).entries.map(({ key }) => key)).toEqual(["fine"])
    expect((await store.list({ owner: "o" })).entries.map(({ key }) => key)).toEqual(["fine"])
    expect(reports).toHaveLength(4)
    expect(new Set(reports.map(({ kind }) => kind))).toEqual(new Set(["damaged"]))
    expect(JSON.stringify(reports)).not.toMatch(/secret|"o"|v-a/)
    clock.advance(3_600_000)
    await store.get("a")
    await store.get("a")
    expect(reports).toHaveLength(5)

    expect(await store.set("a", "2", { if: "absent", version: "new" })).toEqual({ ok: true, version: "new" })
    expect(await store.get("a")).toEqual({ key: "a", value: "2", version: "new", expiresAt: null, owner: null })
    await store.set("b", "2")
    expect(await store.get("b")).toMatchObject({ value: "2", owner: null })
    expect(await store.delete("c")).toEqual({ ok: true, removed: null })
    expect(await store.delete("d", { version: "v-d" })).toEqual({ ok: true, removed: null })
    expect(second.prepare("SELECT count(*) AS n FROM entries").get()).toEqual({ n: 3 })
  })

  it("F-POW-2: bits flipped anywhere in the file give no wrong data and no crash", async () => {
    const { path, store } = await rig()
    const keys = Array.from({ length: 120 }, (_, at) => `session:${at}`)
    const values = new Map(keys.map((key, at) => [key, `{"count":${at},"text":"${"abcdefgh".repeat(24)}"}`]))
    for (const [key, value] of values) await store.set(key, value, { owner: "o", version: "v" })
    await store.close()
    const bytes = fs.readFileSync(path)
    let seed = 20_261_120
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((seed / 2 ** 32) * below)
    }
    const seen = { right: 0, absent: 0, refused: 0 }
    for (let round = 0; round < 40; round++) {
      const hurt = Buffer.from(bytes)
      for (let flips = 1 + random(30); flips > 0; flips--) {
        const at = random(hurt.length)
        hurt[at] = (hurt[at] as number) ^ (1 << random(8)) // within bounds
      }
      const copy = join(folder, `flipped-${round}.db`)
      fs.writeFileSync(copy, hurt)
      const opened = await rig(copy).catch((error: unknown) => error)
      if (opened instanceof Error) {
        expect(opened).toMatchObject({ code: "corrupt" })
        seen.refused += 1
        continue
      }
      const hurtStore = (opened as Rig).store
      for (const [key, value] of values) {
        const entry = await hurtStore.get(key).catch((error: unknown) => {
          expect(error).toMatchObject({ code: "corrupt" })
          return null
        })
        if (entry === null) seen.absent += 1
        else {
          seen.right += 1
          expect(entry).toEqual({ key, value, version: "v", expiresAt: null, owner: "o" })
        }
      }
      for (const query of [{}, { owner: "o" }]) {
        const page = await hurtStore.list({ ...query, limit: 1_000 }).catch((error: unknown) => {
          expect(error).toMatchObject({ code: "corrupt" })
          return { entries: [] }
        })
        for (const entry of page.entries) expect(entry.value).toBe(values.get(entry.key))
      }
      await hurtStore.close()
    }
    expect(Object.values(seen).every((count) => count > 0)).toBe(true)
  }, 30_000)
})

describe("what has expired", () => {
  it("X3: is swept in batches by the writes that follow, and nothing else is", async () => {
    const { store, clock, other } = await rig()
    const end = clock.now() + 1_000
    await Promise.all(Array.from({ length: 500 }, (_, at) => store.set(`short-${at}`, "1", { expiresAt: end })))
    await Promise.all(Array.from({ length: 50 }, (_, at) => store.set(`long-${at}`, "1", { expiresAt: end + 2_000 })))
    await Promise.all(Array.from({ length: 50 }, (_, at) => store.set(`endless-${at}`, "1")))
    const rows = other().prepare("SELECT count(*) AS n FROM entries")
    const count = (): number => (rows.get() as { n: number }).n
    clock.advance(999)
    await store.set("endless-0", "2")
    await turn()
    expect(count()).toBe(600)
    clock.advance(2_000)
    let highest = 0
    for (let before = count(); before > 100; before = count()) {
      await store.set("endless-0", "2")
      await turn()
      highest = Math.max(highest, before - count())
    }
    expect(highest).toBe(64)
    for (let round = 0; round < 10; round++) {
      await store.set("endless-0", "2")
      await turn()
    }
    expect(count()).toBe(100)
    expect(await store.get("long-0")).not.toBeNull()
  })

  it("a sweep that fails is reported and tried again", async () => {
    const { store, clock, reports, watch, other } = await rig()
    await store.set("short", "1", { expiresAt: clock.now() + 1_000 })
    await turn()
    await turn()
    clock.advance(5_000)
    let failing = true
    watch((sql) => {
      if (failing && sql.includes("ORDER BY ends")) throw sqliteError(IO_ERROR_READ)
    })
    await store.set("k", "1")
    while (reports.length === 0) await turn()
    expect(reports).toMatchObject([{ store: "sqlite", kind: "background", cause: { code: "unavailable" } }])
    failing = false
    clock.advance(1_000)
    await store.set("k", "2")
    await turn()
    await turn()
    expect(other().prepare("SELECT count(*) AS n FROM entries").get()).toEqual({ n: 1 })
  })
})

describe("listings", () => {
  it("take a turn of the event loop each, so that many at once hold nobody up", async () => {
    const { store } = await rig()
    await store.set("k", "1")
    let turns = 0
    let over = false
    const looking = (async () => {
      for (; !over; turns++) await turn()
    })()
    const pages = await Promise.all(Array.from({ length: 50 }, () => store.list()))
    over = true
    await looking
    expect(pages.every(({ entries }) => entries.length === 1)).toBe(true)
    expect(turns).toBeGreaterThanOrEqual(50)
  })

  it("a page of long values ends early and goes on", async () => {
    const { store } = await rig()
    const long = `"${"x".repeat(1_000_000)}"`
    for (let at = 0; at < 20; at++) await store.set(`k${String(at).padStart(2, "0")}`, long)
    const lengths: number[] = []
    let cursor: string | null = null
    do {
      const page: Awaited<ReturnType<Store["list"]>> = await store.list({
        limit: 1_000,
        ...(cursor !== null && { cursor }),
      })
      lengths.push(page.entries.length)
      cursor = page.cursor
    } while (cursor !== null)
    expect(lengths).toEqual([9, 9, 2])
  })

  it("K8: a prefix of the last characters of Unicode has an end too", async () => {
    const { store } = await rig()
    const keys = [
      "a",
      "a\ud7ff",
      "a\ud7ffx",
      "a\ue000",
      "a\u{10ffff}",
      "a\u{10ffff}x",
      "b",
      "\u{10ffff}",
      "\u{10ffff}\u{10ffff}x",
    ]
    for (const key of keys) await store.set(key, "1")
    for (const prefix of ["a", "a\ud7ff", "a\u{10ffff}", "\u{10ffff}", "\u{10ffff}\u{10ffff}"]) {
      const { entries } = await store.list({ prefix })
      expect(entries.map(({ key }) => key)).toEqual(keys.filter((key) => key.startsWith(prefix)))
    }
  })

  it("a count is exact to ten thousand, by prefix and by owner", async () => {
    const { store, other } = await rig()
    const second = other()
    second.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
      INSERT INTO entries SELECT 'k' || i, '', NULL, 'o' || (i % 4) FROM n`)
    expect(await store.count?.()).toBe(10_000)
    expect(await store.count?.({ prefix: "k12" })).toBe(111)
    expect(await store.count?.({ owner: "o1" })).toBe(2_500)
    await store.set("l", "1")
    expect(await store.count?.()).toBeNull()
    expect(await store.count?.({ prefix: "l" })).toBe(1)
  })

  it("go along an index and sort nothing, and so does a sweep", async () => {
    const second = (await rig()).other()
    const plans = [
      "SELECT key, record FROM entries WHERE key >= 'a' AND key < 'b' ORDER BY key LIMIT 9",
      "SELECT key, record FROM entries WHERE owner = 'o' AND key >= 'a' AND key < 'b' ORDER BY key LIMIT 9",
      "SELECT key FROM entries WHERE ends <= 7 ORDER BY ends LIMIT 9",
    ].map((sql) => (second.prepare(`EXPLAIN QUERY PLAN ${sql}`).get() as { detail: string }).detail)
    expect(plans).toEqual([
      "SEARCH entries USING PRIMARY KEY (key>? AND key<?)",
      "SEARCH entries USING INDEX entries_by_owner (owner=? AND key>? AND key<?)",
      "SEARCH entries USING COVERING INDEX entries_by_end (ends<?)",
    ])
  })
})
