// The load: wrk on its own CPU for measured slots, plain node:http for establishing sessions and counting lost updates.

import { spawn } from "node:child_process"
import http from "node:http"
import { fileURLToPath } from "node:url"
import { busySeconds, cpuSeconds, LOAD_CPU, PORT, residentMiB, SERVER_CPU } from "./processes.mjs"

/** When others took more of the server's CPU than this, a slot is measured again. */
export const QUIET = 0.06

const script = fileURLToPath(new URL("../load.lua", import.meta.url))

/** One GET by node:http: status, body, and the cookies as a Cookie field. */
export function get(path, { cookie, agent, port = PORT } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get(
      { host: "127.0.0.1", port, path, agent, headers: cookie ? { cookie } : {} },
      (response) => {
        let body = ""
        response.setEncoding("utf8").on("data", (part) => {
          body += part
        })
        response.on("end", () => {
          const cookies = (response.headers["set-cookie"] ?? []).map((field) => field.split(";")[0])
          resolve({ status: response.statusCode, body, cookie: cookies.join("; ") })
        })
      },
    )
    request.on("error", reject)
  })
}

/** Runs wrk once; requests, microseconds, bad replies, latencies. */
function wrk({ path, seconds, connections, cookies = "-", method, body, port }) {
  const args = [
    "-c",
    String(LOAD_CPU),
    "wrk",
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--timeout",
    "10s",
    "-s",
    script,
  ]
  const rest = [`http://127.0.0.1:${port}/`, "--", path, cookies, ...(method ? [method] : []), ...(body ? [body] : [])]
  return new Promise((resolve, reject) => {
    const child = spawn("taskset", [...args, ...rest], { stdio: ["ignore", "pipe", "inherit"] })
    let output = ""
    child.stdout.on("data", (part) => {
      output += part
    })
    child.on("error", reject)
    child.on("exit", () => {
      const result = /JSON(\{.*\})/.exec(output)
      if (result) resolve(JSON.parse(result[1]))
      else reject(new Error(`wrk said: ${output}`))
    })
  })
}

/**
 * Measures one slot: requests per second of CPU time that the server itself used, which holds still on a machine that others
 * use too, where requests per second do not. A slot in which others took much of the server's CPU is measured again.
 */
export async function measureSlot(server, { warmSeconds, attempts = 3, ...load }) {
  const options = { connections: 32, port: PORT, ...load }
  await wrk({ ...options, seconds: warmSeconds })
  let best = null
  for (let attempt = 0; attempt < attempts; attempt++) {
    const before = { cpu: cpuSeconds(server.pid), busy: busySeconds(SERVER_CPU), at: performance.now() }
    const seen = await wrk(options)
    const seconds = (performance.now() - before.at) / 1_000
    const cpu = cpuSeconds(server.pid) - before.cpu
    const others = Math.max(0, (busySeconds(SERVER_CPU) - before.busy - cpu) / seconds)
    const slot = {
      perCpuSecond: seen.requests / cpu,
      perSecond: seen.requests / (seen.us / 1e6),
      others,
      p50: seen.p50,
      p99: seen.p99,
      bad: seen.bad,
      memory: residentMiB(server.pid),
    }
    if (!best || slot.others < best.others) best = slot
    if (best.others < QUIET) break
  }
  return best
}
