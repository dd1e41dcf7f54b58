// Runs servers on a CPU of their own beside what they need on the other, and reads what they used. CPU time comes from /proc, so this
// runs on Linux only.

import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { servers, services } from "../registry.mjs"
import { withEngine } from "./engines.mjs"
import { inFolder, launch, stop } from "./programs.mjs"

export const SERVER_CPU = 0
export const LOAD_CPU = 1
export const PORT = 3900
export const SERVICE_PORT = 3901
/** Where a second process of the same server listens. */
export const SECOND_PORT = 3902
const folder = fileURLToPath(new URL("../servers/", import.meta.url))

/** Says what the HTTP benchmarks miss on this machine, or nothing. */
export function missingTools() {
  const has = (tool) => spawnSync("which", [tool]).status === 0
  if (process.platform !== "linux") return "The HTTP benchmarks read CPU time from /proc and run on Linux only."
  const missing = ["wrk", "taskset"].filter((tool) => !has(tool))
  if (missing.length > 0) return `Missing: ${missing.join(", ")}. Install with: apt-get install wrk util-linux`
  return null
}

/** Runs `measure(server)` beside a fresh process of a registered server and of the services that it needs. */
export function withServer(name, measure) {
  return withServers(name, [PORT], ([server]) => measure(server))
}

/** The same with one process of the server for each port, on the same services and the same folder. */
export function withServers(name, ports, measure) {
  return inFolder((data) =>
    withNeeds(servers[name].needs ?? [], data, async (urls) => {
      const running = []
      try {
        for (const port of ports) running.push(await startServer(servers[name], { cpu: SERVER_CPU, port, data, urls }))
        return await measure(running)
      } finally {
        for (const child of running) await stop(child)
      }
    }),
  )
}

/** Runs `measure(server)` beside one service, on the CPU of the servers. */
export function withService(name, measure) {
  return inFolder(async (data) => {
    const server = await startServer(services[name], { cpu: SERVER_CPU, port: PORT, data, urls: {} })
    try {
      return await measure(server)
    } finally {
      await stop(server)
    }
  })
}

/** Services run on the load's CPU. What they are reached by goes into the environment of who needs them, by name. */
async function withNeeds([need, ...others], data, work, urls = {}) {
  if (need === undefined) return work(urls)
  const next = (url) => withNeeds(others, data, work, { ...urls, [need]: url })
  if (!(need in services)) return withEngine(need, next, { cpu: LOAD_CPU })
  const service = await startServer(services[need], { cpu: LOAD_CPU, port: PORT, data, urls })
  try {
    return await next(`http://127.0.0.1:${SERVICE_PORT}`)
  } finally {
    await stop(service)
  }
}

function startServer({ file, env = {} }, { cpu, port, data, urls }) {
  const filled = Object.entries(env).map(([key, value]) => [
    key,
    value.replace(/\{(\w+)\}/g, (_, name) => (name === "DATA" ? data : urls[name])),
  ])
  const own = { NODE_ENV: "production", PORT: String(port), SERVICE_PORT: String(SERVICE_PORT) }
  return launch(process.execPath, [join(folder, `${file}.mjs`)], {
    cpu,
    ready: /READY/,
    echo: true,
    env: { ...process.env, ...own, ...Object.fromEntries(filled) },
    what: file,
  })
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
