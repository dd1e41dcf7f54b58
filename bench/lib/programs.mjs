// Programs that a benchmark starts, and the folders that it gives them. Each is waited for by what it says, ended by its own id, and
// gone with its folder also when a run is broken off.

import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const START_MS = 20_000
const STOP_MS = 5_000
/** Of what a program says, so much of the end is kept for the message when it does not start. */
const KEPT_CHARACTERS = 4_000

const live = new Set()
const folders = new Set()
process.on("exit", () => {
  for (const child of live) child.kill("SIGKILL")
  for (const one of folders) remove(one)
})
for (const [signal, number] of Object.entries({ SIGINT: 2, SIGTERM: 15, SIGHUP: 1 })) {
  process.on(signal, () => process.exit(128 + number))
}

/** Runs `work(folder)` with a folder that is gone afterwards. */
export async function inFolder(work) {
  const own = mkdtempSync(join(tmpdir(), "coatcheck-bench-"))
  folders.add(own)
  try {
    return await work(own)
  } finally {
    remove(own)
    folders.delete(own)
  }
}

/** Again if need be: processes that a program has started itself may still be about to go. */
function remove(path) {
  rmSync(path, { recursive: true, force: true, maxRetries: 10 })
}

/** Runs a program to its end; rejects with what it said when that is not a good one. */
export async function finish(command, args, options) {
  const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] })
  live.add(child)
  let said = ""
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      said = (said + text).slice(-KEPT_CHARACTERS)
    })
  }
  try {
    const [code] = await once(child, "close")
    if (code !== 0) throw new Error(`${command} ${args[0]} failed: ${said.trim().split("\n").at(-1)}`)
  } finally {
    live.delete(child)
  }
}

/**
 * Starts a program and resolves when it has said that it is ready; rejects with what it said instead. `cpu` is the only one it may use;
 * with `echo` its complaints are seen here too.
 */
export async function launch(command, args, { cpu, ready, what, echo = false, ...options }) {
  const pinned = cpu === undefined ? [command, args] : ["taskset", ["-c", String(cpu), command, ...args]]
  const child = spawn(...pinned, { ...options, stdio: ["ignore", "pipe", "pipe"] })
  live.add(child)
  let said = ""
  const heard = new Promise((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        said = (said + text).slice(-KEPT_CHARACTERS)
        if (ready.test(said)) resolve("ready")
      })
    }
  })
  if (echo) child.stderr.on("data", (text) => process.stderr.write(text))
  const ended = new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message))
    child.once("close", () => {
      live.delete(child)
      resolve("ended")
    })
  })
  let timer
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, START_MS, `nothing after ${START_MS / 1_000} s`)
  })
  const outcome = await Promise.race([heard, ended, late])
  clearTimeout(timer)
  if (outcome === "ready") return child
  child.kill("SIGKILL")
  const reason = /^\s*(?:Uncaught )?(\w*(?:Error|FATAL)\b.*)$/m.exec(said)?.[1] ?? said.trim().split("\n").at(-1)
  throw new Error(`${what} did not start (${outcome})${reason ? `: ${reason}` : ""}`)
}

/** Ends a process that `launch` started, and waits for it. */
export async function stop(child, signal = "SIGTERM") {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, "exit")
  child.kill(signal)
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS)
  await ended
  clearTimeout(timer)
}
