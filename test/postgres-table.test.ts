// The table: made, checked, brought forward, refused. And the names that stand in its statements.

import type { Store, StoreReport } from "coatcheck"
import { postgresStore } from "coatcheck/postgres"
import { fakeClock } from "coatcheck/testing"
import pg from "pg"
import { afterEach, beforeAll, describe, expect, it } from "vitest"
import { type PostgresServer, startPostgres, until } from "./support/postgres.ts"

let server: PostgresServer
let tables = 0
const closers: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  server = await startPostgres()
})
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function open(url: string, options: NonNullable<Parameters<typeof postgresStore>[1]> = {}): Promise<Store> {
  const store = await postgresStore(url, { report: () => {}, ...options })
  closers.push(() => store.close())
  return store
}

const rejection = (call: Promise<unknown>): Promise<{ code?: string; message: string }> =>
  call.then(
    () => expect.fail("it should have been refused"),
    (error: unknown) => error as { code?: string; message: string },
  )

/** A table of the version before: what the first release made, with the comment that it wrote. */
async function tableOfVersion1(table: string): Promise<void> {
  await server.sql(
    `CREATE TABLE ${table} (key text COLLATE "C" PRIMARY KEY, value json NOT NULL, version text COLLATE "C" NOT NULL, expires_at bigint, owner text COLLATE "C")`,
  )
  await server.sql(`CREATE INDEX ${table}_by_end ON ${table} (expires_at) WHERE expires_at IS NOT NULL`)
  await server.sql(`CREATE INDEX ${table}_by_owner ON ${table} (owner, key) WHERE owner IS NOT NULL`)
  await server.sql(`COMMENT ON TABLE ${table} IS 'coatcheck table 1, for programs from 1'`)
}

const state = async (table: string): Promise<Record<string, unknown> | undefined> =>
  (
    await server.sql(
      "SELECT obj_description(oid, 'pg_class') AS comment, array_to_string(reloptions, ' ') AS options FROM pg_class WHERE oid = to_regclass($1)",
      [table],
    )
  )[0]

describe("names", () => {
  const hostile = ['sessions"; drop table x; --', "a b", "a-b", "", "1a", "naïve", "a.b", "t".repeat(56), "a\u0000"]
  it.each(hostile)(
    "PRS-07, REG-27: %j is no name, which is said before anything is asked of the server",
    async (name) => {
      const nowhere = "postgres://127.0.0.1:1/x"
      await expect(postgresStore(nowhere, { table: name })).rejects.toThrow(TypeError)
      await expect(postgresStore(nowhere, { schema: name })).rejects.toThrow(/letters, digits and underscores/)
      const inUrl = `${nowhere}?table=${encodeURIComponent(name)}`
      await expect(postgresStore(inUrl)).rejects.toThrow(/letters, digits and underscores/)
    },
  )

  it("PRS-07: SQL's own words and capitals are names like others, in the schema that was named", async () => {
    const store = await open(server.url, { schema: "Order", table: "SELECT" })
    await store.set("k", '{"data":{"cart":"full"}}', { owner: "alice" })
    expect(await server.sql(`SELECT value->'data'->>'cart' AS cart FROM "Order"."SELECT"`)).toEqual([{ cart: "full" }])
    expect((await store.list({ owner: "alice" })).entries).toHaveLength(1)
  })
})

