// A store from one line of configuration. Only the engine that the URL names is loaded, so that a program that keeps its sessions in
// memory never reads a line of SQLite.
//
// URLs are split by our own hand: `new URL("sqlite:./x")` loses the dot. A path is taken as it is written, without percent
// codes. What the URL says goes before the options; whatever is not known is a TypeError that says what is, and repeats
// nothing of the URL, because it may hold a token.
//
// Stores that are reached over a network come guarded: a breaker, a bound on the calls under way, typed errors. They keep the deadline
// themselves, and know better than anybody outside whether a call that is over was ever sent; so the guard's own is half as
// long again, and only ends what an engine failed to end.

import { type Clock, type Duration, milliseconds } from "../core/clock.ts"
import { checkOptions } from "../core/options.ts"
import type { Report, Store } from "../core/store.ts"

/** Settings for whichever store the URL names. */
export interface OpenStoreOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Where the store tells what happens in the background. Default: a line on stderr. */
  readonly report?: Report
  /** Credentials for `http:` and `https:`; other stores have no use for one. */
  readonly token?: string
  /** How long a call may wait. Default "1s". `memory:` waits for nothing. */
  readonly deadline?: Duration
  /** The longest value, in bytes of UTF-8. Default 1 MiB. */
  readonly maxValueBytes?: number
}

type Parameters = Readonly<Record<string, string>>

/** One engine: what may stand in its URL, and how it is opened. */
interface Engine {
  readonly parameters: readonly string[]
  /** It is reached over a network, so it is guarded. */
  readonly networked?: true
  open(rest: string, parameters: Parameters, options: OpenStoreOptions): Promise<Store>
}

const engines: Readonly<Record<string, Engine>> = {
  memory: {
    parameters: ["maxEntries", "maxBytes", "maxValueBytes"],
    async open(rest, parameters, { clock, report, maxValueBytes }) {
      if (rest !== "") throw new TypeError('Nothing stands behind "memory:" but parameters')
      const { memoryStore } = await import("./memory.ts")
      return memoryStore({ ...given({ clock, report, maxValueBytes }), ...numbers(parameters) })
    },
  },
  sqlite: {
    parameters: ["deadline", "maxValueBytes"],
    async open(rest, { deadline, ...sizes }, { clock, report, maxValueBytes, ...options }) {
      const path = pathOf(rest, "sqlite", "sessions.db")
      const { sqliteStore } = await import("./sqlite.ts")
      const patience = (deadline as Duration | undefined) ?? options.deadline // sqliteStore refuses what is no duration
      return sqliteStore(path, { ...given({ clock, report, maxValueBytes, deadline: patience }), ...numbers(sizes) })
    },
  },
  file: {
    parameters: ["deadline", "maxValueBytes"],
    async open(rest, { deadline, ...sizes }, { clock, report, maxValueBytes, ...options }) {
      const path = pathOf(rest, "file", "sessions")
      const { fileStore } = await import("./file.ts")
      const patience = (deadline as Duration | undefined) ?? options.deadline // fileStore refuses what is no duration
      return fileStore(path, { ...given({ clock, report, maxValueBytes, deadline: patience }), ...numbers(sizes) })
    },
  },
  ...Object.fromEntries(redisSchemes().map((scheme) => [scheme, redis(scheme)])),
  postgres: postgres(),
  postgresql: postgres(),
}

function postgres(): Engine {
  const own = ["deadline", "maxValueBytes", "schema", "table", "connections", "maxQueued", "notify", "prepare"]
  const ssl = ["sslmode", "sslcert", "sslkey", "sslrootcert", "sslnegotiation", "uselibpqcompat"]
  return {
    parameters: [...own, ...ssl, "host", "application_name", "options"],
    networked: true,
    async open(rest, parameters, { clock, report, deadline, maxValueBytes }) {
      const { postgresStore } = await import("./postgres.ts")
      const url = `postgres:${rest}?${new URLSearchParams(parameters)}`
      return postgresStore(url, given({ clock, report, deadline, maxValueBytes }))
    },
  }
}

function redisSchemes(): string[] {
  return ["redis", "rediss"].flatMap((scheme) => [scheme, `${scheme}+sentinel`, `${scheme}+cluster`])
}

