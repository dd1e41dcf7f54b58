// One value in a session, and the port of the process that served the page, on Hono. Run two of these behind a load balancer, and the
// page shows what a session store is for: with a store of its own for each instance, the value is there on every other load.
//
// Hono takes a web Request and gives a Response, so the fetch adapter wraps the application, and a route opens the session of
// `context.req.raw`. Addresses that set and unset work when they are merely opened, as people remember them; see actionsAsPosts.

import type { RequestListener } from "node:http"
import { getRequestListener, type HttpBindings } from "@hono/node-server"
import { createSessions, type Store } from "coatcheck"
import { fetchAdapter } from "coatcheck/fetch"
import { type Context, Hono } from "hono"
import { bodyLimit } from "hono/body-limit"
import { actionsAsPosts } from "../shared/actions.ts"
import type { Html } from "../shared/html.ts"
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
import { longestValue, valueFrame, valuePage } from "./page.ts"
import { storePlace } from "./store-place.ts"

/** What the values need. */
export interface ValuesOptions {
  /** Where sessions are kept. */
  readonly store: Store
  /** The URL that the store was opened by. */
  readonly storeUrl: string
  /** Gets a line about what went wrong in a request. */
  readonly report: (line: string) => void
  /** The examples that run beside this one. Default none. */
  readonly neighbours?: readonly Neighbour[]
}

type OnNode = { Bindings: HttpBindings }

const cookieName = "values"
const setPath = "/session/set/"

const noValue: Trouble = {
  status: 400,
  heading: "That is no value",
  text: `A value is a text of 1 to ${longestValue} characters, in the field “value”, or percent-encoded after /session/set/.`,
  link: "To the first page",
  headers: {},
}

/** The application as a listener for node:http. */
export function createValues({ store, storeUrl, report, neighbours = [] }: ValuesOptions): RequestListener {
  const sessions = createSessions<{ value: string }>({ store, cookie: { name: cookieName } })
  const place = storePlace(storeUrl)
  const frame = (title: string) => valueFrame(title, neighbours)
  const app = new Hono<OnNode>({ strict: false }) // "/session/unset" and "/session/unset/" are one

  app.get("/", async (context) => {
    const session = await sessions.open(context.req.raw)
    const { value } = session.data
    // A ticket that this process has no coat for: the sign that another instance has it.
    const isStranger = session.isNew && bringsCookie(context.req.header("cookie"))
    const port = context.env.incoming.socket.localPort ?? 0
    return page(context, 200, valuePage(frame(value ?? "No value"), { value: value ?? null, port, place, isStranger }))
  })

  async function keep(context: Context<OnNode>, value: unknown): Promise<Response> {
    if (typeof value !== "string" || value === "" || value.length > longestValue) return trouble(context, noValue)
    const session = await sessions.open(context.req.raw)
    session.data.value = value
    // The reply would commit by itself; done here, a failure is an error of this handler, and gets a page.
    await session.commit()
    return seeFirstPage()
  }

  app.post(
    "/session/set",
    bodyLimit({ maxSize: 65_536, onError: (context) => trouble(context, noValue) }),
    async (context) => keep(context, (await context.req.parseBody()).value),
  )
  app.post(`${setPath}*`, (context) => keep(context, valueInPath(context.req.raw.url)))
  app.post("/session/unset", async (context) => {
    const session = await sessions.open(context.req.raw)
    delete session.data.value
    await session.commit()
    return seeFirstPage()
  })
  for (const [path, { headers, content }] of assets) app.get(path, () => new Response(content, { headers }))

  // What has an address, but not for the method that was used. (To Hono, "/session/set/*" is "/session/set" too, so that goes first.)
  app.all("/", (context) => trouble(context, notAllowed("GET, HEAD")))
  app.all("/session/set", (context) => trouble(context, notAllowed("POST")))
  app.all(`${setPath}*`, (context) => trouble(context, notAllowed("GET, POST")))
  app.all("/session/unset", (context) => trouble(context, notAllowed("GET, POST")))
  for (const path of assets.keys()) app.all(path, (context) => trouble(context, notAllowed("GET, HEAD")))
  app.notFound((context) => trouble(context, notFound))
  app.onError((error, context) => {
    report(lineOf(error))
    return trouble(context, troubleOf(error))
  })

  function trouble(context: Context, what: Trouble): Response {
    const headers = { ...pageHeaders, ...what.headers }
    if (wantsPage(context.req.header("accept"))) {
      return new Response(messagePage(frame(what.heading), what).markup, { status: what.status, headers })
    }
    const type = { "content-type": "text/plain; charset=utf-8" }
    return new Response(plainText(what), { status: what.status, headers: { ...headers, ...type } })
  }

  // What sends no label at all is no browser of today, so nobody can be tricked into sending it: curl may set values.
  const handle = fetchAdapter(sessions, { guard: { unlabelled: "allow" }, onError: (error) => report(lineOf(error)) })
  const fetch = handle((request: Request, bindings: HttpBindings) => app.fetch(request, bindings))
  const listener = getRequestListener((request, bindings) => fetch(request, bindings as HttpBindings)) // node:http has no others
  return actionsAsPosts(isAction, (request, response) => void listener(request, response))
}

function isAction(path: string): boolean {
  return path.startsWith(setPath) || path === "/session/unset" || path === "/session/unset/"
}

/** The rest of the path, decoded once, so that "a%2Fb" is "a/b"; null: it can't be decoded. */
function valueInPath(url: string): string | null {
  const { pathname } = new URL(url)
  try {
    return decodeURIComponent(pathname.slice(setPath.length))
  } catch {
    return null
  }
}

function bringsCookie(field = ""): boolean {
  return field.split(/; */).some((pair) => pair.startsWith(`${cookieName}=`))
}

function page(context: Context, status: 200, { markup }: Html): Response {
  return context.body(markup, status, pageHeaders)
}

/** 303: the browser follows by GET, so that a reload repeats the load and not the form. */
function seeFirstPage(): Response {
  return new Response(null, { status: 303, headers: { ...fences, location: "/" } })
}
