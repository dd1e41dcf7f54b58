// `npm test` needs a few programs beside npm's packages: a real browser, and the clients that the README shows. On Debian as root
// (a container, a CI machine) they are installed; elsewhere one line says what to install. Then it builds, because some tests run
// the packages as npm would publish them. Nothing is said when all is there. Plain JavaScript, so that it can also say that
// `npm ci` has not been run.

import { spawnSync } from "node:child_process"
import { accessSync, constants, existsSync, readdirSync } from "node:fs"
import { delimiter, join } from "node:path"

/** Program to Debian package, and what it is for. */
const needed = [
  { program: "chromium", debian: "chromium", why: "tests walk the example in a real browser" },
  { program: "http", debian: "httpie", why: "tests run the README's HTTPie lines" },
  { program: "curl", debian: "curl", why: "tests run the README's curl lines" },
  { program: "foreman", debian: "ruby-foreman", why: "tests start the Procfile" },
  { program: "redis-server", debian: "redis-server", why: "tests run the redis store against it" },
  { program: "redis-cli", debian: "redis-tools", why: "tests make clusters with it" },
  { program: "initdb", debian: "postgresql", why: "tests run the postgres store against it" },
  { program: "openssl", debian: "openssl", why: "tests serve TLS" },
  { program: "strace", debian: "strace", why: "long tests let system calls fail" },
  { program: "mkfs.ext4", debian: "e2fsprogs", why: "long tests let the power go" },
]

const root = join(import.meta.dirname, "..")

/** @param {string} program */
function found(program) {
  const folders = [...(process.env.PATH ?? "").split(delimiter), ...serverFolders()]
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** Debian keeps the programs of each version of Postgres in a folder of their own, off the path. */
function serverFolders() {
  const base = "/usr/lib/postgresql"
  return existsSync(base) ? readdirSync(base).map((version) => join(base, version, "bin")) : []
}

/**
 * Runs a program quietly; what it said comes out only when it failed.
 *
 * @param {string} command
 * @param {string[]} args
 */
function run(command, args) {
  const result = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
  })
  if (result.status === 0) return
  console.error(`${command} ${args.join(" ")} failed:\n${result.error?.message ?? ""}${result.stdout}${result.stderr}`)
  process.exit(1)
}

if (!existsSync(join(root, "node_modules/.bin/vitest"))) {
  console.error("The development packages are not installed. Run: npm ci")
  process.exit(1)
}

const missing = needed.filter(({ program }) => !found(program))
if (missing.length > 0) {
  const packages = missing.map(({ debian }) => debian)
  if (process.getuid?.() !== 0 || !found("apt-get")) {
    const reasons = missing.map(({ program, why }) => `${program} (${why})`).join(", ")
    console.error(
      `The tests need ${reasons}. On Debian or Ubuntu: sudo apt-get install --no-install-recommends ${packages.join(" ")}`,
    )
    process.exit(1)
  }
  console.log(`Installing for the tests: ${packages.join(", ")}`)
  run("apt-get", ["update", "-q"])
  run("apt-get", ["install", "-y", "-q", "--no-install-recommends", ...packages])
}

run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-b", "tsconfig.build.json"])
