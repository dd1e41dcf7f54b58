// A process of its own that opens a store, writes and closes it. Whether it then ends shows that nothing was left open.

import { fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { sourceFlags } from "./processes.ts"
import type { StoreCommand } from "./store-worker.ts"

/** Starts it on a store, lets it write and close, and gives its exit code and signal once it has ended by itself. */
export async function endOfProcess(url: string): Promise<unknown> {
  const worker = fileURLToPath(new URL("store-worker.ts", import.meta.url))
  const child = fork(worker, [url], { execArgv: [...sourceFlags], stdio: ["ignore", "inherit", "pipe", "ipc"] })
  const ended = once(child, "exit")
  const said = (): Promise<unknown> =>
    Promise.race([
      once(child, "message"),
      ended.then(() => {
        throw new Error("the process ended early")
      }),
    ])
  await said()
  child.send({ do: "set", key: "k", value: "1" } satisfies StoreCommand)
  await said()
  child.send({ do: "close" } satisfies StoreCommand)
  // Longer than any wait of a connection that was being made when the store was closed.
  const late = setTimeout(() => child.kill("SIGKILL"), 5_000)
  const end: unknown = await ended
  clearTimeout(late)
  return end
}
