// One entry a server. `bare` names the server it is divided by; `needs` what is started for it on the load's CPU; `routes` what is
// measured; `lost` that it keeps state of which updates can be lost, `shared` that two processes can keep it together; `hot` that one
// session alone is measured too. In `env`, {DATA} is a folder of its own, and {redis}, {postgres} and {service} where those are.
//
// A new peer is a server in servers/ that answers the routes of servers/common.mjs on PORT.

const routes = ["/", "/me", "/plain", "anon"]
const bare = (file) => ({ file, routes: ["/plain"] })
const peer = (file, bare, more = {}) => ({ file, bare, routes, ...more })

/** What a server of ours keeps its sessions in. */
const stores = {
  memory: { env: { STORE_URL: "memory:" } },
  SQLite: { env: { STORE_URL: "sqlite:{DATA}/sessions.db" }, shared: true },
  files: { env: { STORE_URL: "file:{DATA}/sessions" }, shared: true },
  Redis: { env: { STORE_URL: "{redis}" }, needs: ["redis"], shared: true },
  "Redis and near-cache": { env: { STORE_URL: "{redis}", NEAR_CACHE: "true" }, needs: ["redis"], shared: true },
  Postgres: { env: { STORE_URL: "{postgres}" }, needs: ["postgres"], shared: true },
  "service on SQLite": { env: { STORE_URL: "{service}" }, needs: ["service"], shared: true },
}
const ours = (framework, names) =>
  Object.fromEntries(
    names.map((name) => [
      `coatcheck on ${framework}, ${name}`,
      peer(`coatcheck-${framework}`, `bare-${framework}`, { ...stores[name], lost: true, hot: true }),
    ]),
  )
const onRedis = { env: { STORE: "redis", STORE_URL: "{redis}" }, needs: ["redis"], lost: true, shared: true }
const onPostgres = {
  env: { STORE: "postgres", STORE_URL: "{postgres}" },
  needs: ["postgres"],
  lost: true,
  shared: true,
}

export const servers = {
  "bare-node": bare("bare-node"),
  ...ours("node", Object.keys(stores)),
  "coatcheck on node, signed cookie": peer("coatcheck-node", "bare-node", { env: { CARRIER: "signed" } }),
  "bare-fastify": bare("bare-fastify"),
  ...ours("fastify", ["memory", "SQLite", "Redis", "Redis and near-cache"]),
  "@fastify/session, memory": peer("fastify-session", "bare-fastify", { lost: true }),
  "@fastify/session, connect-redis": peer("fastify-session", "bare-fastify", onRedis),
  "bare-express": bare("bare-express"),
  ...ours("express", ["memory", "SQLite", "Redis", "Postgres"]),
  "express-session, memory": peer("express-session", "bare-express", { lost: true }),
  "express-session, connect-redis": peer("express-session", "bare-express", onRedis),
  "express-session, connect-pg-simple": peer("express-session", "bare-express", onPostgres),
  "bare-koa": bare("bare-koa"),
  "koa-session, signed cookie": peer("koa-session", "bare-koa"),
}

export const services = {
  service: { file: "service", env: { STORE_URL: "sqlite:{DATA}/service.db" } },
}

/** What the parts in one process know, and the engine that each needs. */
export const measuredStores = {
  memory: null,
  SQLite: null,
  files: null,
  Redis: "redis",
  Postgres: "postgres",
  service: null,
  guarded: null,
  encrypted: null,
  "near-cache": "redis",
}

/** Names that hold one of the parts (";" between them, case does not matter); all without. */
export function chosen(names, parts) {
  if (parts === undefined) return [...names]
  const wanted = parts
    .split(";")
    .map((part) => part.trim().toLowerCase())
    .filter((part) => part !== "")
  return [...names].filter((name) => wanted.some((part) => name.toLowerCase().includes(part)))
}
