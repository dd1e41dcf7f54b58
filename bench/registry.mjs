// One entry a server. `bare` names the server it is divided by; `needs` the services started on the load's CPU; `routes` what is
// measured; `lost` that it keeps state of which updates can be lost.
//
// A new peer is a server in servers/ that answers the routes of servers/common.mjs on PORT.

const all = ["/", "/me", "/plain", "anon"]
const bare = (name) => ({ file: name, routes: ["/plain"] })
const peer = (file, beside) => ({ file, bare: beside, routes: all })

export const servers = {
  "bare-node": bare("bare-node"),
  "coatcheck, memory": { ...peer("coatcheck-node", "bare-node"), env: { STORE_URL: "memory:" }, lost: true, hot: true },
  "coatcheck, SQLite": {
    ...peer("coatcheck-node", "bare-node"),
    env: { STORE_URL: "sqlite:{DATA}/sessions.db" },
    lost: true,
    hot: true,
  },
  "coatcheck, service on SQLite": {
    ...peer("coatcheck-node", "bare-node"),
    env: { STORE_URL: "http://127.0.0.1:{SERVICE_PORT}" },
    needs: ["service"],
    lost: true,
    hot: true,
  },
  "coatcheck, signed cookie": { ...peer("coatcheck-node", "bare-node"), env: { CARRIER: "signed" } },
  "bare-express": bare("bare-express"),
  "express-session, memory": { ...peer("express-session", "bare-express"), lost: true },
  "bare-fastify": bare("bare-fastify"),
  "@fastify/session, memory": { ...peer("fastify-session", "bare-fastify"), lost: true },
  "bare-koa": bare("bare-koa"),
  "koa-session, signed cookie": peer("koa-session", "bare-koa"),
}

export const services = {
  service: { file: "service", env: { STORE_URL: "sqlite:{DATA}/service.db" } },
}
