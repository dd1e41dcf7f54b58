// What the postgres store makes the server do: how many statements, along which indexes, how it removes what has expired, and how it
// tells of changes. Statements are counted by the server itself.

import { fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import type { Store, StoreReport } from "coatcheck"
import { type PostgresPool, postgresStore } from "coatcheck/postgres"
import { faultProxy, type FakeClock, fakeClock } from "coatcheck/testing"
import pg from "pg"
import { afterEach, beforeAll, describe, expect, it } from "vitest"
import { type PostgresServer, startPostgres, until } from "./support/postgres.ts"
import { sourceFlags } from "./support/processes.ts"

let server: PostgresServer
let tables = 0
const closers: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  server = await startPostgres({ config: { shared_preload_libraries: "pg_stat_statements" } })
  await server.sql("CREATE EXTENSION pg_stat_statements")
})
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

interface Rig {
  readonly store: Store
  readonly table: string
  readonly clock: FakeClock
  readonly reports: readonly StoreReport[]
}

const realTime = { now: Date.now, sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)) }

type Options = NonNullable<Parameters<typeof postgresStore>[1]>

/** A store over a table of its own. Its clock stands a day before the machine's, so that both say of its short entries that they are over. */
async function rig(options: Options = {}, url: string | PostgresPool = server.url): Promise<Rig> {
  const table = options.table ?? `work_${++tables}`
  const reports: StoreReport[] = []
  const clock = fakeClock(Date.now() - 86_400_000)
  const report = (one: StoreReport): number => reports.push(one)
  const store = await postgresStore(url, { clock, report, ...options, table })
  closers.push(() => store.close())
  return { store, table, clock, reports }
}

/** The statements on a table that the server took during some work, sweeps left out: `{ SELECT: 1, INSERT: 2 }`. */
async function statementsOf(table: string, work: () => Promise<unknown>): Promise<Record<string, number>> {
  await server.sql("SELECT pg_stat_statements_reset()")
  await work()
  const rows = await server.sql(
    "SELECT query, calls::int AS calls FROM pg_stat_statements WHERE query LIKE $1 AND query NOT LIKE '%SKIP LOCKED%'",
    [`%"${table}"%`],
  )
  const count: Record<string, number> = {}
  for (const { query, calls } of rows) {
    const verb = /\b(INSERT|UPDATE|DELETE|SELECT)\b/.exec(String(query))?.[1] ?? ""
    count[verb] = (count[verb] ?? 0) + Number(calls)
  }
  return count
}

/** The sweeps of a table that the server took since statements were last counted. */
async function sweepsOf(table: string): Promise<number> {
  const [row] = await server.sql(
    "SELECT sum(calls)::int AS n FROM pg_stat_statements WHERE query LIKE $1 AND query LIKE '%SKIP LOCKED%'",
    [`%"${table}"%`],
  )
  return Number(row?.["n"] ?? 0)
}

const left = async (table: string): Promise<number> =>
  Number((await server.sql(`SELECT count(*)::int AS n FROM ${table}`))[0]?.["n"])

