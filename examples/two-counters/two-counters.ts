// Two numbers in one session, on Fastify: loading the page adds one to the first, the button adds one to the second. They are plainly
// assigned. That two tabs at once lose nothing is said in one place, the rules: each request's difference is added to the newest record.
//
// Fastify takes node's request and response from whoever has them (`app.routing`), so the node adapter wraps the whole application, and
// a route opens the session of `request.raw`. No plugin is needed.

import type { RequestListener } from "node:http"
import { createSessions, type Session, type Store } from "coatcheck"
import { nodeAdapter } from "coatcheck/node"
import Fastify, { type FastifyReply, type FastifyRequest } from "fastify"
import type { Neighbour } from "../shared/neighbours.ts"
import { messagePage } from "../shared/page.ts"
import {
  assets,
  fences,
  lineOf,
  notAllowed,
  notFound,
  pageHeaders,
  plainText,
  type Trouble,
  troubleOf,
  wantsPage,
} from "../shared/replies.ts"
import { countersFrame, countersPage } from "./page.ts"

/** What the two counters need. */
export interface TwoCountersOptions {
  /** Where sessions are kept. */
  readonly store: Store
  /** Gets a line about what went wrong in a request. */
  readonly report: (line: string) => void
  /** The examples that run beside this one. Default none. */
  readonly neighbours?: readonly Neighbour[]
}

interface Counts {
  readonly count1: number
  readonly count2: number
}

/** The methods of each address, for who comes by another one. */
const methods: ReadonlyMap<string, string> = new Map([
  ["/", "GET, HEAD"],
  ["/increment", "POST"],
  ["/reset", "POST"],
  ...[...assets.keys()].map((path) => [path, "GET, HEAD"] as const),
])

/** The application as a listener for node:http. */
export async function createTwoCounters(options: TwoCountersOptions): Promise<RequestListener> {
  const { store, report, neighbours = [] } = options
  const sessions = createSessions<{ count1: number; count2: number }>({
    store,
    cookie: { name: "SID" },
    rules: { count1: "add", count2: "add" },
  })
  const frame = (title: string) => countersFrame(title, neighbours)
  // An address that can't be decoded is refused before there is a route.
  const app = Fastify({
    frameworkErrors: (error, request, reply) => void sendTrouble(request, reply, troubleOf(error)),
  })

  function sendTrouble(request: FastifyRequest, reply: FastifyReply, trouble: Trouble): FastifyReply {
    reply.code(trouble.status).headers({ ...pageHeaders, ...trouble.headers })
    if (wantsPage(request.headers.accept)) return reply.send(messagePage(frame(trouble.heading), trouble).markup)
    return reply.type("text/plain; charset=utf-8").send(plainText(trouble))
  }

  // The forms have no fields, so bodies are passed over, whatever they are.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser("*", (_, payload, done) => {
    payload.resume()
    done(null)
  })

  /** Adds to both, and keeps them: both are numbers from the first request on. */
  async function add(session: Session<Counts>, first: number, second: number): Promise<Counts> {
    const { count1 = 0, count2 = 0 } = session.data
    const counts = { count1: count1 + first, count2: count2 + second }
    session.data = counts
    // The reply would commit by itself; done here, a failure is an error of this handler, and gets a page.
    await session.commit()
    return counts
  }

  app.head("/", (_, reply) => reply.headers(pageHeaders).send())
  app.get("/", async (request, reply) => {
    const session = await sessions.open(request.raw)
    const counts = await add(session, 1, 0)
    const record = session.key === null ? null : await store.get(session.key).catch(() => null)
    const page = countersPage(frame(`${counts.count1} and ${counts.count2}`), counts, record)
    return reply.headers(pageHeaders).send(page.markup)
  })
  app.post("/increment", async (request, reply) => {
    await add(await sessions.open(request.raw), 0, 1)
    return seeFirstPage(reply)
  })
  app.post("/reset", async (request, reply) => {
    const session = await sessions.open(request.raw)
    await session.destroy()
    return seeFirstPage(reply)
  })
  for (const [path, { headers, content }] of assets) app.get(path, (_, reply) => reply.headers(headers).send(content))

  app.setNotFoundHandler((request, reply) => {
    const [path = "/"] = request.url.split("?", 1)
    const allow = methods.get(path)
    return sendTrouble(request, reply, allow === undefined ? notFound : notAllowed(allow))
  })
  app.setErrorHandler((error, request, reply) => {
    report(lineOf(error))
    return sendTrouble(request, reply, troubleOf(error))
  })
  await app.ready()

  // What sends no label at all is no browser of today, so nobody can be tricked into sending it: curl may press the buttons.
  const handle = nodeAdapter(sessions, { guard: { unlabelled: "allow" }, onError: (error) => report(lineOf(error)) })
  return handle((request, response) => app.routing(request, response))
}

/** 303: the browser follows by GET, so that a reload repeats the load and not the button. */
function seeFirstPage(reply: FastifyReply): FastifyReply {
  return reply
    .code(303)
    .headers({ ...fences, location: "/" })
    .send()
}
