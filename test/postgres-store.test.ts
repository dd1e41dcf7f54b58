// The store suite against a real server: through a URL, and through a pool of the caller's own with what an application may ask for
// besides (NOTIFY, no prepared statements).

import { postgresStore } from "coatcheck/postgres"
import { type StoreSetup, storeCases } from "coatcheck/testing"
import pg from "pg"
import { afterAll, beforeAll, describe, it } from "vitest"
import { type PostgresServer, startPostgres } from "./support/postgres.ts"

let server: PostgresServer
let pool: pg.Pool
let tables = 0
beforeAll(async () => {
  server = await startPostgres()
  pool = new pg.Pool({ connectionString: server.url, max: 8 })
})
afterAll(() => pool.end())

describe("by URL", () => {
  const open = ({ clock, report }: StoreSetup) =>
    postgresStore(`${server.url}?table=by_url_${tables}&connections=4`, { clock, report })
  const cases = storeCases({
    open: (setup) => {
      tables++
      return open(setup)
    },
    openSecond: open,
  })
  for (const { name, run } of cases) it(name, run)
})

describe("on a pool of the caller's own, told of changes, without prepared statements", () => {
  const open = ({ clock, report }: StoreSetup) =>
    postgresStore(pool, { clock, report, schema: "kept", table: `by_pool_${tables}`, notify: true, prepare: false })
  const cases = storeCases({
    open: (setup) => {
      tables++
      return open(setup)
    },
    openSecond: open,
  })
  for (const { name, run } of cases) it(name, run)
})
