// Rounds of SIGKILL on a process that writes into a folder of the file store, while another one has it open. After each: all that was
// acknowledged is there, what was under way can be written by others at once, and what the dead one left is cleared away.

import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { openStore } from "coatcheck/open"
import { expect } from "vitest"
import { startStoreWorker } from "./store-process.ts"
import type { StoreCommand } from "./store-worker.ts"

/** Does so many rounds, and fails when none of them met a lock that was held. */
export async function killRounds(folder: string, rounds: number): Promise<void> {
  const url = `file:${folder}`
  const witness = await openStore(url) // open all the time, so that no start finds the folder to itself
  await witness.set("n", "0")
  let locksLeft = 0
  for (let round = 0; round < rounds; round++) {
    const worker = await startStoreWorker(url)
    const acknowledged: number[] = []
    const enough = 20 + Math.floor(Math.random() * 60)
    const killed = new Promise<void>((resolve, reject) => {
      worker.child.on("message", (n: number) => {
        acknowledged.push(n)
        if (acknowledged.length === enough) worker.kill().then(resolve, reject)
      })
    })
    worker.child.send({ do: "write", prefix: `round-${round}-` } satisfies StoreCommand)
    await killed
    locksLeft += (await readdir(join(folder, "locks"))).filter((name) => !name.endsWith("+")).length
    const begun = performance.now()
    const store = await openStore(url)
    expect(performance.now() - begun).toBeLessThan(2_000)
    expect(acknowledged.length).toBeGreaterThanOrEqual(enough)
    for (const n of acknowledged) {
      expect(await store.get(`round-${round}-${n}`)).toMatchObject({ value: String(n) })
    }
    const last = Math.max(...acknowledged)
    const around = Array.from({ length: 33 }, (_, at) => `round-${round}-${last - 16 + at}`)
    const outcomes = await Promise.all(around.map((key) => store.set(key, '"mine"')))
    expect(outcomes.every(({ ok }) => ok)).toBe(true)
    expect(await witness.get("n")).toMatchObject({ value: String(round) })
    expect(await store.set("n", String(round + 1))).toMatchObject({ ok: true })
    await store.close()
    expect(await readdir(join(folder, "locks"))).toEqual([])
  }
  expect(locksLeft, "some were killed while they held locks").toBeGreaterThan(0)
  const present = new Set((await readdir(join(folder, "work"))).map((name) => name.slice(0, 16)))
  expect(present.size, "the witness alone is left").toBe(1)
  await witness.close()
}
