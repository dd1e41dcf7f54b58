// `npm start`: the key-value service with its records in SQLite under ./var, and all examples beside it, each a child process of this
// one. Their lines come out labelled, and their pages link to each other. The pages start when the service is healthy; Ctrl-C stops the
// pages, then the service; when one of them ends by itself, the others are stopped too. A process manager does all this as well (see
// Procfile), but a fresh clone has none.
//
// The service is started as users start it, by its command. Children get process groups of their own, so that a Ctrl-C, which a
// terminal sends to everybody in the group, reaches them once and in order, through here.

import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { get } from "node:http"
import { createServer } from "node:net"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { readSettings } from "./counter/settings.ts"
import { writeNeighbours } from "./shared/neighbours.ts"
import { parseOptions, SettingError } from "./shared/settings.ts"

const usage = `Usage: npm start [-- options]

Starts the key-value service and the examples.

  --port N                the counter's port (COUNTER_PORT or PORT, or PORT in counter.cfg; default 5000)
  --two-counters-port N   the others' ports (TWO_COUNTERS_PORT, VALUES_PORT, VISITS_PORT;
  --values-port N         default 10, 20 and 30 above the counter's)
  --visits-port N
  --service-port N        the service's port (SERVICE_PORT, default 5100)
  --store URL             where the service keeps its records (default sqlite:./var/coatcheck.db)
  --help

USE_SESSION_STORE, SECRET_KEY and the counter's other settings are read from the environment, or from examples/counter/counter.cfg.
STORE_URL gives all examples another store than the service.
`

const root = fileURLToPath(new URL("..", import.meta.url))
const command = fileURLToPath(new URL("../packages/server/bin/coatcheck.js", import.meta.url))
const built = fileURLToPath(new URL("../packages/server/dist/cli/main.js", import.meta.url))
const counterSettings = fileURLToPath(new URL("counter/counter.cfg", import.meta.url))

const startLimit = 20_000
const stopLimit = 5_000

/** What ends the launcher with one line and exit code 1. */
class Failure extends Error {}

/** The pages, in the order of their links, and how far above the counter's port each is. */
const distances = { counter: 0, "two-counters": 10, values: 20, visits: 30 } as const
type Page = keyof typeof distances
const pages = Object.keys(distances) as readonly Page[] // what the object has, and nothing else

interface Plan {
  readonly ports: Readonly<Record<Page, number>>
  readonly servicePort: number
  /** What the service is told about its store; empty: its default. */
  readonly store: readonly string[]
}

type Options = Readonly<Record<string, string | undefined>>

function readPlan(): Plan | null {
  const names = ["port", "two-counters-port", "values-port", "visits-port", "service-port", "store"]
  let values: Options
  try {
    values = Object.fromEntries(parseOptions(process.argv.slice(2), names))
  } catch (error) {
    if (!(error instanceof SettingError)) throw error
    throw new Failure(error.message.replace("--help", "npm start -- --help"))
  }
  if (values.help !== undefined) return null
  const { COUNTER_PORT, SERVICE_PORT } = process.env
  const servicePort = readPort("--service-port", values["service-port"] || SERVICE_PORT || "5100")
  const counter = counterPort(values.port || COUNTER_PORT, servicePort)
  const ports = {
    counter,
    "two-counters": neighbourPort("two-counters", counter, values),
    values: neighbourPort("values", counter, values),
    visits: neighbourPort("visits", counter, values),
  }
  if (new Set([servicePort, ...Object.values(ports)]).size < pages.length + 1) {
    throw new Failure("the pages and the service each need a port of their own")
  }
  return { ports, servicePort, store: values.store ? ["--store", values.store] : [] }
}

function neighbourPort(name: Exclude<Page, "counter">, counter: number, values: Options): number {
  const variable = `${name.toUpperCase().replace("-", "_")}_PORT`
  const given = values[`${name}-port`] || process.env[variable] || String(counter + distances[name])
  return readPort(`--${name}-port`, given)
}

// The counter's settings, read as it will itself, so that what is wrong with one of them is said before anything runs.
function counterPort(given: string | undefined, servicePort: number): number {
  try {
    const environment = { ...process.env, KV_URL: serviceUrl(servicePort) }
    const settings = readSettings(given ? ["--port", given] : [], environment, counterSettings)
    return readPort("--port", String(settings?.port))
  } catch (error) {
    throw error instanceof SettingError ? new Failure(error.message) : error
  }
}

function serviceUrl(port: number): string {
  return `http://localhost:${port}`
}

// The counter knows the service by KV_URL, which leaves STORE_URL to its own settings; the others have that one setting.
function pageEnvironment({ ports, servicePort }: Plan): NodeJS.ProcessEnv {
  const service = serviceUrl(servicePort)
  const { HOST = "" } = process.env
  return {
    ...process.env,
    KV_URL: service,
    EXAMPLES: writeNeighbours(Object.entries(ports)),
    ...(HOST === "" ? {} : { APP_HOST: HOST }),
  }
}

function readPort(option: string, given: string): number {
  const port = Number(given)
  if (!/^\d{1,5}$/.test(given) || port < 1 || port > 65_535) throw new Failure(`${option} must be a port, 1 to 65535`)
  return port
}

// Asked first, because a child that finds its port taken has already started half of everything.
async function mustBeFree(port: number, whose: string, option: string): Promise<void> {
  for (const host of ["127.0.0.1", "::1"]) {
    const probe = createServer()
    probe.listen(port, host)
    try {
      await once(probe, "listening")
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT") continue // a machine without IPv6
      const why = code === "EADDRINUSE" ? "is already in use" : `can't be used (${code})`
      throw new Failure(`port ${port} ${why}; free it, or give ${whose} another: npm start -- ${option} ${port + 1}`)
    }
    probe.close()
    await once(probe, "close")
  }
}

