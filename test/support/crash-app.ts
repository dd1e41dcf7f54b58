// A counter application over SQLite that ends itself by SIGKILL at a named point of a request, so that a test sees what a crash
// there leaves behind. Arguments: the database file, and the point ("never": it lives).

import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { createSessions, type Store } from "coatcheck"
import { nodeAdapter } from "coatcheck/node"
import { sqliteStore } from "coatcheck/sqlite"
import { systemClock } from "../../packages/coatcheck/src/core/clock.ts"
import { warn } from "../../packages/coatcheck/src/core/contract.ts"
import { loadSqlite, type SqliteDatabase } from "../../packages/coatcheck/src/stores/sqlite/driver.ts"
import { openFile } from "../../packages/coatcheck/src/stores/sqlite/file.ts"
import { storeOn } from "../../packages/coatcheck/src/stores/sqlite/store.ts"

/** Where the process may end. */
export type CrashPoint =
  | "never"
  | "before the write"
  | "after the write, before it is acknowledged"
  | "after it is acknowledged, before the reply"
  | "in a rotation, between its two steps"
  | "in a rotation, after the old id is dead"
  | "in an ending, before the reply"
  | "in a sweep, before its third batch is committed"

const [file = "", point = "never"] = process.argv.slice(2)
const inner = await (point === "in a sweep, before its third batch is committed"
  ? crashingInSweep()
  : sqliteStore(file))

/** The store with a connection that ends the process: a sweep is no verb, only the driver sees it. */
async function crashingInSweep(): Promise<Store> {
  const db = await openFile(await loadSqlite(), file, systemClock)
  let batches = 0
  const prepare: SqliteDatabase["prepare"] = (sql) => {
    const statement = db.prepare(sql)
    if (!/^DELETE[^]*ends <=/.test(sql)) return statement
    return {
      get: (...values) => statement.get(...values),
      all: (...values) => statement.all(...values),
      run(...values) {
        const result = statement.run(...values)
        batches += 1
        if (batches === 3) process.kill(process.pid, "SIGKILL") // what one sends to oneself has arrived when kill returns
        return result
      },
    }
  }
  const connection: SqliteDatabase = { prepare, exec: (sql) => db.exec(sql), close: () => db.close() }
  return storeOn(connection, {
    clock: systemClock,
    report: warn,
    patience: 1_000,
    maxValueBytes: 1_048_576,
    isInPlace: () => true,
  })
}

function crash(): Promise<never> {
  process.kill(process.pid, "SIGKILL")
  return new Promise(() => {}) // the signal may take a moment; nothing more may happen in it
}

const store: Store = {
  ...inner,
  async set(...call) {
    if (point === "before the write") return crash()
    const outcome = await inner.set(...call)
    if (point === "after the write, before it is acknowledged") return crash()
    return outcome
  },
  async delete(...call) {
    if (point === "in a rotation, between its two steps") return crash()
    const outcome = await inner.delete(...call)
    if (point.startsWith("in ")) return crash()
    return outcome
  },
}

const sessions = createSessions<{ count: number }>({
  store,
  rules: { count: "add" },
  onEvent: ({ type }) => {
    const written = type === "created" || type === "committed"
    if (written && point === "after it is acknowledged, before the reply") void crash()
  },
})

const server = createServer(
  nodeAdapter(sessions, { guard: { unlabelled: "allow" } })(async (request, response) => {
    const session = await sessions.open(request)
    if (request.url === "/count") session.data.count = (session.data.count ?? 0) + 1
    if (request.url === "/rotate") await session.regenerate()
    if (request.url === "/end") await session.destroy()
    response.end(String(session.data.count ?? 0))
  }),
)
server.listen(0, "127.0.0.1", () => console.log(`listening on ${(server.address() as AddressInfo).port}`)) // a TCP server has one
