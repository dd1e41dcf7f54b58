// The power goes while a process writes: its files lie on a file system in an image; the process is killed, the image is copied
// as it is on "disk" at that moment, without what the kernel has not written yet, and the copy is mounted and opened. All that was
// acknowledged must be there. In a control strace takes the syncs out of the same store, and it must be seen to lose.

import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { StoreReport } from "coatcheck"
import { openStore } from "coatcheck/open"
import { afterAll, afterEach, describe, expect, it } from "vitest"
import { startStoreWorker } from "../support/store-process.ts"
import type { StoreCommand } from "../support/store-worker.ts"
import { tamper } from "../support/strace.ts"

const ROUNDS = 30
const CONTROL_ROUNDS = 5
const folder = mkdtempSync(join(tmpdir(), "coatcheck-power-"))
const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function sh(program: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: "utf8" })
  const why = error?.message ?? stderr
  if (status !== 0) throw new Error(`${program} is needed, and root: apt-get install e2fsprogs mount (${why.trim()})`)
}

function mount(image: string, at: string): () => void {
  mkdirSync(at, { recursive: true })
  sh("mount", "-o", "loop,commit=300", image, at) // the journal is committed when somebody syncs, not by the clock
  return () => sh("umount", "--lazy", at) // a damaged database may still be held open by whoever failed to open it
}

interface Loss {
  readonly acknowledged: number
  readonly lost: number
}

/** Lets a process write until it is killed after so many acknowledged writes, and looks at what the disk holds then. */
async function round(scheme: string, name: string, isSynced: boolean, enough: number): Promise<Loss> {
  const image = join(folder, "disk.img")
  const live = join(folder, "live")
  sh("truncate", "-s", "64M", image)
  sh("mkfs.ext4", "-q", "-F", image)
  const unmount = mount(image, live)
  const acknowledged: number[] = []
  try {
    sh("sync", "-f", live)
    const worker = await startStoreWorker(`${scheme}${join(live, name)}?deadline=60s`)
    cleanups.push(worker.kill)
    // The control: each sync is told that it is done, and is not.
    const tracing = isSynced ? null : await tamper(worker.child.pid, "fsync,fdatasync", "retval=0", join(folder, "log"))
    await new Promise<void>((resolve, reject) => {
      worker.child.on("message", (n: number | string) => {
        if (typeof n === "string") reject(new Error(`The worker could not write: ${n}`))
        else acknowledged.push(n)
        if (acknowledged.length === enough) worker.kill().then(resolve, reject)
      })
      worker.child.send({ do: "write", prefix: "k" } satisfies StoreCommand)
    })
    cpSync(image, join(folder, "after.img"))
    if (tracing) expect((await tracing.end()).length, "syncs that were left out").toBeGreaterThan(0)
  } finally {
    unmount()
    rmSync(image)
  }
  const after = join(folder, "after")
  const unmountAfter = mount(join(folder, "after.img"), after)
  try {
    return {
      acknowledged: acknowledged.length,
      lost: await lostIn(`${scheme}${join(after, name)}`, acknowledged, isSynced),
    }
  } finally {
    unmountAfter()
    rmSync(join(folder, "after.img"))
  }
}

/** How many of the acknowledged writes are not there. Where syncs were left out the store may also be damaged, or none at all. */
async function lostIn(url: string, acknowledged: readonly number[], isSynced: boolean): Promise<number> {
  const reports: StoreReport[] = []
  const forgive = (error: unknown): null => {
    if (isSynced) throw error
    return null
  }
  const store = await openStore(url, { report: (report) => reports.push(report) }).catch(forgive)
  if (store === null) return acknowledged.length
  try {
    let lost = 0
    for (const n of acknowledged) {
      const entry = await store.get(`k${n}`).catch(forgive)
      if (entry === null) lost += 1
      else expect(entry.value).toBe(String(n))
    }
    if (isSynced) {
      for (const { key, value } of (await store.list({ limit: 1_000 })).entries) expect(key).toBe(`k${value}`)
      expect(await store.set("k0", "0")).toMatchObject({ ok: true })
      expect(reports).toEqual([])
    }
    return lost
  } finally {
    await store.close()
  }
}

/** Some rounds, each killed at another moment. */
async function rounds(scheme: string, name: string, times: number, isSynced: boolean): Promise<Loss> {
  const all: Loss[] = []
  for (let at = 0; at < times; at++) {
    const enough = 20 + Math.floor(Math.random() * 200)
    all.push(await round(scheme, name, isSynced, enough))
  }
  const sum = (of: (loss: Loss) => number): number => all.reduce((total, loss) => total + of(loss), 0)
  return { acknowledged: sum((loss) => loss.acknowledged), lost: sum((loss) => loss.lost) }
}

describe("F-POW-1: the power goes", () => {
  it.each([
    ["file:", "store"],
    ["sqlite:", "store.db"],
  ])("F-POW-1: %s loses nothing that was acknowledged; without its syncs it does", async (scheme, name) => {
    const control = await rounds(scheme, name, CONTROL_ROUNDS, false)
    const real = await rounds(scheme, name, ROUNDS, true)
    console.log(`${scheme} ${ROUNDS} rounds:`, real, `${CONTROL_ROUNDS} without syncs:`, control)
    expect(control.lost, "the control must lose, or this test shows nothing").toBeGreaterThan(0)
    expect(real.lost).toBe(0)
  })
})