describe("statements", () => {
  it("each verb is one, also where its condition fails", async () => {
    const { store, table, clock } = await rig()
    const count = (work: () => Promise<unknown>): Promise<Record<string, number>> => statementsOf(table, work)
    expect(await count(() => store.set("k", "1", { version: "a" }))).toEqual({ INSERT: 1 })
    expect(await count(() => store.set("k", "1", { if: "absent" }))).toEqual({ INSERT: 1 })
    expect(await count(() => store.set("k", "1", { if: { version: "b" } }))).toEqual({ UPDATE: 1 })
    expect(await count(() => store.set("k", "1", { if: { version: "a" }, version: "c" }))).toEqual({ UPDATE: 1 })
    expect(await count(() => store.set("k", "1", { if: { version: "a" }, version: "c" }))).toEqual({ UPDATE: 1 })
    expect(await count(() => store.touch("k", clock.now() + 9))).toEqual({ UPDATE: 1 })
    expect(await count(() => store.touch("k", clock.now() + 9, { version: "b" }))).toEqual({ UPDATE: 1 })
    expect(await count(() => store.get("k"))).toEqual({ SELECT: 1 })
    expect(await count(() => store.delete("k", { version: "b" }))).toEqual({ DELETE: 1 })
    expect(await count(() => store.delete("k"))).toEqual({ DELETE: 1 })
    expect(await count(() => store.list())).toEqual({ SELECT: 1 })
    expect(await count(async () => store.count?.({ owner: "o" }))).toEqual({ SELECT: 1 })
  })

  it("the reads of a tick share one, each with its own answer", async () => {
    const { store, table } = await rig()
    const keys = Array.from({ length: 100 }, (_, at) => `k${at}{"\\',`)
    await Promise.all(keys.map((key, at) => store.set(key, String(at))))
    const asked = [...keys, "absent", ...keys.slice(0, 20)]
    let entries: (string | undefined)[] = []
    const count = await statementsOf(table, async () => {
      entries = (await Promise.all(asked.map((key) => store.get(key)))).map((entry) => entry?.value)
    })
    expect(count).toEqual({ SELECT: 1 })
    expect(entries).toEqual([...keys.keys(), undefined, ...Array(20).keys()].map((n) => n?.toString()))
  })

  it("a refused write changes no row", async () => {
    const { store, table } = await rig()
    await store.set("k", "1", { version: "a" })
    const row = async (): Promise<unknown> => (await server.sql(`SELECT ctid::text, xmin::text FROM ${table}`))[0]
    const before = await row()
    await store.set("k", "2", { if: { version: "b" } })
    await store.touch("k", 1, { version: "b" })
    await store.delete("k", { version: "b" })
    await store.set("k", "2", { if: { version: "z" }, version: "a" })
    expect(await row()).toEqual(before)
  })

  it("a write that moves no end leaves the indexes alone", async () => {
    const { store, table, clock } = await rig()
    await store.set("k", "1", { owner: "o", expiresAt: clock.now() + 1_000 })
    for (let n = 0; n < 10; n++) await store.set("k", String(n))
    const hot = async (): Promise<number> => {
      const [row] = await server.sql("SELECT n_tup_hot_upd::int AS n FROM pg_stat_user_tables WHERE relname = $1", [
        table,
      ])
      return Number(row?.["n"])
    }
    await store.close() // a backend tells its counts when it ends
    await until("the server has counted", async () => (await hot()) === 10)
  })
})

describe("listings", () => {
  it("go along an index, and so does a sweep", async () => {
    const { table } = await rig()
    await server.sql(
      `INSERT INTO ${table} SELECT 'k' || i, '0', 'v', i, 'o' || i % 10 FROM generate_series(1, 20000) AS i`,
    )
    await server.sql(`ANALYZE ${table}`)
    const plan = async (sql: string): Promise<string> =>
      (await server.sql(`EXPLAIN (COSTS off) ${sql}`)).map((row) => row["QUERY PLAN"]).join("\n")
    const rows = `SELECT * FROM ${table} WHERE`
    expect(await plan(`${rows} key >= 'k' AND key < 'l' ORDER BY key LIMIT 101`)).toMatch(
      /Limit\n.*Index Scan using \w+_pkey/,
    )
    expect(await plan(`${rows} key >= 'k' AND key < 'l' AND owner = 'o1' ORDER BY key LIMIT 101`)).toMatch(
      new RegExp(`Limit\\n.*Index Scan using ${table}_by_owner`),
    )
    expect(await plan(`${rows} expires_at <= 7 ORDER BY expires_at LIMIT 256 FOR UPDATE SKIP LOCKED`)).toMatch(
      new RegExp(`Limit\\n.*LockRows\\n.*Index Scan using ${table}_by_end`),
    )
  })

  it("a page of long values ends early and goes on", async () => {
    const { store } = await rig({ deadline: "20s" })
    const long = `"${"x".repeat(1_000_000)}"`
    for (let at = 0; at < 20; at++) await store.set(`k${String(at).padStart(2, "0")}`, long)
    const pages: number[] = []
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page: Awaited<ReturnType<Store["list"]>> = await store.list({ limit: 1_000, ...(cursor && { cursor }) })
      pages.push(page.entries.length)
      cursor = page.cursor
    }
    expect(pages).toEqual([9, 9, 2])
    expect((await store.list({ values: false })).entries).toHaveLength(20)
  })

  it("K8: a prefix of the last characters of Unicode has an end too", async () => {
    const { store } = await rig()
    const last = "\u{10ffff}"
    const keys = [
      "a",
      "a\ud7ff",
      "a\ud7ffx",
      "a\ue000",
      `a${last}`,
      `a${last}x`,
      "b",
      last,
      `${last}${last}x`,
      last.repeat(128),
    ]
    await Promise.all(keys.map((key) => store.set(key, "1")))
    for (const prefix of ["a", "a\ud7ff", `a${last}`, last, `${last}${last}x`]) {
      const { entries } = await store.list({ prefix })
      expect(entries.map(({ key }) => key)).toEqual(keys.filter((key) => key.startsWith(prefix)))
    }
  })

  it("a count is exact to ten thousand, by prefix and by owner", async () => {
    const { store, table } = await rig()
    await server.sql(
      `INSERT INTO ${table} SELECT 'k' || i, '0', 'v', NULL, 'o' || i % 4 FROM generate_series(1, 10000) AS i`,
    )
    expect(await store.count?.()).toBe(10_000)
    expect(await store.count?.({ prefix: "k12" })).toBe(111)
    expect(await store.count?.({ owner: "o1" })).toBe(2_500)
    await store.set("l", "1")
    expect(await store.count?.()).toBeNull()
  })
})

