// The base adapter for handlers of web standards, Request in and Response out, as Hono, Deno, Bun and workers have them. Nothing
// has to be held here: the handler's Response is complete but for its body when it comes back, so the sessions are committed then,
// and the body may stream afterwards.
//
// A Response that depends on a session is always made anew around the same body, even where its headers could be changed: an
// application may return one Response object to everybody (a 204, a redirect), and one person's cookie must not stay on it.

import { appendVary, cacheControl, targetedCacheFields } from "../core/caching.ts"
import { replaceCookie } from "../core/cookie.ts"
import { type Committer, type Exchange, exchangeOf, type Opened } from "../core/exchange.ts"
import { createGuard, type GuardOptions, guardVary, isSafeMethod } from "../core/guard.ts"
import { checkOptions } from "../core/options.ts"
import { type AdaptedSessions, checkSessions, presentsSession } from "./adapted-sessions.ts"
import { type ProblemReply, problemReply, refusalReplies } from "./problem.ts"
import { createReporter, overruled, type Reporter, type ReporterOptions } from "./reporter.ts"

/** Settings of `fetchAdapter`. */
export interface FetchAdapterOptions extends ReporterOptions {
  /** How unsafe requests from elsewhere are treated; false: not at all. Default: refused, see `GuardOptions`. */
  readonly guard?: false | GuardOptions
  /** Whether the user agent came over HTTPS. Default: whether the request's URL says so. */
  readonly secure?: (request: Request) => boolean
}

/** What `fetchAdapter` makes: lets a handler open sessions. Further arguments (env, context) are passed on. */
export type FetchAdapter = <Rest extends unknown[]>(
  handler: (request: Request, ...rest: Rest) => Response | Promise<Response>,
) => (request: Request, ...rest: Rest) => Promise<Response>

/**
 * Lets handlers of web standards open sessions: `const fetch = fetchAdapter(sessions)(async (request) => …)`.
 *
 * Open sessions on the very Request that the handler got. When the handler's Response is there, its sessions are kept first; a
 * failure replaces it by problem details: 503 with Retry-After (the store), 409 (changed or ended by somebody else) or 413 (does
 * not fit its cookie). A handler that throws gets the same, or 500. The reply varies on Cookie and is private, or no-store when
 * it sets the cookie. Requests with an unsafe method get 403 when they come from another site.
 *
 * @throws TypeError for options that are wrong, and for what is no session system.
 */
export function fetchAdapter(sessions: AdaptedSessions, options: FetchAdapterOptions = {}): FetchAdapter {
  checkSessions("fetchAdapter", sessions)
  checkOptions<FetchAdapterOptions>("fetchAdapter", options, { guard: true, secure: true, onError: true, warn: true })
  const { secure = (request) => request.url.startsWith("https:") } = options
  if (typeof secure !== "function") throw new TypeError("secure must be a function of the request")
  const reporter = createReporter(options)
  const guard = options.guard === false ? null : createGuard(options.guard)

  function refusalOf(exchange: FetchExchange): ProblemReply | null {
    const { request } = exchange
    const refusal = guard?.({
      header: (name) => request.headers.get(name) ?? (name === "host" ? new URL(request.url).host : null),
      secure: exchange.secure,
      presentsSession: presentsSession(sessions, exchange.cookie),
    })
    return refusal ? refusalReplies[refusal] : null
  }

  return (handler) =>
    async (request, ...rest) => {
      const exchange = exchangeFor(request, secure)
      const vary = guard === null || isSafeMethod(request.method) ? "" : guardVary
      const refusal = vary === "" ? null : refusalOf(exchange)
      if (refusal) return withFields(problemResponse(request, refusal), { ...untouched, vary }, reporter)
      const made = await outcomeOf(handler, request, rest)
      const kept = exchange.committers.length === 0 || exchange.sent ? untouched : await commit(exchange)
      exchange.sent = true
      if (made.response && kept === untouched && vary === "") return made.response
      const errors = [...made.errors, ...kept.errors]
      if (made.response && errors.length === 0) {
        try {
          return withFields(made.response, { ...kept, vary }, reporter)
        } catch (error) {
          errors.push(error) // a body that was read already, or Response.error()
        }
      }
      discard(made.response)
      const reply = problemResponse(request, problemReply(errors[0]))
      for (const error of errors) if (problemReply(error).status !== 409) reporter.onError(error)
      return withFields(reply, { ...kept, vary }, reporter)
    }
}

