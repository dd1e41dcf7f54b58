// koa-session as it comes: the data in a signed cookie. The peer of our signed carrier.
import Koa from "koa"
import * as koaSession from "koa-session"
import { bump, HOST, PORT, ready, SECRET } from "./common.mjs"

const session = koaSession.default?.default ?? koaSession.default ?? koaSession.createSession
const app = new Koa()
app.keys = [SECRET]
app.use(session({ key: "koa.sess", maxAge: 86_400_000, signed: true, rolling: false, renew: false }, app))
app.use((context) => {
  context.type = "text"
  if (context.path === "/") context.body = `count: ${bump(context.session)}`
  else if (context.path === "/me") context.body = `me: ${context.session.count}`
  else if (context.path === "/plain") context.body = "hello"
})
app.listen(PORT, HOST, ready)
