// A disk that is full, and has room again: a file system of 8 MiB in memory, filled while a process writes. Nothing that was
// acknowledged is lost, reads go on, the process lives, and writes work again without a restart when there is room.

import { spawnSync } from "node:child_process"
import { appendFileSync, mkdtempSync, rmSync, statfsSync, truncateSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, describe, expect, it } from "vitest"
import { startStoreWorker } from "./support/store-process.ts"
import type { StoreCommand } from "./support/store-worker.ts"

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A file system of so many MiB. */
function smallDisk(mebibytes: number): string {
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-full-"))
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }))
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", folder], { encoding: "utf8" })
  if (mounted.status !== 0)
    throw new Error(`A small file system is needed: run this as root (mount: ${mounted.stderr})`)
  cleanups.push(() => spawnSync("umount", ["-l", folder]))
  return folder
}

/** Takes all the room but so many KiB. */
function fill(disk: string, leave: number): void {
  const ballast = join(disk, "ballast")
  const { bavail, bsize } = statfsSync(disk)
  appendFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - leave * 1_024)))
}

describe("F-FULL-1: a disk of 8 MiB", () => {
  it.each([
    ["file", "sessions"],
    ["sqlite", "sessions.db"],
  ])(
    "F-FULL-1: %s: full is told as full, reads work, the process lives, and it recovers by itself",
    async (scheme, name) => {
      const disk = smallDisk(8)
      const worker = await startStoreWorker(`${scheme}:${join(disk, name)}`)
      cleanups.push(worker.kill)
      const { child, ask } = worker
      await ask({ do: "set", key: "n", value: "0" })
      fill(disk, 512)

      for (let round = 0; round < 2; round++) {
        const acknowledged: number[] = []
        const code = await new Promise((resolve) => {
          const hear = (message: number | string): void => {
            if (typeof message === "number") acknowledged.push(message)
            else {
              child.off("message", hear)
              resolve(message)
            }
          }
          child.on("message", hear)
          child.send({ do: "write", prefix: `round-${round}-` } satisfies StoreCommand)
        })
        expect(code).toBe("full")
        expect(acknowledged.length).toBeGreaterThan(16)
        fill(disk, 0) // not even the room that a failed write gave back
        for (let again = 0; again < 3; again++) {
          expect(await ask({ do: "set", key: `more-${round}`, value: `"${"x".repeat(20_000)}"` })).toEqual({
            failed: "full",
          })
        }
        expect(await ask({ do: "get", key: `more-${round}` })).toBeNull()
        expect(await ask({ do: "get", key: "n" })).toMatchObject({ value: String(round) })
        for (const n of acknowledged) {
          expect(await ask({ do: "get", key: `round-${round}-${n}` })).toMatchObject({ value: String(n) })
        }
        truncateSync(join(disk, "ballast"), 0)
        expect(await ask({ do: "set", key: "n", value: String(round + 1) })).toMatchObject({ ok: true })
        fill(disk, 512)
      }
      expect(child.exitCode).toBeNull()
      expect(child.signalCode).toBeNull()
    },
    60_000,
  )
})
