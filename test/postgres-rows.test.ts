// What happens when others hold, change or refuse the row or the connection that a call needs. The lock is held by a transaction of
// the test; that a call waits is seen in the server's own view of its backends, never guessed by a pause.

import type { Store, StoreReport } from "coatcheck"
import { postgresStore } from "coatcheck/postgres"
import pg from "pg"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { type PostgresServer, startPostgres, until } from "./support/postgres.ts"

let server: PostgresServer
let holder: pg.Client
let store: Store
let tables = 0
let table = ""
const closers: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  server = await startPostgres({ config: { shared_preload_libraries: "pg_stat_statements" } })
  await server.sql("CREATE EXTENSION pg_stat_statements")
  holder = await server.connect()
})
beforeEach(async () => {
  table = `rows_${++tables}`
  store = await open(`${server.url}?table=${table}&deadline=5s`)
})
afterEach(async () => {
  await holder.query("ROLLBACK")
  for (const close of closers.splice(0).reverse()) await close()
})
afterAll(() => server.stop())

async function open(
  from: string | pg.Pool,
  options: NonNullable<Parameters<typeof postgresStore>[1]> = {},
): Promise<Store> {
  const opened = await postgresStore(from, { report: () => {}, ...options })
  closers.push(() => opened.close())
  return opened
}

/** So many backends wait for a lock. */
const waiting = (count = 1): Promise<void> =>
  until(`${count} calls wait for the lock`, async () => {
    const [row] = await server.sql(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'postgres'",
    )
    return row?.["n"] === count
  })

/** Makes the call while a transaction has done `sql` and not yet committed, and commits when the call waits. */
async function meets<T>(sql: string, call: () => Promise<T>): Promise<T> {
  await holder.query("BEGIN")
  await holder.query(sql.replaceAll("TABLE", table))
  const outcome = call()
  outcome.catch(() => {}) // it may reject before the COMMIT is answered; whoever called sees it
  await waiting()
  await holder.query("COMMIT")
  return outcome
}

/** How many statements the store has sent about its rows, sweeps left out. */
async function statements(): Promise<number> {
  const [row] = await server.sql(
    "SELECT sum(calls)::int AS n FROM pg_stat_statements WHERE query LIKE $1 AND query LIKE '%done AS%'",
    [`%"${table}"%`],
  )
  return Number(row?.["n"] ?? 0)
}

const base = { key: "k", value: '{"n":1}', version: "a", expiresAt: null, owner: "alice" }
const theirs = { key: "k", value: '{"n": 2 }', version: "theirs", expiresAt: 4_000_000_000_000, owner: "bob" }
const change = `UPDATE TABLE SET value = '{"n": 2 }', version = 'theirs', expires_at = 4000000000000, owner = 'bob'`