describe("a table that is not there", () => {
  it("is made once when twelve open it at once, and its schema too", async () => {
    const options = { schema: "crowd", table: "rush", connections: 1 }
    const stores = await Promise.all(Array.from({ length: 12 }, () => open(server.url, options)))
    await Promise.all(stores.map((store, at) => store.set(`k${at}`, "1")))
    for (const store of stores) expect((await store.list()).entries).toHaveLength(12)
    expect(await state("crowd.rush")).toEqual({
      comment: "coatcheck table 2, for programs from 1",
      options: "fillfactor=95 autovacuum_vacuum_scale_factor=0.05",
    })
  })

  it("is told as one line of SQL to a role that may not create it, and that line makes it", async () => {
    await server.sql("CREATE ROLE guest LOGIN; CREATE SCHEMA private; GRANT USAGE ON SCHEMA private TO guest")
    const url = server.url.replace("postgres@", "guest@")
    const denied = await rejection(open(url, { schema: "private", table: "visits" }))
    expect(denied.code).toBe("denied")
    expect(denied.message).not.toContain("\n")
    const sql = /have somebody who may run: (.*)$/.exec(denied.message)?.[1] ?? ""
    expect(sql).toMatch(/^CREATE SCHEMA IF NOT EXISTS "private"; CREATE TABLE IF NOT EXISTS "private"."visits" /)
    await server.sql(sql)
    const lacking = await rejection(open(url, { schema: "private", table: "visits" }))
    expect(lacking).toMatchObject({
      code: "denied",
      message: expect.stringContaining("SELECT, INSERT, UPDATE, DELETE"),
    })
    await server.sql('GRANT SELECT, INSERT, UPDATE, DELETE ON "private"."visits" TO guest')
    const store = await open(url, { schema: "private", table: "visits" })
    expect((await store.set("k", "1")).ok).toBe(true)
    // By default the table goes where the role's search path leads, and there is nowhere that it may create.
    await server.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    expect(await rejection(open(url))).toMatchObject({
      code: "denied",
      message: expect.stringContaining("CREATE TABLE"),
    })
  })
})