describe("what is kept", () => {
  it("answers SQL, and is the very text that was written", async () => {
    const { store, table } = await rig()
    const text = ' {"data": {"cart": "full", "n": 1.10, "n": 12345678901234567890}, "x": "\\ud83d\\udd11"} '
    await store.set("k", text)
    expect(await server.sql(`SELECT value->'data'->>'cart' AS cart, value::text AS text FROM ${table}`)).toEqual([
      { cart: "full", text },
    ])
  })

  it.each(["", "{", "nul", "'a'", "{} {}", '"\u0000"', '"\n"', "[".repeat(100_000) + "]".repeat(100_000)])(
    "PRS-05: what is no JSON that Postgres can take is invalid, and nothing is stored (case %#)",
    async (value) => {
      const { store } = await rig()
      for (const options of [{}, { if: "absent" as const }]) {
        await expect(store.set("k", value, options)).rejects.toMatchObject({ code: "invalid" })
      }
      expect(await store.get("k")).toBeNull()
      await store.set("k", "1", { version: "a" })
      await expect(store.set("k", value, { if: { version: "a" } })).rejects.toMatchObject({ code: "invalid" })
      expect(await store.get("k")).toMatchObject({ value: "1", version: "a" })
    },
  )

  it("PRS-05: hostile JSON comes back as text, and pollutes nothing on its way", async () => {
    const { store } = await rig()
    const hostile = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"toJSON":1}'
    await store.set("k", hostile)
    expect(await store.get("k")).toMatchObject({ value: hostile })
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })

  it("KVS-11, REG-27: keys, owners and prefixes are values of a statement and never text in it", async () => {
    const { store, table } = await rig()
    const { table: other } = await rig()
    const hostile = [
      "'; DROP TABLE x; --",
      `'); DELETE FROM ${other}; --`,
      "$1",
      "\\'",
      '"',
      "%",
      "..%2f",
      "{tag}",
      "*",
    ]
    await server.sql(`INSERT INTO ${other} VALUES ('k', '0', 'v')`)
    for (const text of hostile) {
      const outcome = await store.set(text, "1", { owner: text })
      expect(outcome.ok).toBe(true)
      expect((await store.list({ owner: text, prefix: text })).entries.map(({ key }) => key)).toEqual([text])
    }
    expect(await left(table)).toBe(hostile.length)
    expect(await left(other)).toBe(1)
    for (const bad of ["a\u0000b", "\r\n", "k".repeat(2_048)]) {
      await expect(store.get(bad)).rejects.toMatchObject({ code: expect.stringMatching(/invalid|too-large/) })
    }
  })
})

