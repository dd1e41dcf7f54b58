// The base adapter for node:http, and for every framework that hands out node's request and response. It leaves an Exchange on
// the request and watches the handler; that is all an untouched request costs: one small object and one property. Only when a
// session is opened does it begin to hold the reply (node-hold.ts), since only then does the reply depend on one.
//
// Unsafe requests are guarded against other sites before the handler runs. A handler that throws gets its problem as a reply. Its
// session is kept all the same, as it is when an application catches the error itself and sends a page of its own: what a
// framework does with errors must not decide what is kept.

import type { IncomingMessage, ServerResponse } from "node:http"
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2"
import { appendVary } from "../core/caching.ts"
import { type Committer, type Exchange, exchangeOf, type Opened } from "../core/exchange.ts"
import { createGuard, type GuardOptions, guardVary, isSafeMethod } from "../core/guard.ts"
import { checkOptions } from "../core/options.ts"
import { type AdaptedSessions, checkSessions, presentsSession } from "./adapted-sessions.ts"
import { failReply, hasLeft, type Hold, holdReply } from "./node-hold.ts"
import { takeProblem } from "./node-reply.ts"
import { refusalReplies } from "./problem.ts"
import { createReporter, type Reporter, type ReporterOptions } from "./reporter.ts"
import { type SecureCheck, secureCheck } from "./trusted-proxies.ts"

/** Settings of `nodeAdapter`. */
export interface NodeAdapterOptions extends ReporterOptions {
  /** How unsafe requests from elsewhere are treated; false: not at all. Default: refused, see `GuardOptions`. */
  readonly guard?: false | GuardOptions
  /**
   * Addresses and blocks ("10.0.0.7", "10.0.0.0/8", "::1") of proxies whose X-Forwarded-Proto is believed. Default none: then a
   * request is secure only when TLS ends in this process.
   */
  readonly trustProxies?: readonly string[]
}

/** node's request, of HTTP/1 or of the HTTP/2 compatibility API. */
export type NodeRequest = IncomingMessage | Http2ServerRequest
/** node's response, of the same two. */
export type NodeResponse = ServerResponse | Http2ServerResponse

/** A listener for node's "request" event, or a middleware when it takes more than two arguments. */
export type NodeListener<Req, Res, Rest extends unknown[]> = (request: Req, response: Res, ...rest: Rest) => void

/** What `nodeAdapter` makes: turns a handler that opens sessions into a listener. */
export type NodeAdapter = <
  Req extends NodeRequest = IncomingMessage,
  Res extends NodeResponse = ServerResponse,
  Rest extends unknown[] = [],
>(
  handler: (request: Req, response: Res, ...rest: Rest) => unknown,
) => NodeListener<Req, Res, Rest>

/**
 * Lets handlers for node:http open sessions: `createServer(nodeAdapter(sessions)(async (request, response) => …))`.
 *
 * While a reply depends on a session, its headers leave only after the session is kept. When that fails, the whole reply is
 * replaced by problem details: 503 with Retry-After (the store), 409 (changed or ended by somebody else) or 413 (does not fit its
 * cookie). A handler that throws gets the same, or 500. The reply varies on Cookie and is private, or no-store when it sets the
 * cookie. Requests with an unsafe method get 403 when they come from another site.
 *
 * @throws TypeError for options that are wrong, and for what is no session system.
 */
export function nodeAdapter(sessions: AdaptedSessions, options: NodeAdapterOptions = {}): NodeAdapter {
  checkSessions("nodeAdapter", sessions)
  checkOptions<NodeAdapterOptions>("nodeAdapter", options, {
    guard: true,
    trustProxies: true,
    onError: true,
    warn: true,
  })
  const reporter = createReporter(options)
  const settings: Settings = { reporter, isSecure: secureCheck(options.trustProxies) }
  const guard = options.guard === false ? null : createGuard(options.guard)

  /** Whether the guard lets the request pass; if not, the refusal is sent. */
  function passes(exchange: NodeExchange): boolean {
    if (guard === null) return true
    exchange.hold().vary = guardVary
    const { headers } = exchange.request
    const refusal = guard({
      header: (name) => (name === "host" ? (headers.host ?? textOf(headers[":authority"])) : textOf(headers[name])),
      secure: exchange.secure,
      presentsSession: presentsSession(sessions, exchange.cookie),
    })
    if (refusal === null) return true
    takeProblem(exchange.response, refusalReplies[refusal])
    exchange.response.end(refusalReplies[refusal].body)
    return false
  }

  return (handler) =>
    (request, response, ...rest) => {
      // The compatibility API of HTTP/2 has the same methods, and nothing here uses others.
      const exchange = exchangeFor(request as IncomingMessage, response as ServerResponse, settings)
      if (!isSafeMethod(request.method) && !passes(exchange)) return
      try {
        const result = handler(request, response, ...rest)
        if (isThenable(result)) result.then(undefined, (error: unknown) => exchange.fail(error))
      } catch (error) {
        exchange.fail(error)
      }
    }
}

interface Settings {
  readonly reporter: Reporter
  readonly isSecure: SecureCheck
}

// A class, because one is made for every request: getters on a prototype cost nothing until somebody asks.
class NodeExchange implements Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  opened: Opened | undefined = undefined
  readonly #settings: Settings
  #hold: Hold | null = null

  constructor(request: IncomingMessage, response: ServerResponse, settings: Settings) {
    this.request = request
    this.response = response
    this.#settings = settings
  }

  get cookie(): string | null {
    return this.request.headers.cookie ?? null
  }

  get secure(): boolean {
    const { socket, headers } = this.request
    return this.#settings.isSecure(socket, headers)
  }

  get sent(): boolean {
    // What a held response says of itself is what its application should see.
    return this.#hold === null ? this.response.headersSent : hasLeft(this.#hold)
  }

  attach(committer: Committer): void {
    if (this.sent) return
    const hold = this.hold()
    if (hold.committers.push(committer) === 1) hold.vary = appendVary(hold.vary, "Cookie")
  }

  hold(): Hold {
    return (this.#hold ??= holdReply(this.response, this.#settings.reporter))
  }

  fail(error: unknown): void {
    if (this.#hold === null && this.response.headersSent) {
      if (!this.response.writableEnded) this.response.destroy()
      this.#settings.reporter.onError(error)
    } else failReply(this.hold(), error)
  }
}

type Carrying = IncomingMessage & { [exchangeOf]?: NodeExchange }

/** One exchange a request, also where two adapters are nested. */
function exchangeFor(request: IncomingMessage, response: ServerResponse, settings: Settings): NodeExchange {
  const carrying = request as Carrying
  return (carrying[exchangeOf] ??= new NodeExchange(request, response, settings))
}

// Node joins every field that is asked for here; an array would be one that it doesn't know to be single.
const textOf = (value: string | string[] | undefined): string | undefined =>
  typeof value === "object" ? value.join(", ") : value

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function"
}
