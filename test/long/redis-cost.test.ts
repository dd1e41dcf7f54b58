// What sessions cost in Redis: the server's memory per record, without and with an owner, and this process's CPU time a call. The memory
// is a promise (docs/reference/stores.md); the CPU depends on the machine, so it is printed and held to a generous bound.

import { redisStore } from "coatcheck/redis"
import { afterAll, describe, expect, it } from "vitest"
import { startRedis } from "../support/redis.ts"

const RECORDS = 100_000
const TOGETHER = 64
const server = await startRedis()
const store = await redisStore(server.url, { report: () => {} })
afterAll(() => store.close())

/** A session's record of 300 bytes. */
const value = JSON.stringify({ v: 1, created: 1_795_176_000_000, ends: 1_795_219_200_000, data: "x".repeat(238) })
const names = Array.from(
  { length: RECORDS },
  () => `session:${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url")}`,
)

/** Does it for every name, so many at once. */
async function all(work: (name: string, at: number) => Promise<unknown>, count = RECORDS): Promise<void> {
  let next = 0
  await Promise.all(
    Array.from({ length: TOGETHER }, async () => {
      for (let at = next++; at < count; at = next++) await work(names[at] as string, at) // there are as many
    }),
  )
}

async function used(): Promise<number> {
  return Number(await server.info("used_memory_dataset"))
}

describe("memory", () => {
  for (const [what, owner, most] of [
    ["without an owner", null, 600],
    ["with an owner of five sessions", (at: number) => `user-${Math.floor(at / 5)}`, 800],
    ["with an owner of one session", (at: number) => `user-${at}`, 800],
  ] as const) {
    it(`${what}: at most ${most} bytes a session of 300`, async () => {
      expect(value.length).toBe(300)
      await server.command("FLUSHALL")
      const before = Number(await server.info("used_memory"))
      const beforeData = await used()
      const expiresAt = Date.now() + 1_800_000
      await all((name, at) => store.set(name, value, { if: "absent", expiresAt, ...(owner && { owner: owner(at) }) }))
      const bytes = Math.round((Number(await server.info("used_memory")) - before) / RECORDS)
      console.info(
        `${what}: ${bytes} bytes of used_memory a session (${Math.round(((await used()) - beforeData) / RECORDS)} of data)`,
      )
      expect(bytes).toBeLessThanOrEqual(most)
    })
  }
})

it("CPU: microseconds of this process a call, 64 at once", async () => {
  await server.command("FLUSHALL")
  const count = 20_000
  const expiresAt = Date.now() + 1_800_000
  const measure = async (what: string, work: (name: string, at: number) => Promise<unknown>): Promise<void> => {
    const from = process.cpuUsage()
    const start = performance.now()
    await all(work, count)
    const { user, system } = process.cpuUsage(from)
    const micros = (user + system) / count
    console.info(
      `${what}: ${micros.toFixed(1)} µs of CPU, ${(((performance.now() - start) * 1_000) / count).toFixed(1)} µs of time`,
    )
    expect(micros).toBeLessThan(200)
  }
  for (const round of ["warm", "again"]) {
    await measure(`${round} insert`, (name) => store.set(name, value, { if: "absent", version: "v1", expiresAt }))
    await measure(`${round} get`, (name) => store.get(name))
    await measure(`${round} set`, (name) => store.set(name, value, { if: { version: "v1" }, version: "v2" }))
    await measure(`${round} touch`, (name) => store.touch(name, expiresAt + 1, { version: "v2" }))
    await measure(`${round} delete`, (name) => store.delete(name, { version: "v2" }))
  }
  await measure("insert with owner", (name, at) =>
    store.set(name, value, { if: "absent", version: "v1", expiresAt, owner: `u${at % 999}` }),
  )
})
