// Coatcheck under Express: the node adapter wraps a middleware that hands on.
import { nodeAdapter } from "coatcheck/node"
import express from "express"
import { sessions } from "./coatcheck.mjs"
import { bump, HOST, PORT, pause, ready } from "./common.mjs"

const app = express()
app.use(nodeAdapter(sessions)((_request, _response, next) => next()))
app.get("/", async (request, response) => {
  const { data } = await sessions.open(request)
  response.type("text").send(`count: ${bump(data)}`)
})
app.get("/me", async (request, response) => {
  const { data } = await sessions.open(request)
  response.type("text").send(`me: ${data.count}`)
})
app.get("/plain", (_request, response) => void response.type("text").send("hello"))
app.get("/slow", async (request, response) => {
  const { data } = await sessions.open(request)
  await pause()
  response.type("text").send(`count: ${bump(data)}`)
})
app.listen(PORT, HOST, ready)
