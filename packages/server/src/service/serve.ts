// The key-value service: two wires over any store, on node:http. It keeps no state of its own, so any number of instances may
// stand before one store. This file decides who gets in and where a request goes; what the wires say is in classic.ts and
// strict.ts, and how the service starts and stops in lifecycle.ts.
//
// Routing is a switch over the path's meaning: a framework's router costs more than the whole request does here. The order of the
// checks matters: version, headers, host, origin, path, credentials, and only then what is stored, so that a request that
// may not know a version can't learn it from a 412.

import type { IncomingMessage, ServerResponse } from "node:http"
import type { Store } from "coatcheck"
import { plainProblem, type Problem, type Route, route } from "coatcheck/protocol"
import { batch } from "./batch.ts"
import { type Call, sendEmpty, sendProblem } from "./call.ts"
import { classicKey, classicRoot } from "./classic.ts"
import { events } from "./events.ts"
import { allMethods, sendAllowed, sendFailure, sendNotFound } from "./failure.ts"
import { health, ready } from "./health.ts"
import { originForm, type Refusal, refuse } from "./hosts.ts"
import { lifecycle } from "./lifecycle.ts"
import { type ListenOptions, type Logger, type ServiceOptions, type Setting, settle } from "./options.ts"
import { record } from "./strict.ts"
import { records } from "./records.ts"
import { findToken } from "./tokens.ts"

/** A running, or not yet running, service. */
export interface Service {
  /** Answers one request; for a server of your own, whose limits and time-outs are then yours too. */
  handler(request: IncomingMessage, response: ServerResponse): void
  /**
   * Starts to listen.
   *
   * @throws TypeError (the promise rejects) when the address can be reached by others and there are no tokens, or on a second call.
   */
  listen(options: ListenOptions): Promise<{ readonly port: number }>
  /**
   * Stops: `/-/ready` answers 503, no new connection is accepted, requests under way get their answers with `Connection: close`,
   * and what is left after `deadline` milliseconds (10,000 by default) is cut. The store stays open. Twice is fine.
   */
  close(options?: { readonly deadline?: number }): Promise<void>
}

/**
 * A key-value service over a store.
 *
 * @throws TypeError for options that can't be meant.
 */
export function createService(store: Store, options: ServiceOptions = {}): Service {
  const setting = settle(store, options)
  const serve = (request: IncomingMessage, response: ServerResponse, waits: boolean): void => {
    void answer(setting, request, response, waits)
  }
  return {
    handler: (request, response) => serve(request, response, false),
    ...lifecycle(setting, serve),
  }
}

async function answer(
  setting: Setting,
  request: IncomingMessage,
  response: ServerResponse,
  waits: boolean,
): Promise<void> {
  const target = originForm(request.url as string) // a server's message always has one
  const query = target.indexOf("?")
  const call: Call = {
    setting,
    request,
    response,
    method: request.method as string, // a server's message always has one
    route: nothing,
    search: query < 0 ? "" : target.slice(query + 1),
    token: null,
    waits,
    last: false,
    startedAt: isLogged(setting.log) ? performance.now() : 0,
  }
  try {
    if (!isAdmitted(call)) return
    if (target === "*") return sendEmpty(call, 204, ["Allow", allMethods])
    if (call.method === "TRACE") return sendAllowed(call, allMethods)
    call.route = route(query < 0 ? target : target.slice(0, query))
    if (isAuthorized(call)) await dispatch(call)
  } catch (error) {
    sendFailure(call, error)
  }
}
const nothing: Route = { kind: "nothing" }

function isLogged(log: Logger | undefined): boolean {
  return log?.debug !== undefined && log.isLevelEnabled?.("debug") !== false
}

// Whether it is a request that the service listens to at all. What is wrong with a message's frame may be wrong with the next one
// on the connection too, so that is closed.
function isAdmitted(call: Call): boolean {
  const { request, setting } = call
  const badFrame = problemOfFrame(request, setting.limits.headerFields, call.waits)
  const refusal = badFrame ? null : refuse(request, setting.allowed)
  if (badFrame === null && refusal === null) return true
  call.last = badFrame !== null || refusal === "host-invalid"
  sendProblem(call, badFrame ?? refusals[refusal as Refusal]) // one of them is there
  return false
}

function problemOfFrame(request: IncomingMessage, headerFields: number, waits: boolean): Problem | null {
  if (request.httpVersionMajor !== 1 || request.httpVersionMinor > 1) return unknownVersion
  if (request.rawHeaders.length >= headerFields * 2) return tooManyFields
  const { expect } = request.headers
  return expect === undefined || waits || expect.toLowerCase() === "100-continue" ? null : unknownExpectation
}
const unknownVersion = plainProblem(505, "HTTP Version Not Supported", "The service speaks HTTP/1.1 and HTTP/1.0")
const tooManyFields = plainProblem(431, "Request Header Fields Too Large", "Send fewer header fields")
const unknownExpectation = plainProblem(
  417,
  "Expectation Failed",
  "The one expectation that can be met is 100-continue",
)

const refusals: Readonly<Record<Refusal, Problem>> = {
  "host-invalid": plainProblem(400, "Bad Request", "A request must name its Host, once"),
  "host-unknown": plainProblem(
    421,
    "Misdirected Request",
    "The service is not to be asked under this Host: use localhost and its port, or add the name by --allow-host",
  ),
  "target-invalid": plainProblem(421, "Misdirected Request", "The target must be a path, or name what Host names"),
  "cross-site": plainProblem(403, "Forbidden", "The service takes no requests from pages of other origins"),
}

// Probes carry no token and learn nothing but whether the service lives.
function isAuthorized(call: Call): boolean {
  const { tokens } = call.setting
  if (tokens === null || call.route.kind === "health" || call.route.kind === "ready") return true
  call.token = findToken(tokens, call.request.headers.authorization)
  if (call.token === null) sendProblem(call, unauthorized, challenge)
  return call.token !== null
}
const unauthorized = plainProblem(401, "Unauthorized", "Send a token: as Bearer, or as the password of Basic")
const challenge = ["WWW-Authenticate", 'Bearer realm="coatcheck", Basic realm="coatcheck", charset="UTF-8"']

function dispatch(call: Call): void | Promise<void> {
  const { route } = call
  switch (route.kind) {
    case "key":
      return classicKey(call, route.key)
    case "root":
      return classicRoot(call)
    case "record":
      return record(call, route.key)
    case "records":
      return records(call)
    case "batch":
      return batch(call)
    case "events":
      return events(call)
    case "health":
      return health(call)
    case "ready":
      return ready(call)
    default:
      return sendNotFound(call, "Nothing is here; keys of such a name are reached below /-/v1/records/")
  }
}
