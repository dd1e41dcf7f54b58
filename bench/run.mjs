// npm run bench: all benchmarks, side by side with the peers, as one Markdown report.
//
//   npm run bench                         everything, some 40 minutes
//   npm run bench -- --only http,lost     parts: http, lost, service, micro, and scale, which is not in "everything"
//   npm run bench -- --only scale --sizes 100000,1000000,10000000
//   npm run bench -- --rounds 3 --seconds 4 --servers "bare-node,coatcheck, memory"
//   npm run bench -- --quick              one short round of everything, to see that it runs: its numbers mean nothing
//
// The report goes to standard output, progress to standard error; --out FILE keeps the single measurements as JSON.

import { spawnSync } from "node:child_process"
import { existsSync, writeFileSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { missingTools } from "./lib/processes.mjs"
import { environment } from "./lib/report.mjs"
import { servers } from "./registry.mjs"

const here = dirname(fileURLToPath(import.meta.url))
const { values } = parseArgs({
  options: {
    only: { type: "string", default: "http,lost,service,micro" },
    servers: { type: "string" },
    rounds: { type: "string" },
    seconds: { type: "string" },
    quick: { type: "boolean", default: false },
    sizes: { type: "string", default: "100000,1000000" },
    out: { type: "string" },
  },
})
const parts = ["http", "lost", "service", "micro", "scale"]
const only = new Set(values.only.split(","))
const log = (line) => process.stderr.write(`${line}\n`)
const stop = (message) => {
  log(message)
  process.exit(1)
}

const unknown = [...only].filter((part) => !parts.includes(part))
if (unknown.length > 0) stop(`Unknown part: ${unknown.join(", ")}. Parts: ${parts.join(", ")}.`)
const names = values.servers
  ? Object.keys(servers).filter((name) => values.servers.split(";").includes(name))
  : Object.keys(servers)
if (names.length === 0) stop(`No such server. Separate several by ";". Servers: ${Object.keys(servers).join("; ")}`)
const needed = [...new Set(names.flatMap((name) => [servers[name].bare, name]).filter(Boolean))]

const usesHttp = only.has("http") || only.has("service") || only.has("lost")
const missing = usesHttp && missingTools()
if (missing) stop(missing)
run("npx", ["tsc", "-b", "tsconfig.build.json"], resolve(here, ".."), "building the packages")
if (usesHttp && !existsSync(resolve(here, "node_modules")))
  run("npm", ["ci", "--ignore-scripts"], here, "installing the peers")

// Imported only now: they import the built packages.
const { measureHttp, httpTable } = await import("./http.mjs")
const { measureLost, lostTable } = await import("./lost.mjs")
const { measureService, serviceTable } = await import("./service.mjs")
const { measureMicro, microTable } = await import("./micro.mjs")
const { measureScale, scaleTable } = await import("./scale.mjs")

const rounds = Number(values.rounds ?? (values.quick ? 1 : 5))
const seconds = Number(values.seconds ?? (values.quick ? 1 : 5))
const warmSeconds = values.quick ? 1 : 2
const where = environment()
const results = { ...where, rounds, seconds }
const report = [
  `# Benchmarks\n\n${where.machine}; Node ${where.node}; commit ${where.commit}; ${where.at}; ${rounds} rounds of ${seconds} s, medians.`,
]
const part = async (name, title, measure, tableOf) => {
  if (!only.has(name)) return
  log(`\n${title}`)
  results[name] = await measure()
  report.push(`## ${title}\n\n${tableOf(results[name])}`)
  if (values.out) writeFileSync(values.out, JSON.stringify(results))
}

await part(
  "http",
  "Requests per second of the server's CPU time",
  () => measureHttp({ rounds, seconds, warmSeconds, names: needed, log }),
  httpTable,
)
await part("lost", "Lost updates", () => measureLost({ names, log }), lostTable)
await part(
  "service",
  "The key-value service on SQLite",
  () => measureService({ rounds, seconds, warmSeconds, log }),
  serviceTable,
)
await part(
  "micro",
  "Parts",
  () => measureMicro({ rounds: values.quick ? 1 : 7, calls: values.quick ? 1_280 : 19_200, log }),
  microTable,
)
await part(
  "scale",
  "Many sessions in SQLite",
  () => measureScale({ sizes: values.quick ? [1_000, 5_000] : values.sizes.split(",").map(Number), log }),
  scaleTable,
)
process.stdout.write(`${report.join("\n\n")}\n`)

function run(command, args, cwd, what) {
  log(`${what} …`)
  if (spawnSync(command, args, { cwd, stdio: ["ignore", "ignore", "inherit"] }).status !== 0)
    stop(`${what} failed: ${command} ${args.join(" ")}`)
}
