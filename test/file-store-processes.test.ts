// Several processes on one folder of the file store, real ones: what one writes the others see, conditions hold between them, and a
// process that is killed takes nothing with it that was acknowledged and leaves no lock that blocks.

import { mkdtemp, readdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openStore } from "coatcheck/open"
import { afterEach, describe, expect, it } from "vitest"
import { killRounds } from "./support/kill-rounds.ts"
import { startStoreWorker, type StoreWorker } from "./support/store-process.ts"

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-file-processes-"))
  cleanups.push(() => rm(folder, { recursive: true, force: true }))
  return join(folder, "store")
}

async function start(url: string): Promise<StoreWorker> {
  const worker = await startStoreWorker(url)
  cleanups.push(worker.kill)
  return worker
}

describe("two processes on one folder", () => {
  it("KVS-02 SES-15 S11: see each other's writes, and of 2 × 32 clients no increment is lost and none is added", async () => {
    const folder = await newFolder()
    const url = `file:${folder}?deadline=20s`
    const [a, b] = await Promise.all([start(url), start(url)])
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
    const counting = { do: "count", key: "n", times: 4, clients: 32 } as const
    const conflicts = await Promise.all([a.ask(counting), b.ask(counting)])
    expect(await a.ask({ do: "get", key: "n" })).toMatchObject({ value: String(2 * 32 * 4) })
    expect(Math.max(...(conflicts as number[]))).toBeGreaterThan(0)

    const wins = await Promise.all([
      a.ask({ do: "insert", prefix: "won-", count: 100, value: '"a"' }),
      b.ask({ do: "insert", prefix: "won-", count: 100, value: '"b"' }),
    ])
    const [byA, byB] = wins as [string[], string[]]
    expect([...byA, ...byB].toSorted()).toEqual(Array.from({ length: 100 }, (_, at) => `won-${at}`).toSorted())
    const store = await openStore(url)
    for (const key of byA) expect(await store.get(key)).toMatchObject({ value: '"a"' })
    for (const key of byB) expect(await store.get(key)).toMatchObject({ value: '"b"' })
    await store.close()
    expect(await a.ask({ do: "close" }).catch((error: unknown) => String(error))).toMatch(/ended with 0/)
    expect(await b.ask({ do: "get", key: "n" })).toMatchObject({ value: "256" })
    expect(await b.ask({ do: "close" }).catch((error: unknown) => String(error))).toMatch(/ended with 0/)
    expect([await readdir(join(folder, "locks")), await readdir(join(folder, "work"))]).toEqual([[], []])
  }, 60_000)

  it("K14 F-KILL-1: killed in the middle of its writes, a process loses none that was acknowledged and leaves no lock that blocks", async () => {
    const folder = await newFolder()
    await killRounds(folder, 6)
  }, 60_000)
})
