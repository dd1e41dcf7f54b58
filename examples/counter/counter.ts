// The application: a page that counts its loads, and a button that starts again. Where the session lives is decided by one line,
// the call of createSessions; nothing below it knows. This is the file to read first.

import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http"
import { CoatcheckError, createSessions, type Store } from "coatcheck"
import { nodeAdapter } from "coatcheck/node"
import type { Html } from "./html.ts"
import { type Frame, icon, messagePage, type Mode, pageEnd, pageStart, ticket } from "./page.ts"
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
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

const stylesheet = readFileSync(new URL("style.css", import.meta.url))
// The address changes with the content, so that browsers may keep it for good.
const stylesheetAddress = `/style.css?${createHash("sha256").update(stylesheet).digest("hex").slice(0, 8)}`

/** How the session's cookie is fenced in on plain HTTP; shown on loads whose reply does not set it. */
const attributes = ["Path=/", "HttpOnly", "SameSite=Lax"]

const fences = {
  "content-security-policy":
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
}

const notFound = { heading: "Not found", text: "Nobody has left a coat at this address.", link: "To the counter" }
const notAllowed = { heading: "Not allowed", text: "This address can’t be called in that way.", link: "To the counter" }
const ended = {
  heading: "This session has ended",
  text: "It was reset in another window while this page was loading. What is ended stays ended.",
  link: "Start again",
}
const closed = {
  heading: "The cloakroom is closed for a moment",
  text: "The store that keeps the sessions does not answer. Your ticket stays good; try again in a moment.",
  link: "Try again",
}

/**
 * The counter as a listener for node:http.
 *
 * @throws TypeError when the store lacks a method, or a secret is none.
 */
export function createCounter({ store, secrets, service, report }: CounterOptions): RequestListener {
  const sessions = createSessions<{ count: number }>(store ? { store } : { carrier: "signed", secret: secrets })
  const mode: Mode = store ? "store" : "cookie"
  const frame = (title: string): Frame => ({ title, stylesheet: stylesheetAddress, mode })

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
    sendPage(response, 200, [pageStart(frame(`Count: ${loads}`)), ticket(loads), panel(lesson), pageEnd])
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
    ["/style.css", fileRoutes("text/css; charset=utf-8", stylesheet, "public, max-age=31536000, immutable")],
    ["/icon.svg", fileRoutes("image/svg+xml", icon, "public, max-age=86400")],
  ])

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = "/"] = (request.url ?? "/").split("?", 1)
    const methods = pages.get(path)
    if (!methods) return sendPage(response, 404, [messagePage(frame("Not found"), notFound)])
    const handler = methods.get(request.method ?? "")
    if (!handler) {
      response.setHeader("allow", [...methods.keys()].join(", "))
      return sendPage(response, 405, [messagePage(frame("Not allowed"), notAllowed)])
    }
    try {
      await handler(request, response)
    } catch (error) {
      // The adapter's own answer is for programs; a person gets a page.
      if (!(error instanceof CoatcheckError) || !request.headers.accept?.includes("text/html")) throw error
      report(lineOf(error))
      if (error.code === "ended") return sendPage(response, 409, [messagePage(frame("Ended"), ended)])
      response.setHeader("retry-after", "2")
      sendPage(response, 503, [messagePage(frame("Closed for a moment"), closed)])
    }
  }

  // What sends neither Sec-Fetch-Site nor Origin nor Referer is no browser of today, so nobody can be tricked into sending it:
  // such requests may reset, which keeps the counter handy for curl. Requests from other sites are refused as always.
  const handle = nodeAdapter(sessions, { guard: { unlabelled: "allow" }, onError: (error) => report(lineOf(error)) })
  return handle(route)
}

/** For the log: an error of ours says all in its message; anything else is a defect, which needs its trace. */
function lineOf(error: unknown): string {
  if (error instanceof CoatcheckError) return `${error.message} (${error.code})`
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

function sendPage(response: ServerResponse, status: number, parts: readonly Html[]): void {
  response.writeHead(status, { ...fences, "content-type": "text/html; charset=utf-8", "cache-control": "no-store" })
  response.end(parts.map(({ markup }) => markup).join(""))
}

function fileRoutes(type: string, content: string | Buffer, caching: string): ReadonlyMap<string, Handler> {
  const send: Handler = (_, response) => {
    response.writeHead(200, { ...fences, "content-type": type, "cache-control": caching })
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
