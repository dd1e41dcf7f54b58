// Many rounds of SIGKILL on a process that writes into a folder; the short run of ../file-store-processes.test.ts has a few.

import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { it } from "vitest"
import { killRounds } from "../support/kill-rounds.ts"

const ROUNDS = 50

it("F-KILL-1: killed fifty times in the middle of its writes, a process loses none that was acknowledged and leaves no lock that blocks", async () => {
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-file-kill-"))
  try {
    await killRounds(join(folder, "store"), ROUNDS)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
