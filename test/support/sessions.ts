// A browser as far as sessions see one: it keeps the last cookie it was given and brings it to each request. Requests are made by
// hand here, without an adapter: an Exchange goes in, and what the commit says of the reply comes out.

import type { Clock, Committer, Exchange, Session, Sessions } from "coatcheck"

/** One request under way. */
export interface Visit<Data extends object> {
  readonly session: Session<Data>
  /** The reply: commits as an adapter does and hands the cookie to the browser. Resolves to the Set-Cookie field, or null. */
  end(): Promise<string | null>
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
      const { exchange, end } = request({ cookie: self.cookie, secure })
      const session = await sessions.open(exchange)
      return {
        session,
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

/** A generator of numbers in [0, 1) from a seed (mulberry32): the same seed gives the same run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
