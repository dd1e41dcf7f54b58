// Koa without sessions.
import Koa from "koa"
import { HOST, PORT, ready } from "./common.mjs"

const app = new Koa()
app.use((context) => {
  if (context.path === "/plain") {
    context.type = "text"
    context.body = "hello"
  }
})
app.listen(PORT, HOST, ready)
