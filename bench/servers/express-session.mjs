// express-session with its MemoryStore, or the store that STORE names.
import express from "express"
import session from "express-session"
import { bump, HOST, PORT, pause, ready, SECRET } from "./common.mjs"
import { store } from "./peer-stores.mjs"

const app = express()
app.use(session({ store, secret: SECRET, resave: false, saveUninitialized: false, cookie: { maxAge: 86_400_000 } }))
app.get("/", (request, response) => void response.type("text").send(`count: ${bump(request.session)}`))
app.get("/me", (request, response) => void response.type("text").send(`me: ${request.session.count}`))
app.get("/plain", (_request, response) => void response.type("text").send("hello"))
app.get("/slow", async (request, response) => {
  await pause()
  response.type("text").send(`count: ${bump(request.session)}`)
})
app.listen(PORT, HOST, ready)
