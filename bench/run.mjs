// npm run bench: all benchmarks, side by side with the peers, as one Markdown report. `npm run bench -- --help` has the options.
//
// The report goes to standard output, progress to standard error. What fails is a row that says so and an exit status of 1: an empty
// cell would be read as "not measured", and the next number as if all had gone well.

import { spawnSync } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { missingEngines } from "./lib/engines.mjs"
import { missingTools } from "./lib/processes.mjs"
import { environment } from "./lib/report.mjs"
import { chosen, measuredStores, servers } from "./registry.mjs"

const here = dirname(fileURLToPath(import.meta.url))
const parts = {
  http: "requests per second of the server's CPU time, ours and the peers",
  lost: "how many of 200 parallel increments are lost, on one process and on two",
  service: "the key-value service by itself",
  micro: "CPU time of each verb of each store, and of each wrapper",
  sizes: "bytes on disk and in memory of a session",
  scale: "SQLite among very many sessions; takes long, so it is asked for by name",
}

const help = `npm run bench -- [options]

Measures Coatcheck beside its peers and prints one Markdown report.

  --only LIST      parts, comma-separated. Default: all but scale
${Object.entries(parts)
  .map(([name, what]) => `                     ${name.padEnd(8)} ${what}`)
  .join("\n")}
  --servers LIST   of http and lost, only servers whose name holds one of these; ";" between several
  --stores LIST    of micro and sizes, only stores whose name holds one of these; ";" between several
                     ${Object.keys(measuredStores).join(", ")}
  --rounds N       rounds, of which the report has medians. Default 5
  --seconds N      seconds a measurement over HTTP takes. Default 5
  --sessions LIST  numbers of sessions for scale, comma-separated. Default 100000,1000000; sizes takes the first
  --quick          one short round of everything, to see that it runs; its numbers mean nothing
  --out FILE       keep the single measurements as JSON
  --list           print the names of the servers that would be measured, and measure nothing
  --help           print this

npm run bench -- --only http --servers "redis;bare-fastify" --rounds 3
`

const values = options()
if (values.help) {
  process.stdout.write(help)
  process.exit(0)
}
const only = new Set(values.only?.split(",") ?? Object.keys(parts).filter((part) => part !== "scale"))
const unknown = [...only].filter((part) => !Object.hasOwn(parts, part))
if (unknown.length > 0) stop(`Unknown part: ${unknown.join(", ")}. Parts: ${Object.keys(parts).join(", ")}.`)
const names = chosen(Object.keys(servers), values.servers)
if (names.length === 0) stop(`No such server: ${values.servers}. Servers: ${Object.keys(servers).join("; ")}`)
const stores = chosen(Object.keys(measuredStores), values.stores)
if (stores.length === 0) stop(`No such store: ${values.stores}. Stores: ${Object.keys(measuredStores).join("; ")}`)
const compared = [...new Set(names.flatMap((name) => [servers[name].bare, name]).filter(Boolean))]
if (values.list) {
  process.stdout.write(`${compared.join("\n")}\n`)
  process.exit(0)
}
const rounds = positive("rounds", values.rounds ?? (values.quick ? "1" : "5"))
const seconds = positive("seconds", values.seconds ?? (values.quick ? "1" : "5"))
const sessions = (values.sessions ?? (values.quick ? "1000,5000" : "100000,1000000"))
  .split(",")
  .map((text) => positive("sessions", text))

const overHttp = only.has("http") || only.has("lost")
const inProcess = only.has("micro") || only.has("sizes")
const missing = [
  overHttp || only.has("service") ? missingTools() : null,
  missingEngines([
    ...(overHttp ? names.flatMap((name) => servers[name].needs ?? []) : []),
    ...(inProcess ? stores.map((name) => measuredStores[name]) : []),
  ]),
].filter((line) => line !== null)
if (missing.length > 0) stop(missing.join("\n"))
run("npx", ["tsc", "-b", "tsconfig.build.json"], resolve(here, ".."), "building the packages")
if (overHttp && !hasPeers()) run("npm", ["ci", "--ignore-scripts"], here, "installing the peers")

// Imported only now: they import the built packages.
const { measureHttp, httpTable } = await import("./http.mjs")
const { measureLost, lostTable } = await import("./lost.mjs")
const { measureService, serviceTable } = await import("./service.mjs")
const { measureMicro, microTable } = await import("./micro.mjs")
const { measureSizes, sizesTable } = await import("./sizes.mjs")
const { measureScale, scaleTable } = await import("./scale.mjs")

const warmSeconds = values.quick ? 1 : 2
const where = environment()
const results = { ...where, rounds, seconds }
const report = [
  `# Benchmarks\n\n${where.machine}; Node ${where.node}; commit ${where.commit}; ${where.at}; ${rounds} rounds of ${seconds} s, medians.`,
]
const failures = []
const part = async (name, title, measure, tableOf) => {
  if (!only.has(name)) return
  log(`\n${title}`)
  results[name] = await measure()
  failures.push(...results[name].filter(({ failed }) => failed).map((row) => `${row.name ?? row.what} ${row.failed}`))
  report.push(`## ${title}\n\n${tableOf(results[name])}`)
  if (values.out) writeFileSync(values.out, JSON.stringify(results))
}

await part(
  "http",
  "Requests per second of the server's CPU time",
  () => measureHttp({ rounds, seconds, warmSeconds, names: compared, log }),
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
  () => measureMicro({ rounds: values.quick ? 1 : 7, calls: values.quick ? 640 : 19_200, stores, log }),
  microTable,
)
await part("sizes", "Size of a session", () => measureSizes({ count: sessions[0], stores, log }), sizesTable)
await part("scale", "Many sessions in SQLite", () => measureScale({ sizes: sessions, log }), scaleTable)
process.stdout.write(`${report.join("\n\n")}\n`)
if (failures.length > 0) stop(`\nFailed:\n${failures.join("\n")}`)

function options() {
  try {
    return parseArgs({
      options: {
        only: { type: "string" },
        servers: { type: "string" },
        stores: { type: "string" },
        rounds: { type: "string" },
        seconds: { type: "string" },
        sessions: { type: "string" },
        quick: { type: "boolean", default: false },
        out: { type: "string" },
        list: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }).values
  } catch (error) {
    return stop(`${error.message}\n\n${help}`)
  }
}

function positive(name, text) {
  if (!/^[1-9]\d*$/.test(text)) stop(`--${name} takes whole numbers from 1 on, and not ${text}`)
  return Number(text)
}

function log(line) {
  process.stderr.write(`${line}\n`)
}

function stop(message) {
  log(message)
  process.exit(1)
}

/** Whether the peers are there, in the versions that package.json names. */
function hasPeers() {
  const packageOf = (...path) => JSON.parse(readFileSync(resolve(here, ...path, "package.json"), "utf8"))
  return Object.entries(packageOf().dependencies).every(
    ([name, version]) =>
      existsSync(resolve(here, "node_modules", name)) && packageOf("node_modules", name).version === version,
  )
}

function run(command, args, cwd, what) {
  log(`${what} …`)
  if (spawnSync(command, args, { cwd, stdio: ["ignore", "ignore", "inherit"] }).status !== 0)
    stop(`${what} failed: ${command} ${args.join(" ")}`)
}
