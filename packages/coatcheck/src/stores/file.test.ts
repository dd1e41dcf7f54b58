import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, it } from "vitest"
import { storeCases } from "../testing/store-suite.ts"
import { fileStore } from "./file.ts"

// Thousands of files are made and synced; where memory can be a disk, they need not wait for one.
const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "coatcheck-file-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe("the file store keeps the contract", () => {
  let folders = 0
  const harness = {
    open: (setup: object) => fileStore(join(folder, String(++folders)), setup),
    openSecond: (setup: object) => fileStore(join(folder, String(folders)), setup),
  }
  for (const { name, run } of storeCases(harness)) it(name, run)
})
