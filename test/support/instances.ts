// Processes of the application for tests: started from the sources, talked to by IPC, ended by their own pid.

import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { createSessions, type Store } from "coatcheck"
import type { Command, Increments, Race, Raced, Tally, Written } from "./session-worker.ts"

/** One running worker. */
export interface Instance {
  readonly child: ChildProcess
  increment(increments: Increments): Promise<Tally>
  /** Reads the session and adds one, but does not commit. */
  read(cookie: string): Promise<unknown>
  /** Ends the request whose session was read: by a commit, after an `update` if asked for. */
  write(how: "update" | "assign"): Promise<Written>
  /** Signs the session out, in a request of its own. */
  reset(cookie: string): Promise<unknown>
  /** Slow requests of one session, and perhaps its end. */
  race(race: Race): Promise<Raced>
  close(): Promise<void>
}

/** Starts a worker over a store and waits until it is ready. `deadline` is that of a store's call. */
export async function startInstance(storeUrl: string, deadline = "10s"): Promise<Instance> {
  const child = fork(fileURLToPath(new URL("session-worker.ts", import.meta.url)), [storeUrl, deadline], {
    execArgv: ["--conditions=@coatcheck/source", "--import", "tsx"],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  })
  const ended = once(child, "exit")
  const ask = async (command: Command | null): Promise<unknown> => {
    const answered = once(child, "message")
    if (command) child.send(command)
    const early = ended.then(([code]) => {
      throw new Error(`the worker ended early with ${code}`)
    })
    const [message] = await Promise.race([answered, early])
    return message
  }
  await ask(null)
  return {
    child,
    increment: (increments) => ask({ do: "increment", ...increments }) as Promise<Tally>, // what the worker answers it with
    read: (cookie) => ask({ do: "read", cookie }),
    write: (how) => ask({ do: "write", how }) as Promise<Written>, // what the worker answers it with
    reset: (cookie) => ask({ do: "reset", cookie }),
    race: (race) => ask({ do: "race", ...race }) as Promise<Raced>, // what the worker answers it with
    async close() {
      if (child.exitCode === null && child.signalCode === null) child.send({ do: "close" } satisfies Command)
      await ended
    },
  }
}

/** Two of them. */
export async function twoInstances(storeUrl: string): Promise<[Instance, Instance]> {
  return Promise.all([startInstance(storeUrl), startInstance(storeUrl)])
}

/** Somebody who has a session. */
export interface SessionOwner {
  readonly cookie: string
  /** Where its record is. */
  readonly key: string
  /** The count that is stored. */
  count(): Promise<number>
}

/** A session of its own with a count of 0. */
export async function newVisitor(store: Store): Promise<SessionOwner> {
  const sessions = createSessions<{ count: number }>({ store })
  const session = await sessions.open({ cookie: null, secure: false, sent: false, attach() {} })
  session.data.count = 0
  const { setCookie } = await session.commit()
  const key = session.key ?? ""
  return {
    cookie: setCookie?.split(";")[0] ?? "",
    key,
    async count() {
      const entry = await store.get(key)
      return (JSON.parse(entry?.value ?? "null") as { data: { count: number } }).data.count
    },
  }
}