describe("a table that is there", () => {
  it("is refused when it is another application's, and left as it is", async () => {
    await server.sql("CREATE TABLE shop (key text, value jsonb, total int)")
    const refused = await rejection(open(server.url, { table: "shop" }))
    expect(refused).toMatchObject({ code: "corrupt", message: expect.stringMatching(/another application's/) })
    expect(await state("shop")).toEqual({ comment: null, options: null })
  })

  it("F-UPG-1: is refused in one line when it is for newer programs only, and used when it is newer but for ours too", async () => {
    const table = `newer_${++tables}`
    await (await open(server.url, { table })).set("k", "1")
    await server.sql(`ALTER TABLE ${table} ADD COLUMN colour text`)
    await server.sql(`COMMENT ON TABLE ${table} IS 'coatcheck table 3, for programs from 2'`)
    const store = await open(server.url, { table })
    expect(await store.get("k")).toMatchObject({ value: "1" })
    expect((await store.set("k", "2", { if: "absent" })).ok).toBe(false)
    expect((await state(table))?.["comment"]).toBe("coatcheck table 3, for programs from 2")
    await server.sql(`COMMENT ON TABLE ${table} IS 'coatcheck table 9, for programs from 3'`)
    const refused = await rejection(open(server.url, { table }))
    expect(refused).toMatchObject({
      code: "corrupt",
      message: expect.stringMatching(/newer version of coatcheck; update/),
    })
    expect(refused.message).not.toContain("\n")
  })

  it("F-UPG-1: is brought from version 1 to ours while a writer of version 1 goes on, and nothing of it is lost", async () => {
    const table = `older_${++tables}`
    await tableOfVersion1(table)
    const old = await server.connect()
    let written = 0
    let over = false
    const writing = (async () => {
      for (; !over; written++) {
        await old.query(
          `INSERT INTO ${table} VALUES ($1, $2, $3, NULL, NULL) ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version`,
          [`k${written % 50}`, String(written), `v${written}`],
        )
      }
    })()
    await until("the old program writes", () => written > 100)
    const stores = await Promise.all(Array.from({ length: 4 }, () => open(server.url, { table, connections: 1 })))
    const before = written
    await until("the old program still writes", () => written > before + 100)
    over = true
    await writing
    expect(await state(table)).toEqual({
      comment: "coatcheck table 2, for programs from 1",
      options: "fillfactor=95 autovacuum_vacuum_scale_factor=0.05",
    })
    for (const store of stores) expect((await store.list()).entries).toHaveLength(50)
    expect(await stores[0]?.get(`k${(written - 1) % 50}`)).toMatchObject({ value: String(written - 1) })
  })

  it("is used as it is by a role that may not bring it forward, which is reported with the SQL", async () => {
    const table = `lent_${++tables}`
    await tableOfVersion1(table)
    await server.sql(`CREATE ROLE tenant LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ${table} TO tenant`)
    const reports: StoreReport[] = []
    const url = server.url.replace("postgres@", "tenant@")
    const store = await open(url, { table, report: (report) => reports.push(report) })
    expect((await store.set("k", "1")).ok).toBe(true)
    const told = reports.find(({ message }) => message.includes("version 1"))
    expect(told).toMatchObject({ store: "postgres", kind: "warning" })
    const sql = /have its owner run: (.*)$/.exec(told?.message ?? "")?.[1] ?? ""
    await server.sql(sql)
    expect((await state(table))?.["comment"]).toBe("coatcheck table 2, for programs from 1")
  })

  it("whose comment got lost gets it back", async () => {
    const table = `restored_${++tables}`
    await (await open(server.url, { table })).set("k", "1")
    await server.sql(`COMMENT ON TABLE ${table} IS NULL`)
    expect(await (await open(server.url, { table })).get("k")).toMatchObject({ value: "1" })
    expect((await state(table))?.["comment"]).toBe("coatcheck table 2, for programs from 1")
  })
})

describe("a start", () => {
  it("P4: says what is wrong with the server, the role or the URL in one line, without the password", async () => {
    const secret = "hunter2"
    await server.sql("CREATE DATABASE western ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    const at = (rest: string): string => `postgres://nobody:${secret}@127.0.0.1:${rest}`
    const cases: [string, string | undefined, RegExp][] = [
      [at("1/postgres"), "unavailable", /can't reach the server/],
      [at(`${server.port}/postgres`), "denied", /refused the role or its password/],
      [server.url.replace(/postgres$/, "nowhere"), "unavailable", /can't reach/],
      [server.url.replace(/postgres$/, "western"), "unsupported", /UTF8/],
      [`postgres://a:${secret}@[`, undefined, /needs a URL such as/],
      [`mysql://a:${secret}@localhost/x`, undefined, /needs a URL such as/],
      [`${at("1/x")}?sslmod=verify-full`, undefined, /sslmode/],
      [`${at("1/x")}?connections=many`, undefined, /connections must be a whole number/],
      [`${at("1/x")}?connections=0`, undefined, /connections must be a positive whole number/],
      [`${at("1/x")}?notify=yes`, undefined, /notify must be true or false/],
      [`${at("1/x")}?deadline=soon`, undefined, /deadline must be a duration/],
    ]
    for (const [url, code, message] of cases) {
      const error = await rejection(postgresStore(url, { report: () => {} }))
      expect(error.message).toMatch(message)
      expect(error.message).not.toMatch(/hunter2|\n/)
      expect(error.code).toBe(code)
      if (code === undefined) expect(error).toBeInstanceOf(TypeError)
    }
    await expect(postgresStore({} as unknown as pg.Pool)).rejects.toThrow(/or a pool of pg/)
  })

  it("F-CLK-1: reports clocks that differ, and settings of the server that promise less", async () => {
    const reports: StoreReport[] = []
    const clock = { now: () => Date.now() - 60_000, sleep: async () => {} }
    const options = "-c%20synchronous_commit%3Doff"
    await open(`${server.url}?options=${options}`, { clock, report: (report) => reports.push(report) })
    const told = reports.map(({ kind, message }) => `${kind}: ${message}`)
    expect(told).toEqual([
      expect.stringMatching(/^warning: fsync is off/) as string,
      expect.stringMatching(/^warning: synchronous_commit is off: .* wal_writer_delay, which is 200ms$/),
      "skew: The server's clock is 60 s ahead of ours; set both by NTP",
    ])
  })

  it("F-CLK-1: a start that waited for others who make the table finds no difference that is not there", async () => {
    const maker = await server.connect()
    await maker.query("BEGIN")
    await maker.query("SELECT pg_advisory_xact_lock(hashtext('coatcheck'), hashtext('table'))")
    const kinds: string[] = []
    const clock = fakeClock(Date.now())
    const table = `waits_${++tables}`
    const opening = open(server.url, { clock, table, report: ({ kind }) => kinds.push(kind) })
    await until("it waits", async () => {
      const rows = await server.sql("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
      return rows.length === 1
    })
    clock.advance(60_000)
    await maker.query("COMMIT")
    await opening
    expect(kinds).toEqual(["warning"]) // fsync is off
  })
})
