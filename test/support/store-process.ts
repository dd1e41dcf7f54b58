// A process of ./store-worker.ts: started with a store's URL, asked by messages, killed without a word.

import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { root, sourceFlags } from "./processes.ts"
import type { StoreCommand } from "./store-worker.ts"

/** A process that has a store open. */
export interface StoreWorker {
  readonly child: ChildProcess
  ask(command: StoreCommand): Promise<unknown>
  /** Ends it without a word, and waits for its end. */
  kill(): Promise<void>
}

/** Starts a process that opens the store; it is ready when this resolves. */
export async function startStoreWorker(url: string): Promise<StoreWorker> {
  const child = fork(join(root, "test/support/store-worker.ts"), [url], {
    cwd: root,
    execArgv: [...sourceFlags],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
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
