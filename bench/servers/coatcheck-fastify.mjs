// Coatcheck under Fastify: the node adapter wraps what Fastify gives to node:http, and routes open the session of the raw request.
import { createServer } from "node:http"
import { nodeAdapter } from "coatcheck/node"
import Fastify from "fastify"
import { sessions } from "./coatcheck.mjs"
import { bump, HOST, PORT, pause, ready, text } from "./common.mjs"

const handle = nodeAdapter(sessions)
const app = Fastify({ serverFactory: (listener) => createServer(handle(listener)) })
const answer = (path, reply) =>
  app.get(path, async (request, response) => {
    response.type(text)
    return reply(request.raw)
  })
answer("/", async (request) => `count: ${bump((await sessions.open(request)).data)}`)
answer("/me", async (request) => `me: ${(await sessions.open(request)).data.count}`)
answer("/plain", () => "hello")
answer("/slow", async (request) => {
  const session = await sessions.open(request)
  await pause()
  return `count: ${bump(session.data)}`
})
await app.listen({ port: PORT, host: HOST })
ready()
