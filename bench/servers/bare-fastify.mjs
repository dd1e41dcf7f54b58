// Fastify without sessions.
import Fastify from "fastify"
import { HOST, PORT, ready, text } from "./common.mjs"

const app = Fastify()
app.get("/plain", async (_request, reply) => {
  reply.type(text)
  return "hello"
})
await app.listen({ port: PORT, host: HOST })
ready()
