// Express without sessions.
import express from "express"
import { HOST, PORT, ready } from "./common.mjs"

const app = express()
app.get("/plain", (_request, response) => void response.type("text").send("hello"))
app.listen(PORT, HOST, ready)