// A class, because one is made for every request: getters on a prototype cost nothing until somebody asks.
class FetchExchange implements Exchange {
  readonly request: Request
  readonly #isSecure: (request: Request) => boolean
  opened: Opened | undefined = undefined
  committers: readonly Committer[] = none
  sent = false

  constructor(request: Request, isSecure: (request: Request) => boolean) {
    this.request = request
    this.#isSecure = isSecure
  }

  get cookie(): string | null {
    return this.request.headers.get("cookie")
  }

  get secure(): boolean {
    return this.#isSecure(this.request)
  }

  attach(committer: Committer): void {
    if (!this.sent) this.committers = [...this.committers, committer]
  }
}

/** One exchange a request, also where two adapters are nested. */
function exchangeFor(request: Request, isSecure: (request: Request) => boolean): FetchExchange {
  const carrying = request as Request & { [exchangeOf]?: FetchExchange } // where this adapter leaves it
  return (carrying[exchangeOf] ??= new FetchExchange(request, isSecure))
}

interface Made {
  readonly response: Response | null
  readonly errors: readonly unknown[]
}

async function outcomeOf<Rest extends unknown[]>(
  handler: (request: Request, ...rest: Rest) => Response | Promise<Response>,
  request: Request,
  rest: Rest,
): Promise<Made> {
  try {
    const response = (await handler(request, ...rest)) as Response | undefined // callers without types forget to return one
    if (response) return { response, errors: none }
    throw new TypeError("the handler returned no Response")
  } catch (error) {
    return { response: null, errors: [error] }
  }
}

/** What the sessions of a request came to. */
interface Kept {
  readonly cookies: readonly string[]
  readonly errors: readonly unknown[]
  /** Whether there were any: then the reply is one person's. */
  readonly personal: boolean
}

const none: readonly never[] = []
const untouched: Kept = { cookies: none, errors: none, personal: false }

// A session that is opened while others are being kept still gets its turn.
async function commit(exchange: FetchExchange): Promise<Kept> {
  const cookies: string[] = []
  const errors: unknown[] = []
  for (let done = 0; done < exchange.committers.length; ) {
    const due = exchange.committers.slice(done)
    done += due.length
    for (const answer of await Promise.allSettled(due.map(async (committer) => committer.commit()))) {
      if (answer.status === "rejected") errors.push(answer.reason)
      else if (answer.value.setCookie !== null) cookies.push(answer.value.setCookie)
    }
  }
  return { cookies, errors, personal: true }
}

/** The same reply with our fields. Made anew, unless it can't be: a 101 belongs to its connection. */
function withFields(
  response: Response,
  { cookies, personal, vary }: Kept & { readonly vary: string },
  reporter: Reporter,
): Response {
  const isSwitch = response.status === 101
  const headers = isSwitch ? response.headers : new Headers(response.headers)
  for (const cookie of cookies) {
    const fields = replaceCookie(headers.getSetCookie(), cookie)
    headers.delete("set-cookie")
    for (const field of typeof fields === "string" ? [fields] : fields) headers.append("set-cookie", field)
  }
  const names = [vary, personal ? "Cookie" : ""].filter((name) => name !== "").join(", ")
  headers.set("vary", appendVary(headers.get("vary"), names))
  if (personal) restrictCaches(headers, cookies.length > 0, reporter)
  const { status, statusText } = response
  return isSwitch ? response : new Response(response.body, { status, statusText, headers })
}

function restrictCaches(headers: Headers, setsCookie: boolean, reporter: Reporter): void {
  const { value, dropped } = cacheControl(headers.get("cache-control"), setsCookie)
  headers.set("cache-control", value)
  if (dropped !== null) reporter.warn(overruled(`Cache-Control: ${dropped}`))
  for (const field of targetedCacheFields) {
    if (!headers.has(field)) continue
    headers.delete(field)
    reporter.warn(overruled(field))
  }
}

function problemResponse({ method }: Request, { status, body, headers }: ProblemReply): Response {
  return new Response(method === "HEAD" ? null : body, {
    status,
    headers: headers.map(([name, value]) => [name, value]),
  })
}

// Whatever feeds the body of a reply that nobody will read must not wait for ever.
function discard(response: Response | null): void {
  response?.body?.cancel().catch(() => undefined)
}
