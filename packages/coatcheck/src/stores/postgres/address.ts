// A URL taken apart: what is the store's own goes to the store, what is the driver's goes to the driver as it was written, and
// what neither knows is refused, because a mistyped `sslmod=verify-full` would otherwise connect in the clear. No message repeats
// anything of a URL: it holds a password.

/** The parameters that stand in the URL for the store. */
const own = ["deadline", "maxValueBytes", "schema", "table", "connections", "maxQueued", "notify", "prepare"] as const

/** Those that `pg` understands, after libpq. */
const driver = [
  "sslmode",
  "sslcert",
  "sslkey",
  "sslrootcert",
  "sslnegotiation",
  "uselibpqcompat",
  "host",
  "application_name",
] as const

/** The settings of a URL. */
export interface PostgresAddress {
  /** For the driver: the URL without the store's own parameters. */
  readonly connectionString: string
  /** Settings of each connection as libpq's `options` writes them; "": none. The store adds its own. */
  readonly options: string
  /** The store's own parameters, as they were written. */
  readonly parameters: Readonly<Partial<Record<(typeof own)[number], string>>>
}

/**
 * Takes a URL apart.
 *
 * @throws TypeError when it is no URL of Postgres, or has a parameter that nobody knows.
 */
export function postgresAddress(url: string): PostgresAddress {
  if (!/^postgres(ql)?:\/\//i.test(url) || !URL.canParse(url)) {
    throw new TypeError("postgresStore needs a URL such as postgres://user:password@localhost:5432/database, or a pool")
  }
  const [base, query] = split(url)
  const given = [...new URLSearchParams(query)]
  const known: readonly string[] = [...own, ...driver, "options"]
  if (given.some(([name]) => !known.includes(name))) {
    throw new TypeError(`The parameters of a postgres URL are ${known.join(", ")}`)
  }
  const isOwn = ([name]: [string, string]): boolean => (own as readonly string[]).includes(name)
  const rest = given
    .filter((one) => !isOwn(one) && one[0] !== "options")
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&")
  return {
    connectionString: rest === "" ? base : `${base}?${rest}`,
    options: given.find(([name]) => name === "options")?.[1] ?? "",
    parameters: Object.fromEntries(given.filter(isOwn)),
  }
}

function split(url: string): [string, string] {
  const at = url.indexOf("?")
  return at < 0 ? [url, ""] : [url.slice(0, at), url.slice(at + 1)]
}
