// node:http without sessions: what ours and the others are divided by.
import { createServer } from "node:http"
import { HOST, PORT, ready, text } from "./common.mjs"

createServer((_request, response) => {
  response.setHeader("Content-Type", text)
  response.end("hello")
}).listen(PORT, HOST, ready)
