// What the page says about its store, told from the URL alone: what kind it is, without what should not be shown, and whether another
// instance can have the same one.

/** Where the values are. */
export interface StorePlace {
  /** For people: "this process's memory". */
  readonly name: string
  /** Who shares it: this process alone, whoever opens the same files of this machine, or every instance. */
  readonly reach: "process" | "machine" | "all"
}

const places: Readonly<Record<string, StorePlace>> = {
  memory: { name: "this process’s own memory", reach: "process" },
  file: { name: "a folder on this machine", reach: "machine" },
  sqlite: { name: "an SQLite file on this machine", reach: "machine" },
  http: { name: "the key-value service", reach: "all" },
  https: { name: "the key-value service", reach: "all" },
  redis: { name: "Redis", reach: "all" },
  rediss: { name: "Redis", reach: "all" },
  "redis+sentinel": { name: "Redis", reach: "all" },
  "redis+cluster": { name: "a Redis cluster", reach: "all" },
  postgres: { name: "Postgres", reach: "all" },
  postgresql: { name: "Postgres", reach: "all" },
}

/** What can be said of a store's URL. The URL itself may hold a password. */
export function storePlace(url: string): StorePlace {
  const [scheme = ""] = url.split(":", 1)
  return places[scheme.toLowerCase()] ?? { name: `a store of the kind ${scheme}`, reach: "all" }
}
