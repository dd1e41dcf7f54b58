// One process that works on a store opened by URL. Commands come by IPC and answers go the same way, so that a test decides what
// runs at the same time, and when the process dies.

import { CoatcheckError } from "coatcheck"
import { openStore } from "coatcheck/open"

/** What a test may ask for; a command that fails is answered with `{ failed: code }`. */
export type StoreCommand =
  /** So many clients add one to the number under a key, so many times each, by conditional sets. Answers with the conflicts. */
  | { readonly do: "count"; readonly key: string; readonly times: number; readonly clients: number }
  /** Inserts `<prefix><0…count-1>` if absent, all at once. Answers with the keys that it won. */
  | { readonly do: "insert"; readonly prefix: string; readonly count: number; readonly value: string }
  | { readonly do: "get"; readonly key: string }
  | { readonly do: "set"; readonly key: string; readonly value: string }
  /** Writes `<prefix><n>` with the value n, sixteen at a time, until one fails. Answers with each n that was acknowledged, then with the code. */
  | { readonly do: "write"; readonly prefix: string }
  | { readonly do: "close" }

const [url = ""] = process.argv.slice(2)
const store = await openStore(url)

async function addOne(key: string): Promise<number> {
  for (let conflicts = 0, current = await store.get(key); ; conflicts++) {
    if (current === null) throw new Error("the number is gone")
    const outcome = await store.set(key, String(Number(current.value) + 1), { if: { version: current.version } })
    if (outcome.ok) return conflicts
    current = outcome.current
  }
}

async function count(key: string, times: number, clients: number): Promise<number> {
  let conflicts = 0
  const client = async (): Promise<void> => {
    for (let left = times; left > 0; left--) conflicts += await addOne(key)
  }
  await Promise.all(Array.from({ length: clients }, client))
  return conflicts
}

async function insert(prefix: string, count: number, value: string): Promise<string[]> {
  const keys = Array.from({ length: count }, (_, at) => `${prefix}${at}`)
  const outcomes = await Promise.all(keys.map((key) => store.set(key, value, { if: "absent" })))
  return keys.filter((_, at) => outcomes[at]?.ok)
}

async function write(prefix: string): Promise<string> {
  for (let next = 0; ; next += 16) {
    const writes = Array.from({ length: 16 }, async (_, at) => {
      await store.set(`${prefix}${next + at}`, String(next + at))
      process.send?.(next + at)
    })
    for (const write of await Promise.allSettled(writes)) {
      if (write.status === "rejected")
        return write.reason instanceof CoatcheckError ? write.reason.code : "a stray error"
    }
  }
}

function obey(command: StoreCommand): Promise<unknown> {
  switch (command.do) {
    case "count":
      return count(command.key, command.times, command.clients)
    case "insert":
      return insert(command.prefix, command.count, command.value)
    case "get":
      return store.get(command.key)
    case "set":
      return store.set(command.key, command.value)
    case "write":
      return write(command.prefix)
    case "close":
      return store.close().then(() => {
        process.disconnect()
        return null
      })
  }
}

process.on("message", (command: StoreCommand) => {
  void obey(command)
    .catch((error: unknown) => ({ failed: error instanceof CoatcheckError ? error.code : String(error) }))
    .then((answer) => process.connected && process.send?.(answer as never)) // each of them is plain data
})
process.send?.("ready")
