// The little of HTTP that dump and doctor need: a GET (doctor also writes), and every way in which it can go wrong put into a sentence.
// node:http and not fetch: fetch rewrites paths such as /%2E%2E, which is a key here, and costs ten times as much a request.
// Nothing is followed or retried: a redirect is an answer, and a second try would hide what the first one showed.

import { Agent, type IncomingMessage, request as httpRequest, type RequestOptions } from "node:http"
import { Agent as TlsAgent, request as httpsRequest } from "node:https"
import { codeOf, parseProblem } from "coatcheck/protocol"
import { explain, Failure, printable, systemCode } from "./fail.ts"
import type { ServiceUrl } from "./service-url.ts"

/** One request. */
export interface Call {
  /** GET by default. */
  readonly method?: string
  /** Of the wire, such as /-/health; the URL's own path is put before it. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Characters of the reply's body that `ask` takes; more is a Failure. Default 16,777,216. */
  readonly limit?: number
}

/** A service to ask; connections are kept until `close`. */
export interface Client {
  readonly service: ServiceUrl
  /** The reply as soon as its headers are here; `chunks` reads its body. @throws Failure saying what to do */
  open(call: Call): Promise<IncomingMessage>
  /**
   * The chunks of a reply's body, as text. Silence is counted only while a chunk is waited for: a reader may take its time.
   *
   * @throws Failure when the body breaks off
   */
  chunks(response: IncomingMessage): AsyncGenerator<string>
  /** The reply with its whole body. @throws Failure, also when the body is over its limit */
  ask(call: Call): Promise<Reply>
  close(): void
}

/** An answer that has come to its end. */
export interface Reply {
  readonly status: number
  readonly headers: IncomingMessage["headers"]
  readonly body: string
}

const BODY_LIMIT = 16_777_216

/**
 * A client of a service.
 *
 * @param options.patience - milliseconds of silence, at connecting or in a reply, after which it gives up; default 10,000
 * @param options.connections - how many at most; default 8
 */
export function httpClient(service: ServiceUrl, options: { patience?: number; connections?: number } = {}): Client {
  const patience = options.patience ?? 10_000
  const agentOptions = { keepAlive: true, maxSockets: options.connections ?? 8 }
  const agent = service.secure ? new TlsAgent(agentOptions) : new Agent(agentOptions)
  const request = service.secure ? httpsRequest : httpRequest

  function open({ method = "GET", path, headers, body }: Call): Promise<IncomingMessage> {
    const settings: RequestOptions = {
      method,
      host: service.host,
      port: service.port,
      path: service.base + path,
      agent,
      timeout: patience,
      headers: { ...headers, ...(service.authorization === null ? {} : { authorization: service.authorization }) },
    }
    return new Promise((resolve, reject) => {
      const sent = request(settings, (response) => {
        sent.setTimeout(0) // from here on `chunks` watches
        resolve(response)
      })
      sent.on("timeout", () =>
        sent.destroy(new Failure(`${service.name} does not answer: nothing for ${patience / 1_000} s`)),
      )
      sent.on("error", (error) => reject(unreachable(service, error)))
      sent.end(body)
    })
  }

  async function* chunks(response: IncomingMessage): AsyncGenerator<string> {
    response.setEncoding("utf8")
    const source: AsyncIterator<string, undefined> = response[Symbol.asyncIterator]() // setEncoding makes the chunks strings
    try {
      for (;;) {
        const silence = setTimeout(() => response.destroy(new Error("silence")), patience)
        const { done, value } = await source.next().finally(() => clearTimeout(silence))
        if (done) return
        yield value
      }
    } catch (error) {
      throw new Failure(`${service.name} stopped in the middle of its answer`, { cause: error })
    } finally {
      await source.return?.()
    }
  }

  async function ask(call: Call): Promise<Reply> {
    const response = await open(call)
    const limit = call.limit ?? BODY_LIMIT
    let body = ""
    for await (const chunk of chunks(response)) {
      body += chunk
      if (body.length > limit) throw new Failure(`${service.name} answers with more than ${limit} characters`)
    }
    return { status: response.statusCode ?? 0, headers: response.headers, body }
  }

  return { service, open, chunks, ask, close: () => agent.destroy() }
}

/** What went wrong before a reply was there. */
function unreachable(service: ServiceUrl, error: unknown): Failure {
  if (error instanceof Failure) return error
  const code = systemCode(error)
  const reason = (code && reasons[code]) ?? (code?.startsWith("HPE_") ? "what answers there does not speak HTTP" : null)
  return new Failure(`${service.name} can't be reached: ${reason ?? explain(error)}`, { cause: error })
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused; nothing listens there (coatcheck serve starts a service)",
  ENOTFOUND: "no such host name (DNS)",
  EAI_AGAIN: "the host name can't be looked up (DNS)",
  ETIMEDOUT: "no answer (time-out)",
  ECONNRESET: "the connection was reset",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no route to the network",
  EPROTO: "it does not speak TLS; try http://",
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS; try http://",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed (NODE_EXTRA_CA_CERTS names one to trust)",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate is self-signed (NODE_EXTRA_CA_CERTS names one to trust)",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate can't be verified (NODE_EXTRA_CA_CERTS names one to trust)",
  CERT_HAS_EXPIRED: "its certificate has expired",
}

/** Why a status is not what was asked for, with what the service says about it and what to do. */
export function refusal(service: ServiceUrl, { status, body }: Pick<Reply, "status" | "body">): Failure {
  const problem = parseProblem(body)
  const said =
    problem && (problem.detail || problem.title) ? `: ${printable(problem.detail || problem.title, 200)}` : ""
  const advice = advices[status] ?? (problem && codeOf(problem) === "unavailable" ? advices[503] : undefined)
  return new Failure(`${service.name} answers ${status}${said}${advice ? ` (${advice})` : ""}`)
}

const advices: Readonly<Record<number, string>> = {
  401: "it wants a token: set COATCHECK_TOKEN",
  403: "the token may not do this, or the request came from a web page",
  421: "it does not know this host name: serve it with --allow-host",
  503: "try again when its store is back",
}
