// Several processes on one SQLite file, real ones: what one writes the others see, conditions hold between them, and a process that
// is killed takes nothing with it that was acknowledged.

import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openStore } from "coatcheck/open"
import { afterEach, describe, expect, it } from "vitest"
import { startStoreWorker, type StoreWorker, type WorkerOptions } from "./support/store-process.ts"
import type { StoreCommand } from "./support/store-worker.ts"

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function newFile(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-processes-"))
  cleanups.push(() => rm(folder, { recursive: true, force: true }))
  return `sqlite:${join(folder, "store.db")}?deadline=20s`
}

/** A process that has the store open, until the test is over. */
async function startWorker(url: string, options?: WorkerOptions): Promise<StoreWorker> {
  const worker = await startStoreWorker(url, options)
  cleanups.push(worker.kill)
  return worker
}

describe("two processes on one SQLite file", () => {
  it("KVS-02 SES-15 S11: see each other's writes, lose no increment, and one alone wins an insert", async () => {
    const url = await newFile()
    const [a, b] = await Promise.all([startWorker(url), startWorker(url)])

    for (const [writer, reader] of [
      [a, b],
      [b, a],
    ] as const) {
      for (let round = 0; round < 20; round++) {
        const written = await writer.ask({ do: "set", key: "seen", value: String(round) })
        const { version } = written as { version: string }
        expect(await reader.ask({ do: "get", key: "seen" })).toMatchObject({ value: String(round), version })
      }
    }

    await a.ask({ do: "set", key: "n", value: "0" })
    const counting = { do: "count", key: "n", times: 25, clients: 8 } as const
    const conflicts = await Promise.all([a.ask(counting), b.ask(counting)])
    expect(await a.ask({ do: "get", key: "n" })).toMatchObject({ value: "400" })
    expect(Math.max(...(conflicts as number[]))).toBeGreaterThan(0)

    const wins = await Promise.all([
      a.ask({ do: "insert", prefix: "won-", count: 200, value: '"a"' }),
      b.ask({ do: "insert", prefix: "won-", count: 200, value: '"b"' }),
    ])
    const [byA, byB] = wins as [string[], string[]]
    expect([...byA, ...byB].toSorted()).toEqual(Array.from({ length: 200 }, (_, at) => `won-${at}`).toSorted())
    const store = await openStore(url)
    for (const [keys, value] of [
      [byA, '"a"'],
      [byB, '"b"'],
    ] as const) {
      for (const key of keys) expect(await store.get(key)).toMatchObject({ value })
    }
    await store.close()
    expect(await a.ask({ do: "close" }).catch((error: unknown) => String(error))).toMatch(/ended with 0/)
    expect(await b.ask({ do: "get", key: "n" })).toMatchObject({ value: "400" })
  }, 60_000)

  it("K14: killed in the middle of its writes, a process loses none that was acknowledged", async () => {
    const url = await newFile()
    for (let round = 0; round < 5; round++) {
      const worker = await startWorker(url)
      const acknowledged: number[] = []
      const enough = 100 + Math.floor(Math.random() * 400)
      const killed = new Promise<void>((resolve, reject) => {
        worker.child.on("message", (n: number) => {
          acknowledged.push(n)
          if (acknowledged.length === enough) worker.kill().then(resolve, reject)
        })
      })
      worker.child.send({ do: "write", prefix: `round-${round}-` } satisfies StoreCommand)
      await killed
      const begun = performance.now()
      const store = await openStore(url)
      expect(performance.now() - begun).toBeLessThan(2_000)
      expect(acknowledged.length).toBeGreaterThanOrEqual(enough)
      for (const n of acknowledged) {
        expect(await store.get(`round-${round}-${n}`)).toMatchObject({ value: String(n) })
      }
      await store.close()
    }
  }, 120_000)

  it("F-FULL-3: when the file can't grow, writes fail, reads go on, the process lives, and all that was acknowledged is there", async () => {
    const url = await newFile()
    const worker = await startWorker(url, { fileKiB: 400 })
    const acknowledged: number[] = []
    const code = await new Promise((resolve) => {
      worker.child.on("message", (message: number | string) => {
        if (typeof message === "number") acknowledged.push(message)
        else resolve(message)
      })
      worker.child.send({ do: "write", prefix: "k" } satisfies StoreCommand)
    })
    expect(["full", "unavailable"]).toContain(code)
    worker.child.removeAllListeners("message")
    expect(await worker.ask({ do: "get", key: "k0" })).toMatchObject({ value: "0" })
    await worker.kill()
    expect(acknowledged.length).toBeGreaterThan(16)
    const store = await openStore(url)
    for (const n of acknowledged) expect(await store.get(`k${n}`)).toMatchObject({ value: String(n) })
    expect((await store.set("more", "1")).ok).toBe(true)
    await store.close()
  }, 60_000)
})
