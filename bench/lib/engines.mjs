// Redis and Postgres as programs of this machine: each on a free port of 127.0.0.1, in a folder of its own that is gone afterwards, and
// with the settings that a careful operator takes, the same for everybody who is measured on them. Redis appends each write to a file and
// syncs that once a second; Postgres is as it comes, so it syncs every commit.

import { spawnSync } from "node:child_process"
import { once } from "node:events"
import { accessSync, chownSync, constants, existsSync, readdirSync } from "node:fs"
import { createServer } from "node:net"
import { delimiter, join } from "node:path"
import { finish, inFolder, launch, stop } from "./programs.mjs"

/** Each engine: its programs, the Debian package that has them, and how it runs in a folder until `work(url)` is done. */
const engines = {
  redis: { programs: ["redis-server"], debian: "redis-server", runIn: runRedis },
  postgres: { programs: ["initdb", "postgres"], debian: "postgresql", runIn: runPostgres },
}

/** Says which programs of these engines this machine does not have and how to get them, or nothing. */
export function missingEngines(names) {
  const missing = [...new Set(names)].filter((name) => name in engines && !engines[name].programs.every(find))
  if (missing.length === 0) return null
  const programs = missing.map((name) => engines[name].programs[0])
  const packages = missing.map((name) => engines[name].debian)
  return `Missing: ${programs.join(", ")}. Install with: apt-get install ${packages.join(" ")}`
}

/** Runs `work(url)` beside an engine of its own; on the CPU `cpu`, if one is given. */
export function withEngine(name, work, { cpu } = {}) {
  return inFolder((folder) => engines[name].runIn(folder, cpu, work))
}

async function runRedis(folder, cpu, work) {
  const port = await freePort()
  const where = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder]
  const kept = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
  const server = await launch(find("redis-server"), [...where, ...kept], {
    cpu,
    ready: /Ready to accept connections/,
    what: "redis-server",
  })
  try {
    return await work(`redis://127.0.0.1:${port}`)
  } finally {
    await stop(server, "SIGKILL") // a polite end would first write down what is about to be removed
  }
}

// Postgres refuses to be run by root; then it is run as the user that its package has made.
async function runPostgres(folder, cpu, work) {
  const port = await freePort()
  const data = join(folder, "data")
  const user = process.getuid() === 0 ? { uid: idOf("-u"), gid: idOf("-g") } : null
  if (user) chownSync(folder, user.uid, user.gid)
  const as = user ? ["setpriv", `--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"] : []
  const locale = ["-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
  const [initdb, ...initArgs] = [...as, find("initdb"), "-D", data, "-U", "postgres", ...locale]
  await finish(initdb, initArgs, { cwd: folder })
  const where = ["-p", String(port), "-c", "listen_addresses=127.0.0.1", "-c", `unix_socket_directories=${folder}`]
  const [command, ...args] = [...as, find("postgres"), "-D", data, ...where]
  const server = await launch(command, args, {
    cpu,
    cwd: folder,
    ready: /database system is ready to accept connections/,
    what: "postgres",
  })
  try {
    return await work(`postgres://postgres@127.0.0.1:${port}/postgres`)
  } finally {
    await stop(server, "SIGQUIT") // "immediate": without the checkpoint that a polite end begins with
  }
}

function idOf(flag) {
  const { status, stdout } = spawnSync("id", [flag, "postgres"], { encoding: "utf8" })
  if (status !== 0) throw new Error("As root, Postgres is run as the user postgres, which this machine does not have")
  return Number(stdout)
}

/** Where a program is, or undefined. Debian keeps those of each version of Postgres in a folder of their own, off the path. */
function find(program) {
  const base = "/usr/lib/postgresql"
  const versions = existsSync(base) ? readdirSync(base).sort((a, b) => Number(b) - Number(a)) : []
  const folders = [...(process.env.PATH ?? "").split(delimiter), ...versions.map((one) => join(base, one, "bin"))]
  return folders
    .map((folder) => join(folder, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1")
  await once(probe, "listening")
  const { port } = probe.address()
  probe.close()
  await once(probe, "close")
  return port
}
