// Puts what was measured into tables, and says on which machine and commit.

import { spawnSync } from "node:child_process"
import os from "node:os"

/** The middle one; of an even number the higher of the two in the middle. */
export const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]

/** A row that says what failed; a report with one in it is no good, and the run says so. */
export const failure = (error) => ({ failed: `failed: ${error.message.split("\n")[0].replaceAll("|", "\\|")}` })

/** Where and what this is. */
export function environment() {
  const git = (...args) => spawnSync("git", args, { encoding: "utf8" }).stdout.trim()
  const changed = git("status", "--porcelain", "--untracked-files=no") ? " with uncommitted changes" : ""
  return {
    at: new Date().toISOString(),
    commit: `${git("rev-parse", "--short", "HEAD")}${changed}`,
    node: process.version,
    machine: `${os.cpus()[0].model}, ${os.cpus().length} cores, ${Math.round(os.totalmem() / 2 ** 30)} GiB`,
  }
}

/** A Markdown table. */
export function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n")
}

export const number = (value, digits = 0) => (Number.isFinite(value) ? value.toFixed(digits) : "")
export const percent = (value) => (Number.isFinite(value) ? `${(value * 100).toFixed(0)} %` : "")
