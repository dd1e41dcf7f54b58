// What a service's answer, or its absence, means for a call. One question decides: may the write have happened? Only a connection
// that was never made, or a reply that says so, means no. Everything else is an unknown outcome for a write, and for a read, which
// may simply be asked again, an unavailable store.

import { CoatcheckError, type ErrorCode } from "../../errors.ts"
import { codeOf, parseProblem, type Problem } from "../../protocol/problem.ts"
import type { HttpFailure } from "./client.ts"
import type { HttpReply } from "./reply.ts"

/** The error of a call, which depends on whether it writes. */
export interface Verdict {
  readonly read: CoatcheckError
  readonly write: CoatcheckError
}

/** Of an exchange without a whole reply. */
export function verdictOfFailure(where: string, { sent, rubbish, cause }: HttpFailure): Verdict {
  const options = { cause }
  if (!sent) {
    const message = `No connection to the service at ${where}: see that it runs and that the address is right`
    return same(new CoatcheckError("unavailable", message, options))
  }
  const write = unknown(where, options)
  if (rubbish) return { read: notOurs(where, options), write }
  return { read: unavailable(`The service at ${where} did not answer: try again`, options), write }
}

/** Of a call whose deadline has come. */
export function overdue(where: string, sent: boolean): Verdict {
  const read = unavailable(
    `The service at ${where} did not answer within the deadline: try again, or raise the deadline`,
  )
  return sent ? { read, write: unknown(where) } : same(read)
}

/** Of a call that finds the queue full. */
export function overloaded(where: string): CoatcheckError {
  return unavailable(`Too many calls wait for the service at ${where}: it is too slow for what is asked of it`)
}

/** Of a reply whose body does not say what it should. */
export function verdictOfRubbish(where: string, cause: unknown): Verdict {
  return { read: notOurs(where, { cause }), write: unknown(where, { cause }) }
}

/** Of a reply that refuses the request as a whole. */
export function verdictOfReply(where: string, reply: HttpReply): Verdict {
  // A success of another kind than this wire's: somebody else answers, and may have taken the write.
  if (reply.status < 300) return verdictOfRubbish(where, new Error(`The reply has the status ${reply.status}`))
  const problem = parseProblem(reply.body) ?? { type: "", title: "", status: reply.status, detail: "" }
  return verdictOfProblem(where, { ...problem, status: reply.status })
}

/** Of a problem, be it the reply's or one operation's. Our own type of problem says more than its status. */
export function verdictOfProblem(where: string, problem: Problem): Verdict {
  const code = codeOf(problem) ?? codeOfStatus(problem.status)
  const said = codeOf(problem) === null ? "" : ` (${problem.detail})`
  switch (code) {
    case "unavailable":
    case "closed": // its store was closed, not this one
      return same(unavailable(`The service at ${where} is not available: try again${said}`))
    case "unknown-outcome": {
      const read = unavailable(
        `The service at ${where} failed (status ${problem.status}): see its log, and try again${said}`,
      )
      return { read, write: unknown(where, undefined, said) }
    }
    case null:
      return same(new CoatcheckError("unsupported", unspoken(where, problem.status)))
    default:
      return same(new CoatcheckError(code, `${advice(where, code, problem.status)}${said}`))
  }
}

/** What a status says by itself. null: whoever answers does not speak this wire. */
function codeOfStatus(status: number): ErrorCode | null {
  if (status === 401 || status === 403 || status === 421) return "denied"
  if (status === 413) return "too-large"
  if (status === 429) return "unavailable"
  if (status === 507) return "full"
  if (status === 400) return "invalid"
  if (status === 408) return "unknown-outcome"
  // A 501 or 505 did nothing. Of any other failure, a proxy's 502 or 503 too, nobody knows how far the request came.
  return status >= 500 && status !== 501 && status !== 505 ? "unknown-outcome" : null
}

function advice(where: string, code: ErrorCode, status: number): string {
  if (status === 421) return `The service at ${where} does not go by that host name: serve it with --allow-host`
  if (code === "denied") return `The service at ${where} refused the credentials: check COATCHECK_TOKEN and its scopes`
  if (code === "too-large")
    return `The service at ${where} takes no request of that size: store less, or raise its limits`
  if (code === "corrupt") return `The store behind the service at ${where} is damaged: see the service's log`
  if (code === "full") return `The store behind the service at ${where} is full: nothing was written`
  return `The service at ${where} refused the request (status ${status})`
}

function unspoken(where: string, status: number): string {
  return `What answers at ${where} does not speak the wire that its URL asks for (status ${status}): check the URL (?wire=classic is for services of years ago)`
}

function same(error: CoatcheckError): Verdict {
  return { read: error, write: error }
}

function unavailable(message: string, options?: { cause: unknown }): CoatcheckError {
  return new CoatcheckError("unavailable", message, options)
}

function unknown(where: string, options?: { cause: unknown }, said = ""): CoatcheckError {
  const message = `The service at ${where} did not tell whether the write happened: read before you write again${said}`
  return new CoatcheckError("unknown-outcome", message, options)
}

function notOurs(where: string, options: { cause: unknown }): CoatcheckError {
  return new CoatcheckError(
    "corrupt",
    `What answers at ${where} is no such service, or damaged: check the URL`,
    options,
  )
}
