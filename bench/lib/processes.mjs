// Starts servers on a CPU of their own, waits until they listen, and reads what they used of it. CPU time comes from /proc, so
// this runs on Linux only.

import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { servers, services } from "../registry.mjs"

export const SERVER_CPU = 0
export const LOAD_CPU = 1
export const PORT = 3900
export const SERVICE_PORT = 3901
const START_MS = 10_000
const STOP_MS = 5_000
const folder = fileURLToPath(new URL("../servers/", import.meta.url))

/** Says what is missing on this machine, or nothing. */
export function missingTools() {
  const has = (tool) => spawnSync("which", [tool]).status === 0
  if (process.platform !== "linux") return "The HTTP benchmarks read CPU time from /proc and run on Linux only."
  const missing = ["wrk", "taskset"].filter((tool) => !has(tool))
  if (missing.length > 0) return `Missing: ${missing.join(", ")}. Install with: apt-get install wrk util-linux`
  return null
}

/** Runs `measure(server)` beside a fresh process of a registered server and of the services that it needs. */
export async function withServer(name, measure) {
  const data = mkdtempSync(join(tmpdir(), "coatcheck-bench-"))
  const running = []
  try {
    for (const need of servers[name].needs ?? []) running.push(await start(services[need], LOAD_CPU, data))
    const server = await start(servers[name], SERVER_CPU, data)
    running.push(server)
    return await measure(server)
  } finally {
    for (const child of running.reverse()) await stop(child)
    rmSync(data, { recursive: true, force: true })
  }
}

/** Runs `measure(server)` beside one service, on the CPU of the servers. */
export async function withService(name, measure) {
  const data = mkdtempSync(join(tmpdir(), "coatcheck-bench-"))
  const server = await start(services[name], SERVER_CPU, data)
  try {
    return await measure(server)
  } finally {
    await stop(server)
    rmSync(data, { recursive: true, force: true })
  }
}

async function start({ file, env = {} }, cpu, data) {
  const fill = (value) => value.replaceAll("{DATA}", data).replaceAll("{SERVICE_PORT}", String(SERVICE_PORT))
  const own = Object.fromEntries(Object.entries(env).map(([key, value]) => [key, fill(value)]))
  const child = spawn("taskset", ["-c", String(cpu), process.execPath, join(folder, `${file}.mjs`)], {
    env: { ...process.env, NODE_ENV: "production", PORT: String(PORT), SERVICE_PORT: String(SERVICE_PORT), ...own },
    stdio: ["ignore", "pipe", "inherit"],
  })
  const ended = once(child, "exit").then(() => "ended")
  const ready = new Promise((resolve) => {
    child.stdout.setEncoding("utf8").on("data", (text) => text.includes("READY") && resolve("ready"))
  })
  const late = new Promise((resolve) => setTimeout(resolve, START_MS, "late").unref())
  const outcome = await Promise.race([ready, ended, late])
  if (outcome === "ready") return child
  child.kill("SIGKILL")
  throw new Error(`${file} did not start (${outcome})`)
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, "exit")
  child.kill("SIGTERM")
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS)
  await ended
  clearTimeout(timer)
}

/** CPU seconds that a process has used, user and system. */
export function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ")
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Seconds that a CPU was busy, whoever used it. */
export function busySeconds(cpu) {
  const line = readFileSync("/proc/stat", "utf8")
    .split("\n")
    .find((one) => one.startsWith(`cpu${cpu} `))
  const [user, nice, system, , , irq, softirq, steal] = line.split(" ").slice(1).map(Number)
  return (user + nice + system + irq + softirq + steal) / 100
}

/** Memory of a process in MiB. */
export function residentMiB(pid) {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1_024)
}