describe("a row that somebody else holds, changes and commits", () => {
  beforeEach(async () => {
    await store.set("k", base.value, { version: "a", owner: "alice" })
  })

  it("F-PG-1: a set for the version before is refused by the entry that stands there now", async () => {
    const before = await statements()
    const outcome = await meets(change, () => store.set("k", "3", { if: { version: "a" }, version: "c" }))
    expect(outcome).toEqual({ ok: false, current: theirs })
    expect(await statements()).toBe(before + 1)
    expect(await store.get("k")).toEqual(theirs)
  })

  it("F-PG-1: a set for the version that is about to stand there goes through", async () => {
    const outcome = await meets("UPDATE TABLE SET owner = 'bob'", () =>
      store.set("k", "3", { if: { version: "a" }, version: "c" }),
    )
    expect(outcome).toEqual({ ok: true, version: "c" })
    expect(await store.get("k")).toEqual({ ...base, value: "3", version: "c", owner: "bob" })
  })

  it("a call for a version that is only just coming is done", async () => {
    expect(await meets(change, () => store.touch("k", 5_000_000_000_000, { version: "theirs" }))).toMatchObject({
      ok: true,
    })
    const again = change.replaceAll("theirs", "next")
    expect(await meets(again, () => store.set("k", "3", { if: { version: "next" }, version: "c" }))).toEqual({
      ok: true,
      version: "c",
    })
    const last = await meets(change, () => store.delete("k", { version: "theirs" }))
    expect(last).toEqual({ ok: true, removed: theirs })
  })

  it("REL-04: a set that is sent again while its first try commits is done, and done once", async () => {
    const outcome = await meets("UPDATE TABLE SET value = '7', version = 'c'", () =>
      store.set("k", "7", { if: { version: "a" }, version: "c" }),
    )
    expect(outcome).toEqual({ ok: true, version: "c" })
  })

  it("F-PG-1: a touch for the version before is refused by the entry that stands there now", async () => {
    const before = await statements()
    const outcome = await meets(change, () => store.touch("k", 5_000_000_000_000, { version: "a" }))
    expect(outcome).toEqual({ ok: false, current: theirs })
    expect(await statements()).toBe(before + 1)
    expect(await store.get("k")).toEqual(theirs)
  })

  it("a touch of any version moves the end of what stands there now", async () => {
    const outcome = await meets(change, () => store.touch("k", 5_000_000_000_000))
    expect(outcome).toEqual({ ok: true, version: "theirs" })
    expect(await store.get("k")).toEqual({ ...theirs, expiresAt: 5_000_000_000_000 })
  })

  it("F-PG-1: a delete for the version before is refused by the entry that stands there now", async () => {
    const before = await statements()
    const outcome = await meets(change, () => store.delete("k", { version: "a" }))
    expect(outcome).toEqual({ ok: false, current: theirs })
    expect(await statements()).toBe(before + 1)
  })

  it("a delete of any version gives back what stood there at the end", async () => {
    expect(await meets(change, () => store.delete("k"))).toEqual({ ok: true, removed: theirs })
    expect(await store.get("k")).toBeNull()
  })

  it("a set without a condition keeps the owner and the end that were written meanwhile", async () => {
    const outcome = await meets(change, () => store.set("k", "3", { version: "c" }))
    expect(outcome).toEqual({ ok: true, version: "c" })
    expect(await store.get("k")).toEqual({ ...theirs, value: "3", version: "c" })
  })

  it("SES-06: what was deleted meanwhile is not brought back", async () => {
    const outcome = await meets("DELETE FROM TABLE", () => store.set("k", "3", { if: { version: "a" } }))
    expect(outcome).toEqual({ ok: false, current: null })
    expect(await store.get("k")).toBeNull()
    await store.set("k", "1", { version: "a" })
    expect(await meets("DELETE FROM TABLE", () => store.touch("k", null))).toEqual({ ok: false, current: null })
    await store.set("k", "1", { version: "a" })
    const deleted = await meets("DELETE FROM TABLE", () => store.delete("k", { version: "a" }))
    expect(deleted).toEqual({ ok: true, removed: null })
  })

  it("SES-08: what was ended meanwhile is absent", async () => {
    const end = "UPDATE TABLE SET expires_at = 1"
    expect(await meets(end, () => store.set("k", "3", { if: { version: "a" } }))).toEqual({ ok: false, current: null })
    await store.set("k", "1", { expiresAt: null, version: "b" })
    expect(await meets(end, () => store.delete("k", { version: "other" }))).toEqual({ ok: true, removed: null })
  })

  it("SES-15: an insert waits for another one and is refused by it", async () => {
    await store.delete("k")
    const insert = `INSERT INTO TABLE VALUES ('k', '{"n": 2 }', 'theirs', 4000000000000, 'bob')`
    const outcome = await meets(insert, () => store.set("k", "3", { if: "absent" }))
    expect(outcome).toEqual({ ok: false, current: theirs })
    expect(await store.get("k")).toEqual(theirs)
  })
})

