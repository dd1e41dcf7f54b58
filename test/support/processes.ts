// Real processes for tests: started from the sources, waited for by what they say, ended by their pid. Nothing here sleeps.

import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:net"
import { env, execPath } from "node:process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"

/** The project's folder. */
export const root: string = fileURLToPath(new URL("../..", import.meta.url))

/** Flags with which Node runs our TypeScript sources. */
export const sourceFlags = ["--conditions=@coatcheck/source", "--import", "tsx"] as const

/** How a process ended, and all that it said. */
export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A process that runs. */
export interface Running {
  readonly child: ChildProcess
  readonly ended: Promise<Ending>
  /** The first line, already said or still to come, that matches. Rejects with all that was said when the process ends without it. */
  says(pattern: RegExp): Promise<RegExpExecArray>
  /** All that it said up to now. */
  said(): string
  /** Sends the signal and waits for the end. A second call waits only. */
  stop(signal?: NodeJS.Signals): Promise<Ending>
}

/** What a process is started with. */
export interface StartOptions {
  /** Added to a small environment of its own, so that no setting of the developer's gets in. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** A process group of its own, as a terminal gives one to each command. */
  readonly group?: boolean
}

const running = new Set<Running>()

// A test that failed half-way has not stopped what it started. Asked politely first, since some have children of their own.
afterAll(async () => {
  const killed = setTimeout(() => running.forEach(({ child }) => child.kill("SIGKILL")), 8_000)
  await Promise.all([...running].map((one) => one.stop()))
  clearTimeout(killed)
})

/** Starts a program. */
export function start(program: string, args: readonly string[], options: StartOptions = {}): Running {
  const { PATH = "", HOME = "" } = env
  const child = spawn(program, args, {
    cwd: options.cwd ?? root,
    env: { PATH, HOME, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: options.group ?? false,
  })
  const texts = { stdout: "", stderr: "" }
  const lines: string[] = []
  const listeners = new Set<() => void>()
  for (const name of ["stdout", "stderr"] as const) {
    createInterface({ input: child[name] }).on("line", (line) => {
      texts[name] += `${line}\n`
      lines.push(line)
      listeners.forEach((listener) => listener())
    })
  }
  const ended = once(child, "close").then(([code, signal]) => {
    running.delete(started)
    return { code, signal, ...texts }
  })
  const said = () => lines.join("\n")
  const started: Running = {
    child,
    ended,
    said,
    says(pattern) {
      return new Promise((resolve, reject) => {
        const look = () => {
          for (const line of lines) {
            const match = pattern.exec(line)
            if (!match) continue
            listeners.delete(look)
            resolve(match)
            return
          }
        }
        listeners.add(look)
        look()
        const tooLate = () => reject(new Error(`${program} ended without saying ${pattern}:\n${said()}`))
        ended.then(tooLate, reject)
      })
    },
    async stop(signal = "SIGTERM") {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal)
      return ended
    },
  }
  running.add(started)
  return started
}

/** Starts one of our TypeScript programs. */
export function startSource(file: string, args: readonly string[], options: StartOptions = {}): Running {
  return start(execPath, [...sourceFlags, file, ...args], options)
}

/** Runs one of our TypeScript programs to its end. */
export function runSource(file: string, args: readonly string[], options: StartOptions = {}): Promise<Ending> {
  return startSource(file, args, options).ended
}

/** The `coatcheck` command's source. */
export const command = "packages/server/src/cli/main.ts"

/** Starts the key-value service on a free port, or the one that is given. */
export async function startService(store = "memory:", port = 0): Promise<Running & { url: string; port: number }> {
  const args = ["serve", "--store", store, "--port", String(port), "--log-format", "plain"]
  const service = startSource(command, args)
  const [, found = ""] = await service.says(/ at http:\/\/localhost:(\d+)/)
  return { ...service, url: `http://127.0.0.1:${found}`, port: Number(found) }
}

/** Starts the counter on a free port of 127.0.0.1. */
export async function startCounter(
  env: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): Promise<Running & { url: string }> {
  const counter = startSource("examples/counter/server.ts", ["--port", "0", "--host", "127.0.0.1", ...args], { env })
  const [, port = ""] = await counter.says(/ready at http:\/\/localhost:(\d+)/)
  return { ...counter, url: `http://127.0.0.1:${port}` }
}

/** Whether nobody listens on the port of either loopback address. */
export async function isFree(port: number): Promise<boolean> {
  for (const host of ["127.0.0.1", "::1"]) {
    const probe = createServer().listen(port, host)
    try {
      await once(probe, "listening")
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return false
      continue
    }
    probe.close()
    await once(probe, "close")
  }
  return true
}

/** A port that was free a moment ago, and whose neighbours at these distances were free too. */
export async function freePort(...distances: number[]): Promise<number> {
  for (;;) {
    const probe = createServer().listen(0, "127.0.0.1")
    await once(probe, "listening")
    const address = probe.address()
    const port = typeof address === "object" && address ? address.port : 0
    probe.close()
    await once(probe, "close")
    const all = await Promise.all([0, ...distances].map((distance) => isFree(port + distance)))
    if (all.every(Boolean)) return port
  }
}
