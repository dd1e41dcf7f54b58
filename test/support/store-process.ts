// A process that has a store open: started with the store's URL, asked by messages, killed without a word.

import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { root, sourceFlags } from "./processes.ts"
import type { StoreCommand } from "./store-worker.ts"

/** A process that answers one message by one message. */
export interface Worker<Command> {
  readonly child: ChildProcess
  ask(command: Command): Promise<unknown>
  /** Ends it without a word, and waits for its end. */
  kill(): Promise<void>
}

/** A process of ./store-worker.ts. */
export type StoreWorker = Worker<StoreCommand>

/** What a worker is started with. */
export interface WorkerOptions {
  /** One of our programs. Default: ./store-worker.ts. */
  readonly file?: string
  readonly env?: Readonly<Record<string, string>>
  /** It can write no file that is longer. Default: no limit of ours. */
  readonly fileKiB?: number
}

/** Starts a process that opens the store; it is ready when this resolves. */
export async function startStoreWorker(url: string, options: WorkerOptions = {}): Promise<StoreWorker> {
  return startWorker(url, options)
}

/** Starts one of our programs with a store's URL; it is ready when it says so. */
export async function startWorker<Command extends object | string>(
  url: string,
  { file = "test/support/store-worker.ts", env = {}, fileKiB }: WorkerOptions = {},
): Promise<Worker<Command>> {
  const limited = fileKiB !== undefined && {
    execPath: "/bin/sh",
    execArgv: ["-c", `ulimit -f ${fileKiB * 2}; exec "$0" "$@"`, process.execPath, ...sourceFlags],
  }
  const child = fork(join(root, file), [url], {
    cwd: root,
    execArgv: [...sourceFlags],
    env: { ...process.env, ...env },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    ...limited,
  })
  await answer(child)
  return {
    child,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, "exit")
      child.kill("SIGKILL")
      await ended
    },
    ask(command) {
      const answered = answer(child)
      child.send(command)
      return answered
    },
  }
}

/** The next message; rejects when the process ends instead. */
async function answer(child: ChildProcess): Promise<unknown> {
  const stop = new AbortController()
  const { signal } = stop
  const ended = once(child, "exit", { signal }).then(([code]) => {
    throw new Error(`The worker ended with ${String(code)}`)
  })
  const [message] = (await Promise.race([once(child, "message", { signal }), ended])) as [unknown] // the other one only throws
  stop.abort()
  ended.catch(() => {}) // stopped, so it rejects, and nobody waits for it any more
  return message
}
