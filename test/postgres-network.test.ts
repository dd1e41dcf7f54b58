// The failure suite over the postgres store: a real server, the network before it failing in every way that the proxy knows.

import { postgresStore } from "coatcheck/postgres"
import { failureCases } from "coatcheck/testing"
import { describe, it } from "vitest"
import { startPostgres } from "./support/postgres.ts"

const server = await startPostgres()
const table = "failing"

describe("the postgres store keeps the contract while the network fails", () => {
  const cases = failureCases({
    target: server.port,
    open: ({ port, deadline, report }) =>
      postgresStore(`postgres://postgres@127.0.0.1:${port}/postgres`, { table, deadline, report, connections: 4 }),
    look: () => postgresStore(server.url, { table, connections: 1, report: () => {} }),
  })
  for (const { name, run } of cases) it.concurrent(name, run)
})
