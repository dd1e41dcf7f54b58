// The failure suite at length: replies and requests that break off at every byte, or at a hundred places, over each store that speaks to
// a server, by each way to speak to it, and through the wrappers.

import { readFileSync } from "node:fs"
import { createService } from "@coatcheck/server"
import type { Store } from "coatcheck"
import { cachedStore } from "coatcheck/cached"
import { encryptedStore } from "coatcheck/encrypted"
import { httpStore } from "coatcheck/http"
import { memoryStore } from "coatcheck/memory"
import { postgresStore } from "coatcheck/postgres"
import { redisStore } from "coatcheck/redis"
import { type FailureHarness, failureCases } from "coatcheck/testing"
import { createClient } from "@redis/client"
import { Redis } from "ioredis"
import { afterAll, describe, it } from "vitest"
import { startPostgres } from "../support/postgres.ts"
import { makeCertificate, startRedis } from "../support/redis.ts"

const quiet = { report: () => {} }
const engine = memoryStore()
const service = createService(engine, { allowHosts: ["127.0.0.1"] })
const { port: servicePort } = await service.listen({ port: 0 })
const redis = await startRedis()
const certificate = await makeCertificate()
const secure = await startRedis({ tls: certificate })
const postgres = await startPostgres()
const pastPostgres = () => postgresStore(postgres.url, quiet)
await (await pastPostgres()).close() // the table is there before many open it at once
const pastRedis = () => redisStore(redis.url, quiet)
const tls = { ca: readFileSync(certificate.cert) }
afterAll(async () => {
  await service.close({ deadline: 1 })
  await Promise.all([redis.kill(), secure.kill(), postgres.stop()])
})

/** The store on a client that is the caller's, who closes it with the store here. */
function owning(store: Store, end: () => unknown): Store {
  return {
    ...store,
    async close() {
      await store.close()
      end()
    },
  }
}

const sealed = { secret: "a secret of a test, thirty-two bytes long at least", ...quiet }

/** What is the client's business where it is the caller's: when to give a connection up. */
const notOurs = /half-open|rubbish|thousands/

const ways: Readonly<Record<string, FailureHarness & { readonly but?: RegExp }>> = {
  "the http store": {
    target: servicePort,
    open: ({ port, deadline, report }) => httpStore(`http://127.0.0.1:${port}`, { deadline, report }),
    look: () => ({ ...engine, close: async () => {} }),
    cuts: Infinity,
  },
  "the Postgres store": {
    target: postgres.port,
    open: ({ port, deadline, report }) =>
      postgresStore(postgres.url.replace(`:${postgres.port}/`, `:${port}/`), { deadline, report }),
    look: pastPostgres,
    cuts: 100,
  },
  "the Postgres store without prepared statements": {
    target: postgres.port,
    open: ({ port, deadline, report }) =>
      postgresStore(postgres.url.replace(`:${postgres.port}/`, `:${port}/`), { deadline, report, prepare: false }),
    look: pastPostgres,
    cuts: 30,
  },
  "the Redis store": {
    target: redis.port,
    open: ({ port, deadline, report }) => redisStore(`redis://127.0.0.1:${port}`, { deadline, report }),
    look: pastRedis,
    cuts: 120,
  },
  "the Redis store over TLS": {
    target: secure.port,
    open: ({ port, deadline, report }) =>
      redisStore(`rediss://127.0.0.1:${port}`, { deadline, report, tls: { ...tls, servername: "localhost" } }),
    look: () => redisStore(secure.url, { ...quiet, tls }),
    cuts: 60,
  },
  "the Redis store on a client of ioredis": {
    target: redis.port,
    async open({ port, deadline, report }) {
      const client = new Redis({ host: "127.0.0.1", port, lazyConnect: true, retryStrategy: () => 50 })
      client.on("error", () => {})
      await client.connect()
      return owning(await redisStore(client, { deadline, report }), () => client.disconnect())
    },
    look: pastRedis,
    cuts: 30,
    but: notOurs,
  },
  "the Redis store on a client of @redis/client": {
    target: redis.port,
    async open({ port, deadline, report }) {
      const client = createClient({ socket: { host: "127.0.0.1", port, reconnectStrategy: 50 } })
      client.on("error", () => {})
      await client.connect()
      return owning(await redisStore(client, { deadline, report }), () => client.destroy())
    },
    look: pastRedis,
    cuts: 30,
    but: notOurs,
  },
  "a near-cache": {
    target: redis.port,
    open: async ({ port, deadline, report }) =>
      cachedStore(await redisStore(`redis://127.0.0.1:${port}`, { deadline, report }), { report }),
    look: pastRedis,
    cuts: 30,
  },
  "sealed values": {
    target: redis.port,
    open: async ({ port, deadline, report }) =>
      encryptedStore(await redisStore(`redis://127.0.0.1:${port}`, { deadline, report }), { ...sealed, report }),
    look: async () => encryptedStore(await pastRedis(), sealed),
    cuts: 30,
  },
}

describe.each(Object.entries(ways))("%s keeps the contract while the network fails", (_, { but, ...harness }) => {
  const cases = failureCases(harness).filter(({ name }) => !but?.test(name))
  for (const { name, run } of cases) it.concurrent(name, run)
})
