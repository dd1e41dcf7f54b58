// `npm run bench` is run by people, now and then; what is broken in it would be found a year later. So its cheapest part is run
// here for one short round, to see that it still fits the packages: every row has a number, and no number is judged.

import { execFile } from "node:child_process"
import { join } from "node:path"
import { describe, expect, it } from "vitest"

const root = join(import.meta.dirname, "..")

interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function bench(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, ["bench/run.mjs", ...args], { cwd: root }, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

describe("npm run bench", () => {
  it("measures the parts and prints them as a table, beside the machine and the commit", async () => {
    const { code, stdout, stderr } = await bench("--only", "micro", "--quick")
    expect(code, stderr).toBe(0)
    expect(stdout).toMatch(/^# Benchmarks\n\n.+; Node v\d.+; commit [0-9a-f]{7}/)
    const rows = [...stdout.matchAll(/^\| (.+) \| (-?\d+) \|$/gm)].map(
      ([, what = "", ns]) => [what, Number(ns)] as const,
    )
    const parts = new Map(rows)
    for (const store of ["memory", "SQLite", "service (both ends of the wire in this process)"]) {
      for (const verb of ["get", "set if version", "touch", "set if absent", "delete"])
        expect(parts.get(`${store}: ${verb}`), `${store}: ${verb}`).toBeGreaterThan(0)
    }
    expect([...parts.keys()].filter((what) => /untouched request|new session/.test(what))).toHaveLength(2)
  })

  it.each([
    [["--only", "everything"], "Unknown part: everything"],
    [["--servers", "nothing of ours"], "No such server"],
    [["--fast"], "--fast"],
  ])("%j: says what there is, and measures nothing", async (args, message) => {
    const { code, stdout, stderr } = await bench(...args)
    expect([code, stdout]).toEqual([1, ""])
    expect(stderr).toContain(message)
  })
})
