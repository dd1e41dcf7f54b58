// A guest book of one line, on Express: sign in by a name, and every load counts a visit. Two things with lives of their own lie in one
// store. The login is a session: a new id at sign-in, gone at sign-out. The count belongs to the name, not to the session: an entry of
// its own, one exact step a visit, that lapses 30 seconds after the last of them, whoever is signed in meanwhile.
//
// Express middleware gets node's own request and response, so the node adapter wraps the whole application. Anybody may be anybody
// here: the name is the account. A real application checks a password first, and then calls the same signIn.

import { createHash } from "node:crypto"
import type { RequestListener } from "node:http"
import { type Clock, createSessions, type Duration, type Entry, type Store, updateEntry } from "coatcheck"
import { nodeAdapter } from "coatcheck/node"
import express, { type NextFunction, type Request, type Response } from "express"
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
import { type NameProblem, readName } from "./name.ts"
import { loginPage, strangerPage, visitsFrame, visitsPage } from "./page.ts"

/** What the visits need. */
export interface VisitsOptions {
  /** Where sessions and counts are kept. */
  readonly store: Store
  /** Gets a line about what went wrong in a request. */
  readonly report: (line: string) => void
  /** How long a count outlives the last visit. Default "30s". */
  readonly lapse?: Duration
  /** How long a login outlives its last use. Default "30m". */
  readonly idle?: Duration
  /** Default: the machine's. */
  readonly clock?: Clock
  /** The examples that run beside this one. Default none. */
  readonly neighbours?: readonly Neighbour[]
}

const outdated: Trouble = {
  status: 403,
  heading: "This form is out of date",
  text: "It was made for another visit: you have signed in or out since, or it lay open for too long. Nothing was done.",
  link: "To a fresh form",
  headers: {},
}

/** The application as a listener for node:http. */
export function createVisits(options: VisitsOptions): RequestListener {
  const { store, report, lapse = "30s", idle = "30m", clock, neighbours = [] } = options
  const time = clock === undefined ? {} : { clock }
  const sessions = createSessions({ store, cookie: { name: "visits" }, idle, ...time })
  const frame = (title: string) => visitsFrame(title, neighbours)
  const app = express().disable("x-powered-by").disable("etag")

  async function home(request: Request, response: Response): Promise<void> {
    const session = await sessions.open(request)
    const { owner } = session
    if (owner === null) return sendPage(response, 200, strangerPage(frame("Not logged in")))
    const key = visitsKey(owner)
    const visits = await updateEntry<number>(store, key, (count = 0) => count + 1, { expiresIn: lapse, ...time })
    // The reply would commit by itself; done here, a failure is an error of this handler, and gets a page.
    await session.commit()
    const entry: Entry | null = await store.get(key).catch(() => null)
    sendPage(response, 200, visitsPage(frame(`Visits: ${visits}`), { name: owner, visits, entry }))
  }

  async function showLogin(request: Request, response: Response): Promise<void> {
    const session = await sessions.open(request)
    sendPage(response, 200, loginPage(frame("Log in"), { token: await session.csrfToken(), owner: session.owner }))
  }

  async function logIn(request: Request, response: Response): Promise<void> {
    const { csrf, username } = fields(request)
    const session = await sessions.open(request)
    if (typeof csrf !== "string" || !session.verifyCsrfToken(csrf)) {
      return sendTrouble(request, response, outdated, "/login")
    }
    const { name, problem } = readName(username)
    if (problem !== null) return refuseName(request, response, problem)
    await session.signIn(name)
    seeFirstPage(response)
  }

  async function refuseName(request: Request, response: Response, problem: NameProblem): Promise<void> {
    const session = await sessions.open(request)
    const form = { token: await session.csrfToken(), owner: session.owner, problem }
    if (wantsPage(request.headers.accept)) return sendPage(response, 400, loginPage(frame("Log in"), form))
    response
      .status(400)
      .set({ ...pageHeaders, "content-type": "text/plain; charset=utf-8" })
      .send(`${problem.text}\n`)
  }

  async function logOut(request: Request, response: Response): Promise<void> {
    const session = await sessions.open(request)
    await session.signOut()
    seeFirstPage(response)
  }

  function sendTrouble(request: Request, response: Response, trouble: Trouble, href = "/"): void {
    response.status(trouble.status).set({ ...pageHeaders, ...trouble.headers })
    if (wantsPage(request.headers.accept)) {
      response.send(messagePage(frame(trouble.heading), { ...trouble, href }).markup)
    } else response.type("text/plain; charset=utf-8").send(plainText(trouble))
  }

  const refuse = (allow: string) => (request: Request, response: Response) =>
    sendTrouble(request, response, notAllowed(allow))
  // Express answers HEAD by what it has for GET, which would count.
  const head = (_: Request, response: Response) => sendPage(response, 200, null)

  app.route("/").head(head).get(home).all(refuse("GET, HEAD"))
  app
    .route("/login")
    .head(head)
    .get(showLogin)
    .post(express.urlencoded({ extended: false, limit: "8kb", parameterLimit: 20 }), logIn)
    .all(refuse("GET, HEAD, POST"))
  app.route("/logout").post(logOut).all(refuse("GET, POST"))
  for (const [path, { headers, content }] of assets) {
    app
      .route(path)
      .get((_, response) => void response.set(headers).send(content))
      .all(refuse("GET, HEAD"))
  }
  app.use((request, response) => sendTrouble(request, response, notFound))
  // Express knows an error handler by its four parameters.
  app.use((error: unknown, request: Request, response: Response, _next: NextFunction) => {
    const trouble = troubleOf(error)
    if (trouble.status >= 500) report(lineOf(error))
    sendTrouble(request, response, trouble)
  })

  // What sends no label at all is no browser of today, so nobody can be tricked into sending it: curl may log in and out.
  const handle = nodeAdapter(sessions, { guard: { unlabelled: "allow" }, onError: (error) => report(lineOf(error)) })
  const listener = handle((request, response) => void app(request, response))
  return actionsAsPosts((path) => path === "/logout", listener)
}

/** Where a name's visits are counted: a hash, so that no name, whatever it is, is the key of anything else. */
export function visitsKey(name: string): string {
  return `visits:${createHash("sha256").update(name).digest("base64url")}`
}

/** What the form sent; each may be absent, or a list. */
function fields(request: Request): { readonly csrf?: unknown; readonly username?: unknown } {
  const body: unknown = request.body
  return typeof body === "object" && body !== null ? body : {}
}

function sendPage(response: Response, status: number, page: Html | null): void {
  response.status(status).set(pageHeaders)
  if (page === null) response.end()
  else response.send(page.markup)
}

/** 303: the browser follows by GET, so that a reload repeats the load and not the form. */
function seeFirstPage(response: Response): void {
  response
    .status(303)
    .set({ ...fences, location: "/" })
    .end()
}