const colours = { launch: 90, service: 33, counter: 36, "two-counters": 35, values: 32, visits: 34 } as const
type Name = keyof typeof colours

function say(name: Name, line: string, stream: NodeJS.WriteStream = process.stdout): void {
  const label = `${name.padEnd(12)} |`
  const coloured = stream.isTTY && !process.env.NO_COLOR
  stream.write(`${coloured ? `\u001b[${colours[name]}m${label}\u001b[0m` : label} ${line}\n`)
}

/** A child that runs, with its lines passed on. */
interface Part {
  readonly name: Name
  readonly child: ChildProcess
  /** Resolves with the first line that holds the text. */
  says(text: string): Promise<string>
  /** Resolves when it has ended and everything that it said is out; tells how it ended. */
  readonly ended: Promise<string>
}

function start(name: Name, args: readonly string[], env: NodeJS.ProcessEnv): Part {
  const child = spawn(process.execPath, args, {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: process.platform !== "win32",
  })
  const lines = createInterface({ input: child.stdout })
  lines.on("line", (line) => say(name, line))
  createInterface({ input: child.stderr }).on("line", (line) => say(name, line, process.stderr))
  const ended = once(child, "close").then(([code, signal]) =>
    signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`,
  )
  const says = (text: string) =>
    new Promise<string>((resolve) => {
      lines.on("line", (line) => line.includes(text) && resolve(line))
    })
  return { name, child, says, ended }
}

/** Resolves when the service says that it is healthy. */
async function healthy(port: number): Promise<void> {
  const ask = () =>
    new Promise<boolean>((resolve) => {
      const request = get({ host: "127.0.0.1", port, path: "/-/health", agent: false, timeout: 1_000 }, (response) => {
        response.resume()
        resolve(response.statusCode === 200)
      })
      request.on("timeout", () => request.destroy())
      request.on("error", () => resolve(false))
    })
  while (!(await ask())) await sleep(50)
}

/** Waits for a part to be ready; a part that ends meanwhile, or takes too long, is a failure. */
async function ready<T>(part: Part, sign: Promise<T>): Promise<T> {
  const dead = part.ended.then((how) => Promise.reject(new Failure(`the ${part.name} ${how}`)))
  const late = sleep(startLimit, undefined, { ref: false }).then(() =>
    Promise.reject(new Failure(`the ${part.name} is not ready after ${startLimit / 1_000} seconds`)),
  )
  return Promise.race([sign, dead, late])
}

async function stop(part: Part): Promise<void> {
  part.child.kill("SIGTERM")
  const timer = setTimeout(() => part.child.kill("SIGKILL"), stopLimit)
  await part.ended
  clearTimeout(timer)
}

/** Starts all and watches them; never comes back in peace. */
async function work(plan: Plan, parts: Part[], stopping: AbortSignal): Promise<never> {
  // PORT, HOST and STORE_URL in the environment are the pages'; the service would read them too.
  const { PORT: _port, HOST: _host, STORE_URL: _store, ...others } = process.env
  const serve = ["serve", "--port", String(plan.servicePort), "--log-format", "plain", ...plan.store]
  const service = start("service", [command, ...serve], others)
  parts.push(service)
  await ready(service, healthy(plan.servicePort))
  stopping.throwIfAborted()

  const started = pages.map((name) => startPage(name, plan))
  parts.push(...started)
  const lines = await Promise.all(started.map((page) => ready(page, page.says("ready at "))))
  say("launch", `open ${lines[0]?.split("ready at ")[1]} and go on from there (Ctrl-C stops everything)`)

  const [name, how] = await Promise.race(parts.map(async (part) => [part.name, await part.ended] as const))
  throw new Failure(`the ${name} ${how}, so the rest is stopped`)
}

function startPage(name: Page, plan: Plan): Part {
  const program = fileURLToPath(new URL(`${name}/server.ts`, import.meta.url))
  const port = [name === "values" ? "--app-port" : "--port", String(plan.ports[name])]
  // The counter's file may name a store; the others have the service unless the environment says otherwise.
  const isNamed = name === "counter" || Boolean(process.env.STORE_URL)
  const store = isNamed ? [] : ["--store-url", serviceUrl(plan.servicePort)]
  return start(name, [...process.execArgv, program, ...port, ...store], pageEnvironment(plan))
}

async function run(plan: Plan): Promise<void> {
  if (!existsSync(built)) throw new Failure("the packages are not built yet: run `npm run build` first")
  await mustBeFree(plan.servicePort, "the service", "--service-port")
  for (const name of pages) {
    await mustBeFree(plan.ports[name], name, name === "counter" ? "--port" : `--${name}-port`)
  }

  const parts: Part[] = []
  const stopping = new AbortController()
  const asked = new Promise<string>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, resolve)
  })
  process.once("exit", () => parts.forEach(({ child }) => child.kill("SIGKILL"))) // whatever happens, leave nobody behind
  try {
    const signal = await Promise.race([asked, work(plan, parts, stopping.signal)])
    say("launch", `${signal}: stopping`)
  } finally {
    stopping.abort()
    // The pages first: what they are doing may still need the service.
    await Promise.all(parts.slice(1).map(stop))
    await Promise.all(parts.slice(0, 1).map(stop))
  }
}

try {
  const plan = readPlan()
  if (plan === null) process.stdout.write(usage)
  else await run(plan)
  process.exit(0)
} catch (error) {
  if (!(error instanceof Failure)) throw error
  say("launch", error.message, process.stderr)
  process.exit(1)
}