describe("F-PG-1: trouble", () => {
  it("a lock that nobody gives back: the write did not happen, and says so in time; the rest goes on", async () => {
    const quick = await open(`${server.url}?table=${table}&deadline=1s&connections=3`)
    await quick.set("k", "1", { version: "a" })
    await holder.query("BEGIN")
    await holder.query(`UPDATE ${table} SET owner = 'bob'`)
    const begun = performance.now()
    const stuck = [quick.set("k", "2", { if: { version: "a" } }), quick.delete("k")]
    await waiting(2)
    expect((await quick.set("other", "1")).ok).toBe(true)
    expect(await quick.get("k")).toMatchObject({ value: "1" })
    for (const one of await Promise.allSettled(stuck)) {
      expect(one).toMatchObject({ status: "rejected", reason: { code: "unavailable", cause: { code: "57014" } } })
    }
    expect(performance.now() - begun).toBeLessThan(1_500)
    await holder.query("COMMIT")
    expect(await quick.get("k")).toMatchObject({ value: "1", version: "a" })
    expect((await quick.set("k", "2", { if: { version: "a" } })).ok).toBe(true)
  })

  it("REL-03: on a pool without a time-out of its own the deadline ends the call, and a write is unknown", async () => {
    const pool = new pg.Pool({ connectionString: server.url, max: 2 })
    closers.push(() => pool.end())
    const own = await open(pool, { table, deadline: 300 })
    await own.set("k", "1", { version: "a" })
    await holder.query("BEGIN")
    await holder.query(`UPDATE ${table} SET owner = 'bob'`)
    await expect(own.set("k", "2", { if: { version: "a" }, version: "c" })).rejects.toMatchObject({
      code: "unknown-outcome",
    })
    await holder.query("COMMIT")
    // The server was not told to stop: it went on, and the read that follows an unknown outcome finds what it did.
    await until("the write has landed", async () => (await own.get("k"))?.version === "c")
    expect(pool.totalCount).toBeLessThanOrEqual(2)
  })

  it("REL-03: a pool that others use up: calls end in time, and work again when there is a connection", async () => {
    const pool = new pg.Pool({ connectionString: server.url, max: 1 })
    closers.push(() => pool.end())
    const own = await open(pool, { table, deadline: 200, maxQueued: 4 })
    const taken = await pool.connect()
    const calls = [own.get("a"), own.set("a", "1"), own.list(), own.delete("a"), own.get("b")]
    await expect(calls.at(-1)).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/Too many/),
    })
    for (const one of await Promise.allSettled(calls)) {
      expect(one).toMatchObject({ status: "rejected", reason: { code: "unavailable" } })
    }
    taken.release()
    expect((await own.set("a", "1")).ok).toBe(true)
    await until("the connection is back", () => pool.idleCount === 1 && pool.waitingCount === 0)
  })

  it("a serialisation failure did not happen, and the store warns of the setting at its start", async () => {
    const pool = new pg.Pool({
      connectionString: server.url,
      options: "-c default_transaction_isolation=repeatable\\ read",
    })
    closers.push(() => pool.end())
    const reports: StoreReport[] = []
    const strict = await open(pool, { table, deadline: "5s", report: (report) => reports.push(report) })
    expect(reports.map(({ message }) => message).join()).toMatch(/default_transaction_isolation/)
    await strict.set("k", "1", { version: "a" })
    const outcome = meets("UPDATE TABLE SET owner = 'bob'", () => strict.set("k", "2", { if: { version: "a" } }))
    await expect(outcome).rejects.toMatchObject({ code: "unavailable", cause: { code: "40001" } })
    expect((await strict.set("k", "2", { if: { version: "a" } })).ok).toBe(true)
  })

  it("a server that only reads: reads work, writes did not happen", async () => {
    await store.set("k", "1")
    const readOnly = await open(`${server.url}?table=${table}&options=-c%20default_transaction_read_only%3Don`)
    expect(await readOnly.get("k")).toMatchObject({ value: "1" })
    expect((await readOnly.list()).entries).toHaveLength(1)
    const writes = [readOnly.set("k", "2"), readOnly.touch("k", null), readOnly.delete("k")]
    for (const write of await Promise.allSettled(writes)) {
      expect(write).toMatchObject({
        status: "rejected",
        reason: { code: "unavailable", retryable: true, cause: { code: "25006" } },
      })
    }
  })

  it("REL-04: backends terminated amid load: what was acknowledged is there, the rest says what it is, the store works on", async () => {
    const acknowledged = new Set<string>()
    const unknown = new Set<string>()
    const codes = new Set<unknown>()
    let next = 0
    let over = false
    const client = async (): Promise<void> => {
      while (!over) {
        const key = `k${next++}`
        try {
          await store.set(key, "1")
          acknowledged.add(key)
        } catch (error) {
          const { code } = error as { code: unknown }
          codes.add(code)
          if (code === "unknown-outcome") unknown.add(key)
        }
      }
    }
    const clients = Array.from({ length: 16 }, client)
    let killed = 0
    for (let round = 0; round < 20; round++) {
      const before = acknowledged.size
      await until("work is done", () => acknowledged.size >= before + 20)
      const rows = await server.sql(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'coatcheck' AND query LIKE '%' || $1 || '%'`,
        [table],
      )
      killed += rows.length
    }
    over = true
    await Promise.all(clients)
    expect(killed).toBeGreaterThan(20)
    expect(codes.size).toBeGreaterThan(0)
    expect(["unavailable", "unknown-outcome"]).toEqual(expect.arrayContaining([...codes]))
    const there = new Set((await server.sql(`SELECT key FROM ${table}`)).map(({ key }) => String(key)))
    for (const key of acknowledged) expect(there.has(key)).toBe(true)
    for (const key of there) expect(acknowledged.has(key) || unknown.has(key)).toBe(true)
    expect((await store.set("after", "1")).ok).toBe(true)
  })

  it("S14: the server restarts: calls are refused in time meanwhile, and it goes on by itself", async () => {
    await store.set("k", "1")
    await server.stop()
    const codes = await Promise.all(
      [store.get("k"), store.set("k", "2"), store.list(), store.delete("k")].map((call) =>
        call.then(
          () => "done",
          (error: unknown) => (error as { code: unknown }).code,
        ),
      ),
    )
    expect(codes).toEqual(["unavailable", "unavailable", "unavailable", "unavailable"])
    await server.start()
    holder = await server.connect()
    expect(await store.get("k")).toMatchObject({ value: "1" })
    expect((await store.set("k", "2")).ok).toBe(true)
  })
})
