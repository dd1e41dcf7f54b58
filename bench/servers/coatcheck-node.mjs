// Coatcheck on node:http.
import { createServer } from "node:http"
import { nodeAdapter } from "coatcheck/node"
import { sessions } from "./coatcheck.mjs"
import { bump, HOST, PORT, pause, ready, text } from "./common.mjs"

const handle = nodeAdapter(sessions)

createServer(
  handle(async (request, response) => {
    response.setHeader("Content-Type", text)
    if (request.url === "/plain") {
      response.end("hello")
      return
    }
    const session = await sessions.open(request)
    if (request.url === "/me") {
      response.end(`me: ${session.data.count}`)
      return
    }
    if (request.url === "/slow") await pause()
    // The counter is bumped by assignment: the rule "add" is what keeps parallel increments exact.
    response.end(`count: ${bump(session.data)}`)
  }),
).listen(PORT, HOST, ready)
