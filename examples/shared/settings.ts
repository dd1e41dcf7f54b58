// Where a setting comes from: an option, then the environment, then a default. Every value is checked before anything starts, and what
// is wrong is said in one sentence that names the setting and the place it came from. Values are not repeated: a URL may hold a password.

import { parseArgs } from "node:util"

/** A setting that can't be used; its message is for the person who set it. */
export class SettingError extends Error {
  override readonly name = "SettingError"
}

/** A value that somebody gave. */
export interface Given {
  readonly value: string
  /** For messages: "option --port", "environment", "counter.cfg". */
  readonly from: string
}

/** The environment's variables. */
export type Environment = Readonly<Record<string, string | undefined>>

/** Options such as --store-url, each with a value, and --help. */
export function parseOptions(args: readonly string[], names: readonly string[]): Map<string, string> {
  const text = { type: "string" } as const
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { ...Object.fromEntries(names.map((name) => [name, text])), help: { type: "boolean" } },
    })
    return new Map(Object.entries(values).map(([name, value]) => [name, String(value)]))
  } catch (error) {
    // Node's own message goes on about positional arguments; its first sentence says what is wrong.
    const [sentence] = error instanceof Error ? error.message.split(". ") : [String(error)]
    throw new SettingError(`${sentence}; --help lists the options`)
  }
}

/** A port, or the default where none is given. */
export function readPort(key: string, given: Given | null, otherwise: number): number {
  if (given === null) return otherwise
  const port = Number(given.value)
  if (!/^\d{1,5}$/.test(given.value) || port > 65_535) throw wrong(key, given, "must be a number from 0 to 65535")
  return port
}

/** The error for a value that can't be used. */
export function wrong(key: string, given: Given, what: string): SettingError {
  return new SettingError(`${key} (${given.from}) ${what}`)
}

/** What an example of one store runs with. */
export interface Settings {
  readonly port: number
  readonly host: string
  /** What openStore is given. */
  readonly storeUrl: string
  /** The token for a key-value service that asks for one; null: none. */
  readonly token: string | null
}

/** How an example calls its settings, and what they are when nobody gives them. */
export interface SettingNames {
  /** The variable of the port, such as "PORT". The options are the same in lower case: --port. */
  readonly port: string
  /** The variable of the address. */
  readonly host: string
  readonly defaultPort: number
  readonly defaultStore: (port: number) => string
}

/**
 * The settings from the command line and the environment; null when --help was asked for.
 *
 * @throws SettingError naming what is wrong.
 */
export function readSettings(args: readonly string[], environment: Environment, names: SettingNames): Settings | null {
  const option = (key: string) => key.toLowerCase().replaceAll("_", "-")
  const options = parseOptions(args, [names.port, names.host, "STORE_URL"].map(option))
  if (options.has("help")) return null
  const find = (key: string): Given | null => {
    const places = [
      { value: options.get(option(key)), from: `option --${option(key)}` },
      { value: environment[key], from: "environment" },
    ]
    for (const { value, from } of places) if (value !== undefined && value !== "") return { value, from }
    return null
  }
  const port = readPort(names.port, find(names.port), names.defaultPort)
  return {
    port,
    host: find(names.host)?.value ?? "localhost",
    storeUrl: find("STORE_URL")?.value ?? names.defaultStore(port),
    token: environment.COATCHECK_TOKEN || null,
  }
}
