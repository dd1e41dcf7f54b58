// A real standby: what a store does that finds itself there, and goes on when the standby is promoted.

import { openStore } from "coatcheck/open"
import { afterAll, beforeAll, expect, it } from "vitest"
import { type PostgresServer, startPostgres, until } from "../support/postgres.ts"

let primary: PostgresServer
let standby: PostgresServer
beforeAll(async () => {
  primary = await startPostgres()
  standby = await startPostgres({ standbyOf: primary })
}, 60_000)
afterAll(() => standby.stop())

it("F-PG-1: on a standby reads work and writes did not happen; promoted, it takes writes without a restart of ours", async () => {
  const beforeTable = await openStore(standby.url, { report: () => {} }).catch((error: unknown) => error)
  expect(beforeTable).toMatchObject({ code: "unavailable", cause: { code: "25006" } })

  const writer = await openStore(primary.url, { report: () => {} })
  await writer.set("k", '"kept"', { version: "a", owner: "ann" })
  await writer.close()
  const replayed = async (): Promise<boolean> => {
    const [row] = await standby.sql("SELECT to_regclass('coatcheck') IS NOT NULL AS there")
    return row?.["there"] === true && (await standby.sql("SELECT FROM coatcheck")).length === 1
  }
  await until("the standby has it", replayed)

  const store = await openStore(standby.url, { report: () => {} })
  expect(await store.get("k")).toMatchObject({ value: '"kept"', version: "a" })
  expect((await store.list({ owner: "ann" })).entries).toHaveLength(1)
  const writes = await Promise.allSettled([
    store.set("k", "2"),
    store.set("k", "2", { if: { version: "a" } }),
    store.set("n", "2", { if: "absent" }),
    store.touch("k", null),
    store.delete("k", { version: "b" }),
  ])
  for (const write of writes) {
    expect(write).toMatchObject({ status: "rejected", reason: { code: "unavailable", retryable: true } })
  }

  await primary.kill()
  await standby.sql("SELECT pg_promote()")
  const takesWrites = (): Promise<boolean> =>
    store.set("k", '"newer"', { if: { version: "a" }, version: "b" }).then(
      ({ ok }) => ok,
      () => false,
    )
  await until("it takes writes", takesWrites, 10)
  expect(await store.get("k")).toMatchObject({ value: '"newer"', version: "b" })
  await store.close()
}, 60_000)
