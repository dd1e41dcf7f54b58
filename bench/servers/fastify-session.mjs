// @fastify/session with its memory store, or the store that STORE names.
import cookie from "@fastify/cookie"
import session from "@fastify/session"
import Fastify from "fastify"
import { bump, HOST, PORT, pause, ready, SECRET, text } from "./common.mjs"
import { store } from "./peer-stores.mjs"

const app = Fastify()
await app.register(cookie)
await app.register(session, {
  ...(store && { store }),
  secret: SECRET,
  saveUninitialized: false,
  rolling: false,
  cookie: { secure: false, maxAge: 86_400_000 },
})
const answer = (path, handle) =>
  app.get(path, async (request, reply) => {
    reply.type(text)
    return handle(request.session)
  })
answer("/", (data) => `count: ${bump(data)}`)
answer("/me", (data) => `me: ${data.count}`)
answer("/plain", () => "hello")
answer("/slow", async (data) => {
  await pause()
  return `count: ${bump(data)}`
})
await app.listen({ port: PORT, host: HOST })
ready()
