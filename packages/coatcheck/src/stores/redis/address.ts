// Where the servers are, out of a URL. Taken apart by our own hand, because `new URL("redis+cluster://a:1,b:2")` throws; several
// servers stand behind each other with commas. Mistakes are TypeErrors when the store is made, and no message repeats any part of
// the URL, which may hold a password.

/** Where a server listens. */
export interface Endpoint {
  /** A name, or an address without brackets. */
  readonly host: string
  readonly port: number
}

/** A URL, taken apart. */
export interface RedisAddress {
  readonly kind: "node" | "sentinel" | "cluster"
  /** The node; the sentinels; some nodes of the cluster. At least one. */
  readonly endpoints: readonly Endpoint[]
  /** What the sentinels call the primary; "" where there are none. */
  readonly name: string
  /** The number of the database. */
  readonly db: number
  /** undefined: the URL says nothing, the options may. */
  readonly username: string | undefined
  readonly password: string | undefined
  /** `rediss`: TLS on every connection. */
  readonly secure: boolean
  /** What follows the question mark, for the store to read. */
  readonly parameters: Readonly<Record<string, string>>
}

const form =
  "a redis store is made of a URL such as redis://localhost:6379/0, rediss://host, redis+sentinel://host:26379,host:26379/name or redis+cluster://host:6379,host:6379"

/**
 * Takes the URL of a store apart: `redis[s][+sentinel|+cluster]://[user[:password]@]host[:port][,host[:port]…][/…][?…]`.
 *
 * Behind the hosts of one node may stand the number of its database; behind sentinels stands the primary's name, and then perhaps the
 * database. User, password and name are percent-encoded UTF-8.
 *
 * @throws TypeError when it is anything else; the message holds nothing of it.
 */
export function redisAddress(url: string): RedisAddress {
  const [, scheme = "", rest = ""] = /^([a-z+]+):\/\/(.*)$/i.exec(url) ?? []
  const [, letters = "", topology = ""] = /^(rediss?)(?:\+(sentinel|cluster))?$/i.exec(scheme) ?? []
  if (letters === "" || rest.includes("#")) throw new TypeError(`Not the URL of a redis store: ${form}`)
  const [before, parameters] = cut(rest, rest.indexOf("?"))
  const [authority, path] = cut(before, before.indexOf("/"))
  const [credentials, hosts] = authority.includes("@")
    ? cut(authority, authority.lastIndexOf("@"))
    : [undefined, authority]
  const kind = (topology.toLowerCase() || "node") as RedisAddress["kind"] // the pattern allows only the other two
  const endpoints = hosts.split(",").map((host) => endpoint(host, kind === "sentinel" ? 26_379 : 6_379))
  if (kind === "node" && endpoints.length > 1) {
    throw new TypeError("redis:// names one server; several are redis+sentinel:// or redis+cluster://")
  }
  return {
    kind,
    endpoints,
    ...place(kind, path),
    ...user(credentials),
    secure: letters.length > 5,
    parameters: Object.fromEntries(new URLSearchParams(parameters)),
  }
}

/** What stands before and behind the character at a place; everything and nothing where there is none. */
function cut(text: string, at: number): [string, string] {
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)]
}

function endpoint(text: string, defaultPort: number): Endpoint {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^\s[\]:]+))(?::(\d{1,5}))?$/i.exec(text)
  const port = Number(match?.[3] ?? defaultPort)
  if (match === null || port < 1 || port > 65_535) throw new TypeError(`A host is missing or malformed: ${form}`)
  return { host: match[1] ?? match[2] ?? "", port }
}

function place(kind: RedisAddress["kind"], path: string): { name: string; db: number } {
  if (kind === "cluster") {
    if (path !== "") throw new TypeError("A cluster has one database: nothing stands behind the hosts but parameters")
    return { name: "", db: 0 }
  }
  const [name, db] = kind === "sentinel" ? cut(path, path.indexOf("/")) : ["", path]
  if (kind === "sentinel" && name === "") {
    throw new TypeError("The name of the primary stands behind the sentinels: redis+sentinel://host:26379/name")
  }
  if (!/^\d{0,5}$/.test(db)) throw new TypeError("A database is given by its number, such as redis://localhost:6379/1")
  return { name: decoded(name), db: Number(db) }
}

function user(credentials: string | undefined): { username: string | undefined; password: string | undefined } {
  if (credentials === undefined) return { username: undefined, password: undefined }
  const [username, password] = cut(credentials, credentials.indexOf(":"))
  return { username: decoded(username) || undefined, password: decoded(password) || undefined }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new TypeError("User, password and name in the URL of a redis store are percent-encoded UTF-8")
  }
}
