// The application: a page that counts its loads, and a button that starts again. Where the session lives is decided by one line,
// the call of createSessions; nothing below it knows. This is the file to read first.

import type { IncomingMessage, RequestListener, ServerResponse } from "node:http"
import { CoatcheckError, createSessions, type Store } from "coatcheck"
import { nodeAdapter } from "coatcheck/node"
import type { Html } from "../shared/html.ts"
import type { Neighbour } from "../shared/neighbours.ts"
import { messagePage, pageEnd, pageStart } from "../shared/page.ts"
import {
  type Asset,
  assets,
  fences,
  lineOf,
  notAllowed,
  notFound,
  pageHeaders,
  type Trouble,
  troubleOf,
  wantsPage,
} from "../shared/replies.ts"
import { counterFrame, countTicket, type Mode } from "./page.ts"
import { type CookieView, type Lesson, panel } from "./panel.ts"

/** What the counter needs. */
export interface CounterOptions {
  /** Where sessions are kept; null: in the cookie. */
  readonly store: Store | null
  /** What signs the cookie that holds the data, newest first. */
  readonly secrets: readonly string[]
  /** The key-value service's address to show; null: there is none. */
  readonly service: string | null
  /** Gets a line about what went wrong in a request. */
  readonly report: (line: string) => void
  /** The examples that run beside this one. Default none. */
  readonly neighbours?: readonly Neighbour[]
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

/** How the session's cookie is fenced in on plain HTTP; shown on loads whose reply does not set it. */
const attributes = ["Path=/", "HttpOnly", "SameSite=Lax"]

/**
 * The counter as a listener for node:http.
 *
 * @throws TypeError when the store lacks a method, or a secret is none.
 */
export function createCounter({ store, secrets, service, report, neighbours = [] }: CounterOptions): RequestListener {
  const sessions = createSessions<{ count: number }>(store ? { store } : { carrier: "signed", secret: secrets })
  const mode: Mode = store ? "store" : "cookie"
  const frame = (title: string) => counterFrame(title, mode, neighbours)

  async function count(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const session = await sessions.open(request)
    let loads = 0
    await session.update((data) => {
      // Of loads at the same time each has its own number here; what is kept by the end of all of them is the last one's.
      loads = (data.count ?? 0) + 1
      data.count = loads
    })

    // The reply would commit by itself; the lesson wants to know now what will be sent, and to see the record as it is kept.
    const { setCookie } = await session.commit()
    const record = store && session.key ? await store.get(session.key).catch(() => null) : null
    const cookie = cookieView(setCookie, request.headers.cookie, sessions.cookieNames)
    const lesson: Lesson = { mode, cookie, record, service }
    sendPage(response, 200, [pageStart(frame(`Count: ${loads}`)), countTicket(loads), panel(lesson), pageEnd])
  }

  async function reset(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const session = await sessions.open(request)
    await session.destroy()
    // 303: the browser follows by GET, so that a reload repeats the load and not the reset.
    response.writeHead(303, { ...fences, location: "/" }).end()
  }

  const pages = new Map<string, ReadonlyMap<string, Handler>>([
    [
      "/",
      new Map<string, Handler>([
        ["GET", count],
        ["HEAD", (_, response) => sendPage(response, 200, [])],
      ]),
    ],
    ["/reset", new Map([["POST", reset]])],
    ...[...assets].map(([path, asset]) => [path, assetRoutes(asset)] as const),
  ])

  function sendTrouble(response: ServerResponse, trouble: Trouble): void {
    for (const [name, value] of Object.entries(trouble.headers)) response.setHeader(name, value)
    sendPage(response, trouble.status, [messagePage(frame(trouble.heading), trouble)])
  }

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = "/"] = (request.url ?? "/").split("?", 1)
    const methods = pages.get(path)
    if (!methods) return sendTrouble(response, notFound)
    const handler = methods.get(request.method ?? "")
    if (!handler) return sendTrouble(response, notAllowed([...methods.keys()].join(", ")))
    try {
      await handler(request, response)
    } catch (error) {
      // The adapter's own answer is for programs; a person gets a page.
      if (!(error instanceof CoatcheckError) || !wantsPage(request.headers.accept)) throw error
      report(lineOf(error))
      sendTrouble(response, troubleOf(error))
    }
  }

  // What sends neither Sec-Fetch-Site nor Origin nor Referer is no browser of today, so nobody can be tricked into sending it:
  // such requests may reset, which keeps the counter handy for curl. Requests from other sites are refused as always.
  const handle = nodeAdapter(sessions, { guard: { unlabelled: "allow" }, onError: (error) => report(lineOf(error)) })
  return handle(route)
}

function sendPage(response: ServerResponse, status: number, parts: readonly Html[]): void {
  response.writeHead(status, pageHeaders)
  response.end(parts.map(({ markup }) => markup).join(""))
}

function assetRoutes({ headers, content }: Asset): ReadonlyMap<string, Handler> {
  const send: Handler = (_, response) => {
    response.writeHead(200, headers)
    response.end(content)
  }
  return new Map([
    ["GET", send],
    ["HEAD", send],
  ])
}

/** The cookie as the browser will hold it: what this reply sets, else what the request brought. */
function cookieView(
  setCookie: string | null,
  brought: string | undefined,
  names: readonly string[],
): CookieView | null {
  if (setCookie !== null) {
    const [pair = "", ...sent] = setCookie.split("; ")
    return { ...nameAndValue(pair), attributes: sent, isNew: true }
  }
  const pair = brought?.split(/; */).find((one) => names.includes(nameAndValue(one).name))
  return pair === undefined ? null : { ...nameAndValue(pair), attributes, isNew: false }
}

function nameAndValue(pair: string): { name: string; value: string } {
  const at = pair.indexOf("=")
  return { name: pair.slice(0, at), value: pair.slice(at + 1) }
}
