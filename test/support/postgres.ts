// Real Postgres servers for tests: on a free port of 127.0.0.1, in a temporary folder, as a user that is not root (Postgres refuses
// to be). A server is waited for by what it answers, stopped, killed, frozen and started again by the pid of its own postmaster, and gone
// with its folder when the file's tests are. Administration goes over a connection of `pg` that no store has a hand in.

import { execFile } from "node:child_process"
import { chownSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import pg from "pg"
import { afterAll } from "vitest"
import { freePort, type Running, start } from "./processes.ts"

const run = promisify(execFile)

/** How a server is started. */
export interface PostgresOptions {
  /** fsync as it comes; without, the server is quicker and a power cut, which no test makes, could hurt it. Default false. */
  readonly durable?: boolean
  /** Follows this one, as a standby that answers reads. Default: a database of its own. */
  readonly standbyOf?: PostgresServer
  /** Lines of postgresql.conf by name. */
  readonly config?: Readonly<Record<string, string>>
}

/** A server; see the head of the file. */
export interface PostgresServer {
  readonly port: number
  /** `postgres://postgres@127.0.0.1:port/postgres`: its superuser, without a password. */
  readonly url: string
  /** The data folder. */
  readonly folder: string
  /** Of the postmaster that runs now, or ran last. */
  readonly pid: number
  /** One statement over a connection of the tests' own; rows as objects. */
  sql(text: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]>
  /** A connection of its own, closed after the file's tests. */
  connect(): Promise<pg.Client>
  /** Forgets the connection of `sql`, which a restart that the server made by itself has cut. */
  reconnect(): void
  /** Starts it again as it was. Resolves when it answers. */
  start(): Promise<void>
  /** Ends it as an operator does who can't wait: connections are cut, what was committed is kept. */
  stop(): Promise<void>
  /** SIGKILL to the postmaster; its backends end themselves. */
  kill(): Promise<void>
}

const folders = new Set<string>()
const clients = new Set<pg.Client>()
const postmasters = new Set<Running>()

afterAll(async () => {
  await Promise.all([...clients].map((client) => client.end()))
  await Promise.all([...postmasters].map((one) => one.stop("SIGQUIT")))
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** Makes and starts a server. */
export async function startPostgres({
  durable = false,
  standbyOf,
  config = {},
}: PostgresOptions = {}): Promise<PostgresServer> {
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-postgres-"))
  folders.add(folder)
  const user = await serverUser()
  if (user !== null) chownSync(folder, user.uid, user.gid)
  const data = join(folder, "data")
  const as = (program: string, args: readonly string[]): [string, string[]] =>
    user === null
      ? [join(programs(), program), [...args]]
      : [
          "setpriv",
          [`--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups", join(programs(), program), ...args],
        ]
  const copy = ["-h", "127.0.0.1", "-p", String(standbyOf?.port), "-U", "postgres", "-D", data]
  const [maker, makerArgs] = standbyOf
    ? as("pg_basebackup", [...copy, "-R", "-c", "fast", "-N"])
    : as("initdb", ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"])
  await run(maker, makerArgs, { cwd: folder })

  const port = await freePort()
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const lines = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: folder,
    fsync: durable ? "on" : "off",
    max_connections: "60",
    shared_buffers: "32MB",
    ...config,
  }
  let postmaster: Running
  let admin: pg.Client | null = null

  async function connect(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: url })
    client.on("error", () => {}) // tests end servers on purpose
    await client.connect()
    clients.add(client)
    return client
  }

  async function launch(): Promise<void> {
    const settings = Object.entries(lines).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    const [program, args] = as("postgres", ["-D", data, "-p", String(port), ...settings])
    for (;;) {
      postmaster = start(program, args, { cwd: folder })
      postmasters.add(postmaster)
      try {
        await postmaster.says(/ready to accept (read-only )?connections/)
        return
      } catch (error) {
        // Backends of a postmaster that was killed end a moment later, and until then they hold its memory.
        if (!/still in use|lock file/.test(String(error))) throw error
      }
    }
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    admin = null
    await postmaster.stop(signal)
    postmasters.delete(postmaster)
  }

  await launch()
  return {
    port,
    url,
    folder: data,
    get pid() {
      return postmaster.child.pid ?? 0
    },
    async sql(text, values = []) {
      admin ??= await connect()
      return (await admin.query<Record<string, unknown>>(text, [...values])).rows
    },
    connect,
    reconnect() {
      admin = null
    },
    start: launch,
    stop: () => end("SIGINT"),
    kill: () => end("SIGKILL"),
  }
}

/** Resolves when the condition holds; looks every 20 ms, and gives up after `seconds`. */
export async function until(what: string, condition: () => unknown, seconds = 20): Promise<void> {
  const end = Date.now() + seconds * 1_000
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Debian keeps the programs of each version in a folder of their own, off the path. */
function programs(): string {
  const base = "/usr/lib/postgresql"
  const versions = readdirSync(base).toSorted((a, b) => Number(b) - Number(a))
  const [newest] = versions
  if (newest === undefined) throw new Error("there is no Postgres: apt-get install postgresql")
  return join(base, newest, "bin")
}

/** Whom to be instead of root; null: we are not root. */
async function serverUser(): Promise<{ uid: number; gid: number } | null> {
  if (process.getuid?.() !== 0) return null
  const id = async (flag: string): Promise<number> => Number((await run("id", [flag, "postgres"])).stdout)
  return { uid: await id("-u"), gid: await id("-g") }
}
