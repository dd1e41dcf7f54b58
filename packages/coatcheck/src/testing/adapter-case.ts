// What the cases of the adapter suite are made of. Each case gets a served application (adapter-application.ts), a store of its own
// that counts and fails on demand, a clock that it moves, and all that the adapter reported.

import assert from "node:assert/strict"
import type { GuardOptions } from "../core/guard.ts"
import type { SessionEvent } from "../core/events.ts"
import { createSessions, type SessionsOptions } from "../core/sessions.ts"
import { answer } from "./adapter-application.ts"
import { type ClientReply, type ClientRequest, sendBytes, sendRequest } from "./adapter-client.ts"
import type { AdapterCase, AdapterHarness, SuiteData } from "./adapter-harness.ts"
import { type CookieJar, cookieJar } from "./cookie-jar.ts"
import { type FakeClock, fakeClock } from "./fake-clock.ts"
import { type TrialStore, trialStore } from "./adapter-store.ts"

/** Settings that a case asks for. */
export interface BenchSettings {
  readonly sessions?: Partial<SessionsOptions<SuiteData>>
  readonly guard?: false | GuardOptions
  readonly behindProxy?: boolean
}

/** What a case works with. */
export interface AdapterBench {
  readonly port: number
  readonly store: TrialStore
  readonly clock: FakeClock
  readonly errors: readonly unknown[]
  readonly warnings: readonly string[]
  readonly events: readonly SessionEvent[]
  /** Sends a request and gives the whole reply. */
  send(request: ClientRequest): Promise<ClientReply>
  /** Sends these bytes and gives all that comes back until the other end closes. */
  bytes(text: string): Promise<string>
  visitor(): Visitor
}

/** A browser, as far as cookies go. */
export interface Visitor {
  readonly jar: CookieJar
  /** Sends a request with the jar's cookies and keeps what the reply sets. */
  send(request: ClientRequest): Promise<ClientReply>
  get(path: string): Promise<ClientReply>
  /** A POST as a browser makes it from our own page. */
  post(path: string, body?: string): Promise<ClientReply>
}

/** A case. `rows` are ids, separated by ", ". */
export function adapterCase(
  rows: string,
  sentence: string,
  check: (bench: AdapterBench) => Promise<void>,
  settings: BenchSettings = {},
): AdapterCase {
  return { name: `${rows}: ${sentence}`, rows: rows.split(", "), run: (harness) => runCase(harness, check, settings) }
}

async function runCase(
  harness: AdapterHarness,
  check: (bench: AdapterBench) => Promise<void>,
  settings: BenchSettings,
): Promise<void> {
  const clock = fakeClock()
  const store = trialStore(harness.store({ clock }))
  const [errors, warnings, events]: [unknown[], string[], SessionEvent[]] = [[], [], []]
  const sessions = createSessions<SuiteData>({
    store,
    clock,
    onEvent: (event) => events.push(event),
    warn: (message) => warnings.push(message),
    ...settings.sessions,
  })
  const server = await harness.serve({
    sessions,
    guard: settings.guard ?? {},
    behindProxy: settings.behindProxy ?? false,
    onError: (error) => errors.push(error),
    warn: (message) => warnings.push(message),
    answer: (call) => answer(sessions, call),
  })
  const { port } = server
  const send = (request: ClientRequest): Promise<ClientReply> => sendRequest(port, request)
  const bytes = (text: string): Promise<string> => sendBytes(port, text)
  const visitor = (): Visitor => visitorOf(port, clock, settings.behindProxy ?? false)
  try {
    await check({ port, store, clock, errors, warnings, events, send, bytes, visitor })
  } finally {
    await server.close()
    await store.close()
  }
}

function visitorOf(port: number, clock: FakeClock, secure: boolean): Visitor {
  const jar = cookieJar({ clock })
  const origin = `${secure ? "https" : "http"}://127.0.0.1:${port}`
  const proxied: readonly (readonly [string, string])[] = secure ? [["X-Forwarded-Proto", "https"]] : []
  async function send(request: ClientRequest): Promise<ClientReply> {
    const url = `${origin}${request.path ?? "/"}`
    const cookie = jar.header(url)
    const cookies: readonly (readonly [string, string])[] = cookie === null ? [] : [["Cookie", cookie]]
    const reply = await sendRequest(port, { ...request, headers: [...(request.headers ?? []), ...proxied, ...cookies] })
    jar.take(url, reply.all("set-cookie"))
    return reply
  }
  const sameOrigin = [["Sec-Fetch-Site", "same-origin"]] as const
  return {
    jar,
    send,
    get: (path) => send({ path }),
    post: (path, body = "") => send({ method: "POST", path, headers: sameOrigin, body }),
  }
}

/** Asserts that a reply is a problem of ours and says nothing but that. */
export function isProblem(reply: ClientReply, status: number): void {
  assert.equal(reply.status, status)
  assert.equal(reply.one("content-type"), "application/problem+json")
  const problem = JSON.parse(reply.body) as Record<string, unknown> // of our own making, as the next lines check
  assert.deepEqual(Object.keys(problem).toSorted(), ["status", "title", "type"])
  assert.equal(problem.status, status)
  assert.match(String(problem.type), /^(about:blank|urn:coatcheck:[a-z:-]+)$/)
  assert.equal(reply.one("cache-control"), "no-store")
}

/** The visitor's only cookie that could be a session's. */
export function sessionCookie(visitor: Visitor): string {
  const cookies = visitor.jar.cookies().filter(({ name }) => name.endsWith("session"))
  assert.equal(cookies.length, 1, "the visitor holds one session cookie")
  return cookies[0]?.value ?? ""
}
