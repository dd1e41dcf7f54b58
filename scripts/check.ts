// `npm run check`: everything that can be said about the tree without running it, in one command that is quiet when all is well.
// A table and not a chain of npm scripts, because a chain stops at the first failure and pays npm's start-up for each link; here
// every failure is seen at once, and two checks run side by side. `npm run check lint docs` runs those two alone.

import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { availableParallelism, tmpdir } from "node:os"
import { join } from "node:path"

interface Check {
  readonly name: string
  readonly why: string
  /** Commands run one after the other, each with its arguments. */
  readonly run: readonly (readonly string[])[]
}

const root = join(import.meta.dirname, "..")
const tarballs = mkdtempSync(join(tmpdir(), "coatcheck-pack-"))
const library = join(tarballs, "coatcheck-0.1.0.tgz")
const server = join(tarballs, "coatcheck-server-0.1.0.tgz")
const source = ["node", "--conditions=@coatcheck/source", "--import", "tsx"]
const pack = [
  "npm",
  "pack",
  "--silent",
  "--ignore-scripts",
  "-w",
  "coatcheck",
  "-w",
  "@coatcheck/server",
  "--pack-destination",
  tarballs,
]

const checks: readonly Check[] = [
  {
    name: "types",
    why: "the compiler, for every file and for what is built",
    run: [
      ["tsc", "-p", "."],
      ["tsc", "-b", "tsconfig.build.json"],
    ],
  },
  {
    name: "lint",
    why: "promises nobody waits for, `any`, the arrows between layers",
    run: [["oxlint", "--type-aware"]],
  },
  {
    name: "format",
    why: "one form for all, so that a change shows what changed",
    run: [["biome", "format", "--log-level=warn"]],
  },
  { name: "house", why: "rules of the house that no tool knows", run: [[...source, "scripts/check-house.ts"]] },
  {
    name: "unused",
    why: "files, exports and dependencies that nobody needs",
    run: [["knip", "--no-progress", "--treat-config-hints-as-errors"]],
  },
  { name: "docs", why: "pages that say what is there", run: [[...source, "scripts/check-docs.ts"]] },
  { name: "size", why: "what a door costs who opens it", run: [[...source, "scripts/check-size.ts"]] },
  {
    name: "package",
    why: "what npm will publish: every door opens, with its types",
    run: [
      pack,
      ["publint", "run", library, "--strict"],
      ["publint", "run", server, "--strict"],
      ["attw", library, "--profile", "esm-only", "--quiet"],
      ["attw", server, "--profile", "esm-only", "--quiet"],
    ],
  },
]

/** Runs one command with the project's own tools; answers its output when it fails, else null. */
function failure([command = "", ...args]: readonly string[]): Promise<string | null> {
  return new Promise((resolve) => {
    const path = `${join(root, "node_modules/.bin")}:${process.env.PATH ?? ""}`
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, PATH: path, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    })
    let output = ""
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()))
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()))
    child.on("error", (error) => resolve(`${command}: ${error.message}`))
    child.on("close", (code) => resolve(code === 0 ? null : `$ ${command} ${args.join(" ")}\n${output.trim()}`))
  })
}

async function perform(check: Check): Promise<boolean> {
  const start = performance.now()
  for (const command of check.run) {
    const output = await failure(command)
    if (output !== null) {
      console.error(`\n✗ ${check.name}: ${check.why}\n${output}\n`)
      return false
    }
  }
  console.log(`✓ ${check.name.padEnd(8)} ${((performance.now() - start) / 1000).toFixed(1)} s`)
  return true
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !checks.some((check) => check.name === name))
if (unknown.length > 0) {
  console.error(
    `There is no check "${unknown.join(", ")}". There are: ${checks.map((check) => check.name).join(", ")}.`,
  )
  process.exit(2)
}

const chosen = checks.filter((check) => wanted.length === 0 || wanted.includes(check.name))
const results: boolean[] = []
// What is built comes first: sizes and packages look at it.
const [first, ...rest] = chosen
if (first) results.push(await perform(first))
const queue = [...rest]
const worker = async (): Promise<void> => {
  for (let check = queue.shift(); check; check = queue.shift()) results.push(await perform(check))
}
await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, worker))
rmSync(tarballs, { recursive: true })
process.exitCode = results.includes(false) ? 1 : 0
