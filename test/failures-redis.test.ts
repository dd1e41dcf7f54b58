// The failure suite over the Redis store, bare and as `openStore` hands it out: a real server, the network before it failing in every
// way that the proxy knows.

import { openStore } from "coatcheck/open"
import { redisStore } from "coatcheck/redis"
import { type FailureSetup, failureCases } from "coatcheck/testing"
import { afterAll, describe, it } from "vitest"
import { startRedis } from "./support/redis.ts"

const server = await startRedis()
const through = ({ port }: FailureSetup): string => `redis://127.0.0.1:${port}`
const look = () => redisStore(server.url, { report: () => {} })

/** Leaves no room for further writes; reads and deletes go on, as Redis has it. */
async function fill(): Promise<() => Promise<void>> {
  await server.command("CONFIG", "SET", "maxmemory", "1")
  return async () => void (await server.command("CONFIG", "SET", "maxmemory", "0"))
}

afterAll(() => server.kill())

describe("the Redis store keeps the contract while the network fails", () => {
  const cases = failureCases({
    target: server.port,
    open: (setup) => redisStore(through(setup), { deadline: setup.deadline, report: setup.report }),
    look,
    cuts: 16,
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

describe("a Redis without room", () => {
  const cases = failureCases({
    target: server.port,
    open: (setup) => openStore(through(setup), { deadline: setup.deadline, report: setup.report }),
    look,
    fill,
  })
  const { name, run } = cases.at(-1) as (typeof cases)[number] // the one that `fill` is for; it strikes everybody on this server
  it(name, run)
})
