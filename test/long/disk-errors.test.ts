// The n-th call of the file system fails, for each kind of call and n = 1, 2, … until a run sees no failure any more. strace makes
// them fail in a process that runs; its log is the proof that each did. What must hold is checked in the process after each write and
// here, by another one, after each run: what was acknowledged stands, what "did not happen" did not.

import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openStore } from "coatcheck/open"
import { afterAll, describe, expect, it } from "vitest"
import type { DiskRun } from "../support/disk-worker.ts"
import { startWorker, type Worker } from "../support/store-process.ts"
import { tamper } from "../support/strace.ts"

const folder = mkdtempSync(join(tmpdir(), "coatcheck-eio-"))
const workers: Worker<"run">[] = []
afterAll(async () => {
  for (const worker of workers) await worker.kill()
  rmSync(folder, { recursive: true, force: true })
})

/** System calls that one kind of call takes, on any machine. */
const calls: Readonly<Record<string, string>> = {
  open: "?open,openat",
  write: "pwrite64",
  sync: "fsync,fdatasync",
  link: "?link,linkat",
  rename: "?rename,renameat,?renameat2",
  unlink: "?unlink,unlinkat",
}

/** A process that has the store open; all its syncs in one thread, because strace counts by thread. */
async function start(url: string): Promise<Worker<"run">> {
  const worker = await startWorker<"run">(url, {
    file: "test/support/disk-worker.ts",
    env: { UV_THREADPOOL_SIZE: "1" },
  })
  workers.push(worker)
  return worker
}

/** A few writes; rejects when the worker has ended because something stands in the store that it was never told. */
async function run(worker: Worker<"run">): Promise<DiskRun> {
  return (await worker.ask("run")) as DiskRun
}

/** Lets the first, second, … call of a kind fail, until none does. Resolves with how many faults there were and what they led to. */
async function failEach(url: string, worker: Worker<"run">, call: string, error: string): Promise<Map<string, number>> {
  const seen = new Map<string, number>()
  const add = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1)
  for (let nth = 1; ; nth++) {
    const tracing = await tamper(worker.child.pid, calls[call] ?? "", `error=${error}:when=${nth}`, join(folder, "log"))
    const { failed, may } = await run(worker)
    const faults = await tracing.end()
    for (const code of failed) add(code)
    const other = await openStore(url, { report: () => {} })
    for (const [key, values] of Object.entries(may)) {
      expect(values, `${call} ${error} ${nth}: ${key}`).toContain((await other.get(key))?.value ?? null)
    }
    await other.close()
    if (faults.length === 0) {
      expect(failed).toEqual([])
      return seen
    }
    add("faults")
    const isOfAWrite = ["write", "sync", "link", "rename"].includes(call)
    if (url.startsWith("file:") && isOfAWrite) {
      expect(
        failed.length,
        `${call} ${error} ${nth}: a write was acknowledged on ${faults.join("; ")}`,
      ).toBeGreaterThan(0)
    }
  }
}

describe("F-EIO-1: the n-th call fails", () => {
  it.each([
    ["file:", "store", Object.keys(calls)],
    ["sqlite:", "store.db", ["write", "sync"]],
  ] as const)(
    "F-EIO-1: %s never acknowledges what is not on disk, and goes on after each failure",
    async (scheme, name, kinds) => {
      const url = `${scheme}${join(folder, name)}`
      const worker = await start(url)
      await run(worker)
      for (const call of kinds) {
        for (const error of ["EIO", "ENOSPC"]) {
          const seen = await failEach(url, worker, call, error)
          console.log(`${scheme} ${call} ${error}:`, Object.fromEntries(seen))
          expect(seen.get("faults"), `${call} ${error}: faults`).toBeGreaterThan(0)
        }
      }
      expect((await run(worker)).failed).toEqual([])
    },
  )
})