function redis(scheme: string): Engine {
  return {
    parameters: ["prefix", "wait", "grace", "deadline", "maxValueBytes", "maxQueued"],
    networked: true,
    async open(rest, parameters, { clock, report, deadline, maxValueBytes }) {
      const { redisStore } = await import("./redis.ts")
      const url = `${scheme}:${rest}?${new URLSearchParams(parameters)}`
      return redisStore(url, given({ clock, report, deadline, maxValueBytes }))
    },
  }
}

/**
 * Opens the store that a URL names.
 *
 * - `memory:` – this process only. `maxEntries`, `maxBytes`, `maxValueBytes`.
 * - `sqlite:./var/sessions.db` – one file, several processes. `deadline`, `maxValueBytes`.
 * - `file:./var/sessions` – one folder, several processes. `deadline`, `maxValueBytes`.
 * - `redis://localhost:6379`, `rediss://…`, `redis+sentinel://host,host/name`, `redis+cluster://host,host` – Redis or Valkey.
 *   `prefix`, `wait`, `grace`, `deadline`, `maxValueBytes`, `maxQueued`.
 * - `postgres://user:password@localhost:5432/database`, `postgresql://…` – a table of Postgres. `deadline`, `maxValueBytes`, `schema`, `table`,
 *   `connections`, `maxQueued`, `notify`, `prepare`, and what `pg` takes: `sslmode`, `host`, `options`, ….
 * - `http://localhost:5100`, `https://…` – a key-value service. `wire`, `lossy`.
 *
 * Parameters follow a `?` as in `memory:?maxEntries=5000`.
 *
 * @throws TypeError when the URL or a parameter makes no sense; never repeats the URL.
 * @throws CoatcheckError what the store throws when it can't be opened.
 */
export async function openStore(url: string, options: OpenStoreOptions = {}): Promise<Store> {
  checkOptions<OpenStoreOptions>("openStore", options, {
    clock: true,
    report: true,
    token: true,
    deadline: true,
    maxValueBytes: true,
  })
  const scheme = typeof url === "string" ? (/^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1] ?? "").toLowerCase() : ""
  if (scheme === "http" || scheme === "https") {
    const { httpStore } = await import("./http.ts")
    return guarded(httpStore(url, options), options.deadline, options)
  }
  const engine = Object.hasOwn(engines, scheme) ? engines[scheme] : undefined
  if (engine === undefined) {
    const known = [...Object.keys(engines), "http", "https"].map((name) => `${name}:`)
    throw new TypeError(`A store's URL begins with one of ${known.join(", ")}`)
  }
  const [rest, parameters] = split(url.slice(scheme.length + 1), engine.parameters)
  const store = await engine.open(rest, parameters, options)
  const deadline = (parameters["deadline"] as Duration | undefined) ?? options.deadline // the engine has refused what is no duration
  return engine.networked ? guarded(store, deadline, options) : store
}

async function guarded(store: Store, deadline: Duration = "1s", { clock, report }: OpenStoreOptions): Promise<Store> {
  const { guardedStore } = await import("./guarded.ts")
  const lastResort = Math.ceil(milliseconds(deadline, "deadline") * 1.5)
  return guardedStore(store, { deadline: lastResort, ...given({ clock, report }) })
}

function pathOf(rest: string, scheme: string, name: string): string {
  const path = rest.startsWith("///") ? rest.slice(2) : rest
  if (path !== "" && !path.startsWith("//")) return path
  throw new TypeError(
    `A path stands behind "${scheme}:", such as ${scheme}:./var/${name} or ${scheme}:/var/lib/${name}`,
  )
}

function split(text: string, known: readonly string[]): [string, Parameters] {
  const at = text.indexOf("?")
  if (at < 0) return [text, {}]
  const parameters = [...new URLSearchParams(text.slice(at + 1))]
  if (parameters.some(([name]) => !known.includes(name))) {
    throw new TypeError(`The parameters of this store's URL are ${known.join(", ")}`)
  }
  return [text.slice(0, at), Object.fromEntries(parameters)]
}

function numbers(parameters: Parameters): Record<string, number> {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, text]) => {
      if (!/^\d+$/.test(text)) throw new TypeError(`${name} must be a whole number`)
      return [name, Number(text)]
    }),
  )
}

/** Without what is undefined, so that defaults apply. */
function given<Options extends object>(
  options: Options,
): { [Name in keyof Options]?: Exclude<Options[Name], undefined> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { [Name in keyof Options]?: Exclude<Options[Name], undefined> } // the same names, fewer
}
