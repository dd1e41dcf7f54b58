// Every engine that several processes can share, as a real one: started once for a test file, opened by URL, and, where it is a server,
// stopped, frozen and started again. A table of tests over all of them is one line a new engine.

import { readFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { onTestFinished } from "vitest"
import { startPostgres } from "./postgres.ts"
import { command, type Running, startSource } from "./processes.ts"
import { startRedis } from "./redis.ts"

/** An engine that runs. */
export interface Engine {
  /** What instances open. */
  readonly url: string
  /** Ends what was started; the file of an engine that is a server is ended with the test file. */
  close(): Promise<void>
}

/** An engine that is a server. */
export interface ServerEngine extends Engine {
  /** Where it listens, on 127.0.0.1. */
  readonly port: number
  /** The URL of the same engine by way of another port of 127.0.0.1. */
  through(port: number): string
  start(): Promise<void>
  stop(): Promise<void>
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>
  /** SIGSTOP to all of its processes: connections stay, nothing answers. */
  freeze(): void
  /** SIGCONT. */
  thaw(): void
}

/** A folder of its own for an engine that lives in files. */
async function inFolder(name: string): Promise<{ path: string; close(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-engine-"))
  return { path: join(folder, name), close: () => rm(folder, { recursive: true, force: true }) }
}

async function sqlite(): Promise<Engine> {
  const { path, close } = await inFolder("sessions.db")
  return { url: `sqlite:${path}`, close }
}

async function file(): Promise<Engine> {
  const { path, close } = await inFolder("sessions")
  return { url: `file:${path}`, close }
}

/** The key-value service as a process, over a SQLite file. */
async function service(): Promise<ServerEngine> {
  const { path, close } = await inFolder("sessions.db")
  let running: Running
  let port = 0
  async function start(): Promise<void> {
    const where = ["--store", `sqlite:${path}`, "--port", String(port), "--allow-host", "127.0.0.1"]
    running = startSource(command, ["serve", ...where, "--log-format", "plain"])
    const [, found = ""] = await running.says(/ at http:\/\/localhost:(\d+)/)
    port = Number(found)
  }
  await start()
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    through: (other) => `http://127.0.0.1:${other}`,
    start,
    stop: async () => void (await running.stop()),
    kill: async () => void (await running.stop("SIGKILL")),
    freeze: () => signal(running.child.pid, "SIGSTOP"),
    thaw: () => signal(running.child.pid, "SIGCONT"),
    async close() {
      await running.stop("SIGKILL")
      await close()
    },
  }
}

async function redis(): Promise<ServerEngine> {
  const server = await startRedis({ config: { appendonly: "yes", appendfsync: "everysec" } })
  return {
    url: server.url,
    port: server.port,
    through: (port) => `redis://127.0.0.1:${port}`,
    start: () => server.start(),
    stop: () => server.stop(),
    kill: () => server.kill(),
    freeze: () => server.freeze(),
    thaw: () => server.thaw(),
    close: () => server.kill(),
  }
}

async function postgres(): Promise<ServerEngine> {
  const server = await startPostgres()
  return {
    url: server.url,
    port: server.port,
    through: (port) => server.url.replace(`:${server.port}/`, `:${port}/`),
    start: () => server.start(),
    stop: () => server.stop(),
    kill: () => server.kill(),
    freeze: () => signal(server.pid, "SIGSTOP"),
    thaw: () => signal(server.pid, "SIGCONT"),
    close: () => server.stop(),
  }
}

/** Engines that are servers. */
export const serverEngines = { "the service": service, Redis: redis, Postgres: postgres } as const

/** Every engine that processes can share. */
export const sharedEngines = { SQLite: sqlite, files: file, ...serverEngines } as const

/** A signal to a process and the processes that it has started, which is what a Postgres is. */
function signal(pid: number | undefined, name: NodeJS.Signals): void {
  if (pid === undefined) throw new Error("the process was not started")
  for (const one of [pid, ...descendants(pid)]) process.kill(one, name)
}

function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim()
  return children === "" ? [] : children.split(" ").flatMap((child) => [Number(child), ...descendants(Number(child))])
}

/** Freezes an engine for the test, and thaws it at the latest when the test is over. */
export function freezeFor(engine: ServerEngine): void {
  engine.freeze()
  onTestFinished(() => engine.thaw())
}
