// `npm run bench` is run by people, now and then; what is broken in it would be found a year later. So its parts in one process are run
// here for one short round, to see that they still fit the packages: every row has a number, and no number is judged.

import { execFile } from "node:child_process"
import { join } from "node:path"
import { describe, expect, it } from "vitest"

const root = join(import.meta.dirname, "..")

interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function bench(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { cwd: root, env: { ...process.env, ...environment } }
    const child = execFile(process.execPath, ["bench/run.mjs", ...args], options, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

/** The rows of the tables: what it is, and its last cells as numbers. */
function rowsOf(report: string): Map<string, readonly number[]> {
  const lines = [...report.matchAll(/^\| (.+) \|$/gm)].map(([, cells = ""]) => cells.split(" | "))
  return new Map(lines.map(([what = "", ...cells]) => [what, cells.map(Number)]))
}

const verbs = ["get", "set if version", "touch", "set if absent", "delete"]

describe("npm run bench", () => {
  it("measures the parts and prints them as a table, beside the machine and the commit", async () => {
    const { code, stdout, stderr } = await bench(["--only", "micro", "--quick"])
    expect(code, stderr).toBe(0)
    expect(stdout).toMatch(/^# Benchmarks\n\n.+; Node v\d.+; commit [0-9a-f]{7}/)
    const parts = rowsOf(stdout)
    const stores = ["memory", "SQLite", "files", "Redis", "Postgres", "service (both ends of the wire in this process)"]
    for (const part of [
      ...stores.flatMap((store) => verbs.map((verb) => `${store}: ${verb}`)),
      "near-cache on Redis: get, a hit",
      "a new session: id, hash, record, cookie text, memory store",
    ]) {
      expect(parts.get(part)?.[0], part).toBeGreaterThan(0)
    }
    // What is added to a call is a difference, and one short round may see it below nothing.
    for (const part of [
      "guarded, added to a get",
      "encrypted, added to a get",
      "an untouched request through the node adapter, over the bare handler",
    ]) {
      expect(parts.get(part)?.[0], part).toEqual(expect.any(Number))
    }
  })

  it("measures the size of a session in each engine", async () => {
    const { code, stdout, stderr } = await bench(["--only", "sizes", "--quick", "--sessions", "50"])
    expect(code, stderr).toBe(0)
    const sizes = rowsOf(stdout)
    for (const engine of [
      "SQLite, on disk",
      "files, on disk",
      "Postgres, on disk, never vacuumed",
      "Redis, of memory",
    ]) {
      const [count = 0, without = 0, withOwner = 0] = sizes.get(engine) ?? []
      expect([count > 0, without > 300, withOwner > 300], engine).toEqual([true, true, true])
    }
  })

  it("says what fails in its row, goes on with the next, and ends with a status that is no success", async () => {
    const { code, stdout, stderr } = await bench(["--only", "micro", "--quick", "--stores", "sqlite;memory"], {
      TMPDIR: "/nowhere",
    })
    expect(stdout).toMatch(/^\| SQLite \| failed: .+ \|$/m)
    expect(rowsOf(stdout).get("memory: get")?.[0]).toBeGreaterThan(0)
    expect(stderr).toContain("Failed:\nSQLite failed: ")
    expect(code).toBe(1)
  })

  it("takes parts of names, and lists whom they choose with those they are compared to", async () => {
    const { code, stdout } = await bench(["--servers", "REDIS; koa-", "--list"])
    expect(code).toBe(0)
    const names = stdout.trimEnd().split("\n")
    expect(names).toEqual(
      expect.arrayContaining([
        "bare-node",
        "bare-koa",
        "coatcheck on fastify, Redis",
        "@fastify/session, connect-redis",
      ]),
    )
    expect(names.filter((name) => !/redis|bare|koa/i.test(name))).toEqual([])
  })

  it("explains itself", async () => {
    const { code, stdout, stderr } = await bench(["--help"])
    expect([code, stderr]).toEqual([0, ""])
    for (const option of ["--only", "--servers", "--stores", "--rounds", "--seconds", "--sessions", "--quick", "--out"])
      expect(stdout).toContain(`  ${option} `)
  })

  it("names a program that is missing and how to get it, before anything is measured", async () => {
    const { code, stdout, stderr } = await bench(["--only", "micro", "--stores", "redis"], { PATH: "/nowhere" })
    expect([code, stdout]).toEqual([1, ""])
    expect(stderr).toBe("Missing: redis-server. Install with: apt-get install redis-server\n")
  })

  it.each([
    [["--only", "everything"], "Unknown part: everything"],
    [["--servers", "nothing of ours"], "No such server"],
    [["--stores", "nothing of ours"], "No such store"],
    [["--rounds", "none"], "--rounds takes whole numbers"],
    [["--fast"], "Unknown option '--fast'"],
  ])("%j: says what there is, and measures nothing", async (args, message) => {
    const { code, stdout, stderr } = await bench(args)
    expect([code, stdout]).toEqual([1, ""])
    expect(stderr).toContain(message)
    expect(stderr).not.toMatch(/^\s+at /m) // no stack
  })
})
