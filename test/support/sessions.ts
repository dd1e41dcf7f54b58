// A browser as far as sessions see one: it keeps the last cookie it was given and brings it to each request. Requests are made by
// hand here, without an adapter: an Exchange goes in, and what the commit says of the reply comes out.

import {
  type Clock,
  type Committer,
  createSessions,
  type Exchange,
  type Session,
  type SessionData,
  type SessionEvent,
  type Sessions,
  type SessionsOptions,
  type Store,
} from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { type FakeClock, type FaultyStore, fakeClock, faultyStore } from "coatcheck/testing"

export { seededRandom as seeded } from "coatcheck/testing"

/** One request under way. */
export interface Visit<Data extends object> {
  readonly session: Session<Data>
  /** The reply: commits as an adapter does and hands the cookie to the browser. Resolves to the Set-Cookie field, or null. */
  end(): Promise<string | null>
  /** The headers leave without a commit, as no adapter of ours lets them. */
  sendHeaders(): void
}

export interface Browser<Data extends object> {
  /** The Cookie field of the next request; null: none. */
  cookie: string | null
  open(): Promise<Visit<Data>>
  /** One whole request. */
  visit<T>(handler: (session: Session<Data>) => T | Promise<T>): Promise<T>
}

/** A browser without a cookie, or with this one. */
export function browser<Data extends object>(
  sessions: Sessions<Data>,
  { cookie = null, secure = false }: { cookie?: string | null; secure?: boolean } = {},
): Browser<Data> {
  const self: Browser<Data> = {
    cookie,
    async open() {
      const { exchange, end, sendHeaders } = request({ cookie: self.cookie, secure })
      const session = await sessions.open(exchange)
      return {
        session,
        sendHeaders,
        async end() {
          const setCookie = await end()
          if (setCookie) self.cookie = /;\s*Max-Age=0\b/i.test(setCookie) ? null : (setCookie.split(";")[0] ?? null)
          return setCookie
        },
      }
    },
    async visit(handler) {
      const { session, end } = await self.open()
      const result = await handler(session)
      await end()
      return result
    },
  }
  return self
}

/** A request made by hand. `end` commits what was opened on it, then counts its headers as sent. */
export function request({ cookie = null, secure = false }: { cookie?: string | null; secure?: boolean } = {}): {
  exchange: Exchange
  end(): Promise<string | null>
  sendHeaders(): void
} {
  const committers: Committer[] = []
  let sent = false
  return {
    exchange: {
      cookie,
      secure,
      get sent() {
        return sent
      },
      attach: (committer) => {
        committers.push(committer)
      },
    },
    async end() {
      let field: string | null = null
      for (const committer of committers) field = (await committer.commit()).setCookie ?? field
      sent = true
      return field
    },
    sendHeaders() {
      sent = true
    },
  }
}

/** Sessions over a memory store that fails on command, a clock that stands still, and all that they tell. */
export interface SessionBench<Data extends object> {
  readonly sessions: Sessions<Data>
  /** The store itself; looking here counts as no call. */
  readonly inner: Store
  readonly faulty: FaultyStore
  readonly clock: FakeClock
  readonly events: SessionEvent[]
  /** The same sessions as another process has them: another system over the same data, with its own faulty store. */
  another(options?: Partial<SessionsOptions<Data>>): SessionBench<Data>
  /** The calls of the store since the last time this was asked: "get 1, set 1". */
  calls(): string
  /** What the store holds, one text a record. */
  records(): Promise<string[]>
}

export function sessionBench<Data extends object = SessionData>(
  options: Partial<SessionsOptions<Data>> = {},
  clock: FakeClock = fakeClock(),
  inner: Store = memoryStore({ clock }),
): SessionBench<Data> {
  const faulty = faultyStore(inner)
  const events: SessionEvent[] = []
  const onEvent = (event: SessionEvent): number => events.push(event)
  const settings = { store: faulty.store, clock, onEvent, ...options } as unknown as SessionsOptions
  let before = { ...faulty.calls }
  return {
    // The compiler checks that data is JSON where it knows its type; here every caller brings another one.
    sessions: createSessions(settings) as unknown as Sessions<Data>,
    inner,
    faulty,
    clock,
    events,
    another: (changes = {}) => sessionBench({ ...options, ...changes }, clock, inner),
    calls() {
      const counts = Object.entries(faulty.calls).map(
        ([verb, count]) => [verb, count - before[verb as keyof typeof before]] as const,
      )
      before = { ...faulty.calls }
      return counts.flatMap(([verb, count]) => (count > 0 ? [`${verb} ${count}`] : [])).join(", ")
    },
    async records() {
      return (await inner.list({ limit: 1_000 })).entries.map(({ value }) => value)
    },
  }
}

/** Time that passes only while somebody sleeps, and then at once. */
export function hastyClock(start = 1_795_176_000_000): Clock & { advance(ms: number): void } {
  let now = start
  return {
    now: () => Math.floor(now),
    sleep: async (ms) => {
      now += ms
      await new Promise((resolve) => setImmediate(resolve)) // lets others go on meanwhile
    },
    advance: (ms) => {
      now += ms
    },
  }
}

/** What a promise rejected with; fails when it did not. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error("expected a rejection")
}

/** What some query builders hand out: no promise, but awaited like one. */
export function thenable(then: unknown): object {
  const made = {}
  Reflect.set(made, "then", then)
  return made
}
