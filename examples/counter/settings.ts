// Where each setting comes from: an option, then the environment, then counter.cfg, then a default. Every value is checked before
// anything starts, and what is wrong is said in one sentence that names the setting and the place it came from.

import { readFileSync } from "node:fs"
import { type Environment, type Given, parseOptions, readPort, SettingError, wrong } from "../shared/settings.ts"

/** What the counter runs with. */
export interface Settings {
  /** true: data in the store, an id in the cookie. false: data in the cookie, signed. */
  readonly useSessionStore: boolean
  /** What openStore is given. */
  readonly storeUrl: string
  /** The token for a key-value service that asks for one; null: none. */
  readonly token: string | null
  /** Newest first; empty: none were given. */
  readonly secrets: readonly string[]
  readonly port: number
  readonly host: string
}

/** What --help prints. */
export const usage = `Usage: node --conditions=@coatcheck/source --import tsx examples/counter/server.ts [options]

A page that counts its loads, each browser by itself.

  --port N                   the page's port (PORT, default 5000; 0 picks a free one)
  --host NAME                the address to listen on (HOST, default localhost)
  --use-session-store BOOL   true: data in the store; false: data in the signed cookie (USE_SESSION_STORE, default true)
  --kv-url URL               the key-value service (KV_URL, default http://localhost:5100)
  --store-url URL            any other store, such as sqlite:./var/counter.db; wins over --kv-url (STORE_URL)
  --secret-key-file FILE     secrets that sign cookies, one a line, newest first (SECRET_KEY_FILE; or SECRET_KEY)
  --config FILE              KEY=value lines (default: counter.cfg beside this program)
  --help

An option wins over the environment, which wins over the file. COATCHECK_TOKEN is the token for the service, if it asks for one.
`

const keys = ["PORT", "HOST", "USE_SESSION_STORE", "KV_URL", "STORE_URL", "SECRET_KEY", "SECRET_KEY_FILE"] as const
type Key = (typeof keys)[number]

const options = ["port", "host", "use-session-store", "kv-url", "store-url", "secret-key-file", "config"]

/**
 * The settings from the command line, the environment and the file; null when --help was asked for.
 *
 * @throws SettingError naming what is wrong.
 */
export function readSettings(args: readonly string[], environment: Environment, defaultFile: string): Settings | null {
  const chosen = parseOptions(args, options)
  if (chosen.has("help")) return null
  const file = chosen.get("config")
  const fromFile = parseFile(file ?? defaultFile, file !== undefined)

  const find = (key: Key): Given | null => {
    const option = key.toLowerCase().replaceAll("_", "-")
    const places = [
      { value: chosen.get(option), from: `option --${option}` },
      { value: environment[key], from: "environment" },
      { value: fromFile.get(key), from: file ?? "counter.cfg" },
    ]
    for (const { value, from } of places) {
      if (value !== undefined && value !== "") return { value, from }
    }
    return null
  }

  return {
    useSessionStore: readBoolean("USE_SESSION_STORE", find("USE_SESSION_STORE"), true),
    storeUrl: find("STORE_URL")?.value ?? readServiceUrl(find("KV_URL")),
    token: environment.COATCHECK_TOKEN || null,
    secrets: readSecrets(find("SECRET_KEY_FILE"), find("SECRET_KEY")),
    port: readPort("PORT", find("PORT"), 5000),
    host: find("HOST")?.value ?? "localhost",
  }
}

function parseFile(path: string, mustExist: boolean): Map<string, string> {
  const found = new Map<string, string>()
  let text: string
  try {
    text = readFileSync(path, "utf8")
  } catch (error) {
    if (!mustExist && (error as NodeJS.ErrnoException).code === "ENOENT") return found
    throw unreadable("--config", path, error)
  }
  for (const [index, line] of text.split("\n").entries()) {
    const trimmed = line.trim()
    if (trimmed === "" || trimmed.startsWith("#")) continue
    const [, key, value] = /^(\w+)\s*=(.*)$/.exec(trimmed) ?? []
    if (key === undefined || value === undefined) {
      throw new SettingError(`${path}, line ${index + 1}: expected KEY=value`)
    }
    if (!(keys as readonly string[]).includes(key)) {
      throw new SettingError(`${path}, line ${index + 1}: there is no setting ${key}; there are ${keys.join(", ")}`)
    }
    found.set(key, value.trim())
  }
  return found
}

function readBoolean(key: Key, given: Given | null, otherwise: boolean): boolean {
  if (given === null) return otherwise
  const value = given.value.toLowerCase()
  if (value === "true" || value === "1") return true
  if (value === "false" || value === "0") return false
  throw wrong(key, given, "must be true or false")
}

function readServiceUrl(given: Given | null): string {
  if (given === null) return "http://localhost:5100"
  if (!/^https?:\/\/[^/]/i.test(given.value) || !URL.canParse(given.value)) {
    throw wrong("KV_URL", given, "must be a URL such as http://localhost:5100 (other stores go into STORE_URL)")
  }
  return given.value
}

function readSecrets(file: Given | null, inline: Given | null): readonly string[] {
  if (file === null) return split(inline?.value ?? "", ",")
  let text: string
  try {
    text = readFileSync(file.value, "utf8")
  } catch (error) {
    throw unreadable("SECRET_KEY_FILE", file.value, error)
  }
  const secrets = split(text, /[\n,]/)
  if (secrets.length === 0) throw wrong("SECRET_KEY_FILE", file, "names a file without a secret in it")
  return secrets
}

function split(text: string, separator: string | RegExp): readonly string[] {
  return text
    .split(separator)
    .map((secret) => secret.trim())
    .filter((secret) => secret !== "")
}

function unreadable(setting: string, path: string, error: unknown): SettingError {
  const { code } = error as NodeJS.ErrnoException
  return new SettingError(`${setting}: ${path} can't be read (${code ?? "unknown reason"})`)
}