describe("what has expired", () => {
  it("X3: is removed in batches by the writes that follow, shared by those who sweep, and nothing else is", async () => {
    const { store, table, clock } = await rig()
    const { store: second, clock: secondClock } = await rig({ table })
    const end = clock.now() + 1_000
    await server.sql(
      `INSERT INTO ${table} SELECT 'short' || i, '0', 'v', $1::bigint FROM generate_series(1, 2000) AS i`,
      [end],
    )
    await server.sql(`INSERT INTO ${table} SELECT 'long' || i, '0', 'v', $1::bigint FROM generate_series(1, 50) AS i`, [
      end + 60_000,
    ])
    await server.sql(`INSERT INTO ${table} SELECT 'endless' || i, '0', 'v' FROM generate_series(1, 50) AS i`)
    await store.set("endless1", "1")
    clock.advance(10_000)
    secondClock.advance(10_000)
    await Promise.all([store.set("endless1", "1"), second.set("endless2", "1")])
    await until("they are gone", async () => (await left(table)) === 100)
    expect(await store.get("long1")).not.toBeNull()
  })

  it("goes on around rows that others hold", async () => {
    const { store, table, clock } = await rig()
    await store.set("held", "1", { expiresAt: clock.now() + 1 })
    await store.set("free", "1", { expiresAt: clock.now() + 1 })
    const holder = await server.connect()
    await holder.query("BEGIN")
    await holder.query(`SELECT * FROM ${table} WHERE key = 'held' FOR UPDATE`)
    clock.advance(60_000)
    await store.set("k", "1")
    await until("the other one is gone", async () => (await left(table)) === 2)
    await holder.query("COMMIT")
    clock.advance(60_000)
    await store.set("k", "1")
    await until("it is gone too", async () => (await left(table)) === 1)
  })

  it("F-CLK-1: a machine whose clock runs a year ahead removes nothing that the server's clock has not seen the end of", async () => {
    const { store, table, clock } = await rig()
    await store.set("k", "1", { expiresAt: Date.now() + 3_600_000 })
    clock.advance(365 * 86_400_000)
    await store.set("other", "1")
    await until("it was swept before and after", async () => (await sweepsOf(table)) === 2)
    expect(await store.get("k")).toBeNull() // the caller's clock decides what is over
    expect(await left(table)).toBe(2)
  })

  it("a sweep that fails is reported and tried again", async () => {
    const { store, table, clock, reports } = await rig()
    await store.set("short", "1", { expiresAt: clock.now() + 1 })
    await until(
      "the first sweep is over",
      async () => (await statementsOf(table, async () => {}))["sweep"] === undefined,
    )
    await server.sql(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'`)
    await server.sql(`CREATE TRIGGER refuse BEFORE DELETE ON ${table} FOR EACH ROW EXECUTE FUNCTION refuse()`)
    clock.advance(60_000)
    const before = reports.length
    await store.set("k", "1")
    await until("it is reported", () => reports.length > before)
    expect(reports.at(-1)).toMatchObject({
      store: "postgres",
      kind: "background",
      message: expect.stringMatching(/sweep/),
    })
    await server.sql(`DROP TRIGGER refuse ON ${table}`)
    clock.advance(60_000)
    await store.set("k", "1")
    await until("it is gone", async () => (await left(table)) === 1)
  })

  it("holds no process: one that forgot to close its store ends by itself", async () => {
    const { table } = await rig()
    const child = fork(
      fileURLToPath(new URL("support/postgres-forgetful.ts", import.meta.url)),
      [`${server.url}?table=${table}`],
      {
        execArgv: [...sourceFlags],
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      },
    )
    await once(child, "message")
    const done = performance.now()
    expect(await once(child, "exit")).toEqual([0, null])
    expect(performance.now() - done).toBeLessThan(6_000) // a pool that holds its process does so for 10 s
    expect(await left(table)).toBe(1)
  })
})

describe("watch", () => {
  it("is there by the option notify alone", async () => {
    expect((await rig()).store.watch).toBeUndefined()
    expect((await rig({ notify: true })).store.watch).toBeTypeOf("function")
  })

  it("tells each write that was done, by whichever handle, and none that was refused", async () => {
    const { store, table, clock } = await rig({ notify: true })
    const { store: other } = await rig({ notify: true, table })
    const told: (string | null)[] = []
    const stop = other.watch?.((key) => told.push(key))
    await until("it listens", () => told.includes(null))
    told.length = 0
    const longest = "k".repeat(512)
    await store.set("a", "1", { version: "v" })
    await store.set("b", "1", { if: "absent" })
    await store.set("a", "2", { if: { version: "v" }, version: "w" })
    await store.touch("b", clock.now() + 1_000)
    await store.touch("a", clock.now() + 1_000, { version: "w" })
    await store.set("b", "1", { if: "absent" })
    await store.set("a", "1", { if: { version: "v" } })
    await store.delete("a", { version: "v" })
    await store.touch("b", null, { version: "v" })
    await store.touch("absent", null)
    await store.delete("absent")
    await store.delete("a", { version: "w" })
    await store.delete("b")
    await store.set(longest, "1")
    await store.set("\u{1f511}'", "1")
    await until("all is told", () => told.includes("\u{1f511}'"))
    expect(told).toEqual(["a", "b", "a", "b", "a", "a", "b", longest, "\u{1f511}'"])
    stop?.()
    await until("it has stopped listening", async () => {
      const rows = await server.sql("SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = 'SELECT 1'")
      return rows.length === 0
    })
  })

  it("hears those who name the schema of the same table, and none of another table of that name", async () => {
    const { store, table } = await rig({ notify: true })
    const { store: named } = await rig({ notify: true, table, schema: "public" })
    const { store: other } = await rig({ notify: true, table, schema: "elsewhere" })
    const told: (string | null)[] = []
    store.watch?.((key) => told.push(key))
    await until("it listens", () => told.includes(null))
    await other.set("other", "1")
    await named.set("k", "1")
    await until("it is told", () => told.includes("k"))
    expect(told).not.toContain("other")
  })

  it("on a pool of the caller's own, gives the connection back closed and not listening", async () => {
    const pool = new pg.Pool({ connectionString: server.url, max: 2 })
    closers.push(() => pool.end())
    const { store } = await rig({ notify: true }, pool)
    const told: (string | null)[] = []
    const stop = store.watch?.((key) => told.push(key))
    await until("it listens", () => told.includes(null))
    await store.set("k", "1")
    await until("it is told", () => told.includes("k"))
    expect(pool.totalCount).toBe(2)
    stop?.()
    await until("one is closed, the other idle", () => pool.totalCount === 1 && pool.idleCount === 1)
  })

  it("says null when its connection is lost, and again when a new one listens", async () => {
    const { store, reports } = await rig({ notify: true })
    const told: (string | null)[] = []
    store.watch?.((key) => told.push(key))
    await until("it listens", () => told.includes(null))
    for (const round of [1, 2]) {
      told.length = 0
      const before = reports.length
      await server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
      await until("the loss and the return are told", () => told.length >= 2)
      expect(new Set(told)).toEqual(new Set([null]))
      expect(reports.slice(before)).toMatchObject([
        { kind: "background", message: expect.stringMatching(/hears of changes/) },
      ])
      await store.set(`k${round}`, "1")
      await until("changes are told again", () => told.includes(`k${round}`))
    }
  })

  it("F-SLOW-3: finds out by itself that its connection is dead without a word", async () => {
    const proxy = await faultProxy({ target: server.port })
    closers.push(() => proxy.close())
    const { store } = await rig(
      { notify: true, deadline: 500 },
      server.url.replace(`:${server.port}`, `:${proxy.port}`),
    )
    const told: (string | null)[] = []
    store.watch?.((key) => told.push(key))
    await until("it listens", () => told.includes(null))
    told.length = 0
    proxy.halfOpen()
    await until("the loss and the return are told", () => told.length >= 2)
    await store.set("k", "1")
    await until("changes are told again", () => told.includes("k"))
  })
})

describe("connections", () => {
  it("a call takes one that is ready, while another one is still being made", async () => {
    const pool = new pg.Pool({ connectionString: server.url, max: 4 })
    closers.push(() => pool.end())
    let asked = 0
    const never = new Promise<never>(() => {})
    const slow: PostgresPool = {
      get idleCount() {
        return pool.idleCount
      },
      connect: () => (++asked === 3 ? never : pool.connect()), // the first makes the table, the second and third are for the writes
      end: () => pool.end(),
      on: (event, listener) => pool.on(event, listener),
      removeListener: (event, listener) => pool.removeListener(event, listener),
    }
    const { store } = await rig({ clock: realTime }, slow)
    await Promise.all([store.set("a", "1"), store.set("b", "1")])
    expect(asked).toBe(3)
    await until("the connection is idle", () => pool.idleCount === 1)
    expect(await store.get("a")).toMatchObject({ value: "1" })
  })
})

describe("a network that went dead", () => {
  it("F-SLOW-3: costs one call its deadline, however many idle connections went with it", async () => {
    const proxy = await faultProxy({ target: server.port })
    closers.push(() => proxy.close())
    const url = server.url.replace(`:${server.port}`, `:${proxy.port}`)
    const { store, table } = await rig({ clock: realTime }, url)
    const holder = await server.connect()
    await holder.query("BEGIN")
    await holder.query(`LOCK TABLE ${table}`)
    const writes = Array.from({ length: 8 }, (_, at) => store.set(`k${at}`, "1"))
    await until("each has a connection", () => proxy.counts.open === 8)
    await holder.query("ROLLBACK")
    await Promise.allSettled(writes)
    expect(proxy.counts.open).toBeGreaterThan(2)
    proxy.halfOpen()
    await expect(store.get("k1")).rejects.toMatchObject({ code: "unavailable" })
    expect(await store.get("k1")).not.toBeNull()
    expect((await store.set("k2", "2")).ok).toBe(true)
  })
})

describe("a pooler in transaction mode", () => {
  it("needs prepare: false, which the store says when a prepared statement is gone", async () => {
    const pool = new pg.Pool({ connectionString: server.url, max: 1 })
    closers.push(() => pool.end())
    const { store, table } = await rig({}, pool)
    await store.set("k", "1")
    await pool.query("DEALLOCATE ALL") // the next transaction meets another server
    await expect(store.set("k", "2")).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("prepare: false"),
    })
    const { store: plain } = await rig({ prepare: false, table }, pool)
    await plain.set("k", "3")
    await pool.query("DEALLOCATE ALL")
    expect((await plain.set("k", "4")).ok).toBe(true)
    expect(await plain.get("k")).toMatchObject({ value: "4" })
  })
})
