// The `coatcheck` command: what there is, and how it is called. Each command is a file of its own, loaded when asked for, so that
// `coatcheck secret` does not wait for a server to load. Rules that all commands share are here: errors are one line on stderr that
// begins with the command's name; 2 is the exit code of a call that can't be meant, 1 of work that could not be done.

import { createRequire } from "node:module"
import { Command, CommanderError } from "commander"
import type { DoctorFlags } from "./doctor.ts"
import type { DumpFlags } from "./dump.ts"
import { exitCode, exitCodes, explain } from "./fail.ts"
import type { SecretFlags } from "./secret.ts"
import { defaults, logFormats, logLevels, type ServeFlags } from "./settings.ts"

const { version } = createRequire(import.meta.url)("../../package.json") as { version: string } // our own package.json
const { env, stdout, stderr } = process

// Whoever reads our output may stop early (| head). That is their right and no error.
stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(exitCodes.done)
  note(`the output can't be written (${error.code})`)
  process.exit(exitCodes.failed)
})

const program = new Command("coatcheck")
  .description("Server-side sessions: a key-value service over HTTP, and tools to look into it.")
  .version(version, "-V, --version", "print the version")
  .helpOption("-h, --help", "print this help")
  .helpCommand("help [command]", "print the help of a command")
  .exitOverride()
  .configureOutput({
    outputError: (text, write) => write(`${text.replace(/^error: /, "coatcheck: ")}See coatcheck --help.\n`),
  })
  .addHelpText(
    "after",
    `
Examples:
  coatcheck serve                          a service on http://localhost:5100, kept in ./var/coatcheck.db
  coatcheck dump http://localhost:5100     every key and value, one line each
  coatcheck doctor http://localhost:5100   is it up, and is it well?

Exit codes: 0 done, 1 it could not be done, 2 called wrongly.`,
  )

command("serve", "Serve a store over HTTP.")
  .option(
    "--store <url>",
    `where the data is: sqlite:PATH, memory:, http://… (env: STORE_URL; default: ${defaults.store})`,
  )
  .option("--port <number>", `port to listen on; 0: any free one (env: PORT; default: ${defaults.port})`)
  .option("--host <address>", "address to listen on (env: HOST; default: loopback, 127.0.0.1 and ::1)")
  .option("--token-file <file>", "who may ask; without it everybody on this machine may (env: TOKEN_FILE)")
  .option(
    "--allow-host <names>",
    "also answer to these host names, comma-separated; repeatable (env: ALLOW_HOSTS)",
    collect,
  )
  .option("--log-level <level>", `${logLevels.join(", ")} (env: LOG_LEVEL; default: ${defaults.logLevel})`)
  .option(
    "--log-format <format>",
    `${logFormats.join(", ")}; auto: plain on a terminal (env: LOG_FORMAT; default: auto)`,
  )
  .addHelpText(
    "after",
    `
A flag goes before its variable. Logs go to stdout. SIGTERM and SIGINT stop it when requests under way have their
answers; a second signal stops it at once. COATCHECK_TOKEN is the token for a store that is itself a service.

The token file has a line for each token, "name scopes sha256:hex", where scopes are read, write and admin, joined by
commas; # begins a comment. "coatcheck secret --token NAME" makes such a line. Clients send the token as
"Authorization: Bearer TOKEN" or as the password of HTTP Basic. Another address than loopback needs a token file.

Examples:
  coatcheck serve
  coatcheck serve --store memory: --port 0
  coatcheck serve --host 0.0.0.0 --token-file /etc/coatcheck/tokens --allow-host kv.internal
  STORE_URL=sqlite:/var/lib/coatcheck/sessions.db PORT=8080 coatcheck serve`,
  )
  .action(async (flags: ServeFlags) => (await import("./serve.ts")).serve(flags, env))

command("dump", "Print every key and value of a service, one line each, in the order of keys.")
  .argument("<url>", "the service: http://localhost:5100, or localhost:5100")
  .option("--prefix <text>", "only keys that begin with this text")
  .option("--format <format>", "python, json or raw", "python")
  .option("--mask", "cut what looks like an id to its first six characters")
  .addHelpText(
    "after",
    `
Formats:
  python   {'twitter': 'https://twitter.com/ProfAvery'}   a Python literal
  json     {"twitter": "https://twitter.com/ProfAvery"}   a JSON object (NDJSON)
  raw      twitter<TAB>"https://twitter.com/ProfAvery"    the key, a tab, the value's JSON

Numbers keep the text they were written with. --mask works on keys and on texts in values: 20 or more letters, digits,
- and _ in a row look like an id.

Environment: COATCHECK_TOKEN is the token for a service that wants one.

Examples:
  coatcheck dump http://localhost:5100
  coatcheck dump --prefix session: --mask localhost:5100
  coatcheck dump --format json localhost:5100 | head`,
  )
  .action(async (url: string, flags: DumpFlags) => (await import("./dump.ts")).dump(url, flags, { env, stdout, note }))

command("secret", "Print a fresh secret, or make a token for a service.")
  .option("--token <name>", "make a token of this name: prints the token, then the line for the token file")
  .option("--scopes <list>", "what the token may do: read, write, admin (default: read,write)")
  .addHelpText(
    "after",
    `
A secret is 32 random bytes as base64url. A token is shown this once: the token file holds only its hash.

Examples:
  export SECRET_KEY=$(coatcheck secret)
  coatcheck secret --token web --scopes read,write`,
  )
  .action(async (flags: SecretFlags) => {
    for (const line of (await import("./secret.ts")).secretLines(flags)) stdout.write(`${line}\n`)
  })

command("doctor", "Check a service or a store, and say what is wrong.")
  .argument("<url>", "a service (http://localhost:5100) or a store (sqlite:./var/coatcheck.db, memory:)")
  .option("--write", "also write, read and delete a key of its own")
  .addHelpText(
    "after",
    `
Prints one line a check: ok, warn or fail. Exit code 1 when one failed.

Environment: COATCHECK_TOKEN is the token for a service that wants one.

Examples:
  coatcheck doctor http://localhost:5100
  coatcheck doctor --write sqlite:./var/coatcheck.db`,
  )
  .action(async (url: string, flags: DoctorFlags) =>
    (await import("./doctor.ts")).doctor(url, flags, { env, stdout, note }),
  )

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = end(error)
}

/** A command whose errors are told in one line and point to its help. */
function command(name: string, description: string): Command {
  const made = program.command(name).description(description).helpOption("-h, --help", "print this help")
  return made.configureOutput({
    outputError: (text, write) => {
      const said = text.replace(/^error: /, "coatcheck: ")
      write(`${said}Usage: coatcheck ${name} ${made.usage()}\nSee coatcheck ${name} --help.\n`)
    },
  })
}

/** The exit code; commander has already said what it had to say. */
function end(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage
  note(explain(error))
  return exitCode(error)
}

/** One line on stderr. */
function note(line: string): void {
  stderr.write(`coatcheck: ${line}\n`)
}

function collect(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value]
}
