// The failure suite over the Postgres store, bare and as `openStore` hands it out: a real server, the network before it failing in every
// way that the proxy knows.

import { openStore } from "coatcheck/open"
import { postgresStore } from "coatcheck/postgres"
import { type FailureSetup, failureCases } from "coatcheck/testing"
import { afterAll, beforeAll, describe, it } from "vitest"
import { startPostgres } from "./support/postgres.ts"

const server = await startPostgres()
const through = ({ port }: FailureSetup): string => server.url.replace(`:${server.port}/`, `:${port}/`)
const look = () => postgresStore(server.url, { report: () => {} })

// The table is there before many open it at once.
beforeAll(async () => (await look()).close())
afterAll(() => server.stop())

describe("the Postgres store keeps the contract while the network fails", () => {
  const cases = failureCases({
    target: server.port,
    open: (setup) => postgresStore(through(setup), { deadline: setup.deadline, report: setup.report }),
    look,
    cuts: 12, // a connection takes a process of the server's, which takes its time
  })
  for (const { name, run } of cases) it.concurrent(name, run)
})

describe("so it does behind the guard of openStore", () => {
  const cases = failureCases({
    target: server.port,
    open: (setup) => openStore(through(setup), { deadline: setup.deadline, report: setup.report }),
    look,
    cuts: 4,
  })
  for (const { name, run } of cases) it.concurrent(name, run)
})
