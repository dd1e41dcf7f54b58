import { mkdtemp, rm } from "node:fs/promises"
import { existsSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, it } from "vitest"
import { storeCases } from "../testing/store-suite.ts"
import { sqliteStore } from "./sqlite.ts"

let folder = ""
let files = 0
beforeAll(async () => {
  // Hundreds of files are made and synced; where memory can be a disk, they need not wait for one.
  folder = await mkdtemp(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "coatcheck-sqlite-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe("the sqlite store keeps the contract", () => {
  const harness = {
    open: (setup: object) => sqliteStore(join(folder, `${++files}.db`), setup),
    openSecond: (setup: object) => sqliteStore(join(folder, `${files}.db`), setup),
  }
  for (const { name, run } of storeCases(harness)) it(name, run)
})
