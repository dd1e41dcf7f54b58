// Coatcheck on node:http. STORE_URL says where records are kept; CARRIER=signed keeps them in the cookie.
import { createServer } from "node:http"
import { createSessions } from "coatcheck"
import { nodeAdapter } from "coatcheck/node"
import { openStore } from "coatcheck/open"
import { bump, HOST, PORT, pause, ready, SECRET, text } from "./common.mjs"

const carrier = process.env.CARRIER ?? "store"
const sessions = createSessions(
  carrier === "signed"
    ? { carrier, secret: SECRET, absolute: "24h", idle: "24h" }
    : {
        store: await openStore(process.env.STORE_URL ?? "memory:"),
        absolute: "24h",
        idle: "24h",
        rules: { count: "add" },
      },
)
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
