// createSessions: all settings of a session system are checked here, once, and become the policy that its sessions follow. What a
// request costs is decided here too: no cookie of ours means no call of the store, and a request that opens no session costs
// nothing at all, because nothing happens until `open`.

import type { Carrier, Kept } from "./carrier.ts"
import { type Clock, type Duration, milliseconds, systemClock } from "./clock.ts"
import { type CookieOptions, cookieForm, cookieSettings, readCookies } from "./cookie.ts"
import { type RandomSource, randomText } from "./crypto.ts"
import { type OnEvent, type Tell, teller } from "./events.ts"
import { type Exchange, exchangeOf } from "./exchange.ts"
import { lifetime, type Preset } from "./expiry.ts"
import { keyring } from "./keyring.ts"
import { createLanes } from "./lanes.ts"
import { createMarks, type Marks } from "./marks.ts"
import { type Rule, rulesFrom } from "./merge.ts"
import { checkOptions } from "./options.ts"
import type { Policy } from "./policy.ts"
import type { SessionData } from "./record.ts"
import {
  createRegistry,
  type ListSessionsQuery,
  type RegistrySettings,
  type RevokeQuery,
  type SessionPage,
} from "./registry.ts"
import { foundSession, Session } from "./session.ts"
import { signedCarrier } from "./signed-carrier.ts"
import { type Store, storeVerbs } from "./store.ts"
import { storeCarrier } from "./store-carrier.ts"

/** Settings of a session system. Every one is checked when it is created; a mistake is a TypeError there, never a failed request. */
export interface SessionsOptions<Data extends object = SessionData> {
  /**
   * Where records are kept. Needed unless the cookie holds the data; there it keeps only who was signed out of everything, which
   * costs a read of each request of somebody who signed in.
   */
  readonly store?: Store
  /** How state travels. "store" (default): the cookie holds an id. "signed": the cookie holds the data, readable and signed. */
  readonly carrier?: "store" | "signed"
  /** For carriers that sign: at least 32 random bytes; several to change them, newest first. Make one with `coatcheck secret`. */
  readonly secret?: string | readonly string[]
  /** Ends a session that nobody used for so long. Default "30m"; null: never. */
  readonly idle?: Duration | null
  /** Ends even a session in use, counted from its creation. Default "12h". */
  readonly absolute?: Duration
  /** Limits of NIST SP 800-63B-4 by assurance level; `idle` and `absolute` win over it. */
  readonly preset?: Preset
  /** What happens to a key that two requests changed and that has no rule of its own. Default "mine": the later writer's stands. */
  readonly onConflict?: "mine" | "theirs" | "error"
  /** Rules per top-level key of the data, see `Rule`. */
  readonly rules?: { readonly [Key in keyof Data]?: Rule }
  /** The cookie; see `CookieOptions`. */
  readonly cookie?: CookieOptions
  /** "hashed" (default): the store knows SHA-256 of the id. "bare": the id itself is the key, for lessons; who reads the store can take over sessions then. */
  readonly ids?: "hashed" | "bare"
  /** How long a change may be tried again against others before it fails with `conflict`. Default "5s". */
  readonly deadline?: Duration
  /** Told of all that happens to sessions. */
  readonly onEvent?: OnEvent
  /** Gets sentences that a person should read at start. Default: console.warn. */
  readonly warn?: (message: string) => void
  /** Default: the machine's. */
  readonly clock?: Clock
  /** Gives so many random bytes as base64url. Default: the system's CSPRNG. */
  readonly random?: RandomSource
}

/** A session system: one kind of cookie, and what it leads to. */
export interface Sessions<Data extends object = SessionData> {
  /**
   * The session of a request; a second call on the same request gives the same one. This is the load: at most one read of the
   * store, none without a well-formed cookie. A request that never opens a session costs nothing.
   *
   * @param request what an adapter handed to your handler, or an `Exchange` of your own.
   * @throws TypeError when no adapter has seen the request. CoatcheckError when the store fails.
   */
  open(request: object): Promise<Session<Data>>
  /**
   * A page of live sessions: of one owner, or of everybody.
   *
   * @throws CoatcheckError `unsupported` where the cookie holds the data, or what the store throws.
   */
  list(query?: ListSessionsQuery): Promise<SessionPage>
  /**
   * Ends sessions from outside: one by its handle, or all of an owner, apart from one if asked. Nobody who signed in before is
   * signed in when it resolves, on any instance; where an instance has a near-cache, within that cache's age. Who signs in to that
   * account at the same moment is refused or signed in anew, never left on an old session.
   *
   * @returns how many records were removed; where the cookie holds the data, 0.
   * @throws TypeError for a query that names nobody. CoatcheckError `unsupported` where the cookie holds the data and there is no
   *   store, or for one handle or an exception there; or what the store throws: call it again then.
   */
  revoke(query: RevokeQuery): Promise<number>
  /** The names that the cookie may have, for adapters that guard requests which carry it. */
  readonly cookieNames: readonly string[]
}

/** What JSON keeps of a type: functions, symbols, BigInt and class instances with methods (Date, Map, Set) are refused; `unknown` passes. */
export type Json<T> = unknown extends T
  ? T
  : T extends string | number | boolean | null | undefined
    ? T
    : T extends bigint | symbol | ((...values: never[]) => unknown)
      ? never
      : { [Key in keyof T]: Json<T[Key]> }

/** Makes the compiler refuse data that JSON would not give back as it was. */
export type OnlyJson<Data> = Data extends Json<Data> ? unknown : { readonly "session data must be JSON": never }

/**
 * Makes a session system.
 *
 * `Data` is the shape of what the application keeps; types that JSON loses are errors of the compiler.
 *
 * @throws TypeError for settings that are wrong or contradict each other, naming the setting.
 */
export function createSessions<Data extends object = SessionData>(
  options: SessionsOptions<Data> & OnlyJson<Data>,
): Sessions<Data> {
  checkOptions<SessionsOptions>("createSessions", options, optionNames)
  const { clock = systemClock, random = randomText, warn = console.warn } = options
  checkHooks(clock, { random, warn, onEvent: options.onEvent })
  const tell = teller(options.onEvent, warn)
  const limits = lifetime(options)
  const cookie = cookieSettings(options.cookie, limits.absolute)
  if (cookie.warning) warn(`coatcheck: ${cookie.warning}`)
  const names = [...new Set([cookie.secure.name, ...(cookie.plain ? [cookie.plain.name] : [])])]
  const parts = { clock, random, tell, warn, cookieName: cookie.secure.name, absolute: limits.absolute }
  const { carrier, marks, records } = carrierFrom(options, parts)
  const registry = createRegistry({ records, marks, random, tell })
  const policy: Policy = {
    carrier,
    clock,
    random,
    marks,
    lifetime: limits,
    rules: rulesFrom(options.onConflict, options.rules),
    cookie,
    tell,
  }

  function start(exchange: Exchange): Promise<Session<Data>> {
    const session = new Session<Data>(policy, exchange)
    exchange.attach(session)
    const form = cookieForm(cookie, exchange.secure)
    const values = form ? readCookies(exchange.cookie, form.name) : noValues
    if (values.length === 0) return Promise.resolve(found(session, null))
    return policy.carrier.find(values, form?.prefixed ?? false).then((kept) => found(session, kept))
  }

  function found(session: Session<Data>, kept: Kept | null): Session<Data> {
    foundSession(session, kept)
    if (kept) tell?.({ type: "loaded", handle: policy.carrier.handle(kept) })
    return session
  }

  const sessions: Sessions<Data> = {
    cookieNames: names,
    list: async (query = {}) => registry.list(query),
    revoke: async (query) => registry.revoke(query),
    open(request) {
      const exchange = exchangeFrom(request)
      for (let one = exchange.opened; one; one = one.before) {
        if (one.by === sessions) return one.session as Promise<Session<Data>> // opened by this very system, below
      }
      const session = start(exchange)
      // A slot on the request's own object: a WeakMap costs a microsecond a request, most of it in the garbage collector.
      exchange.opened = { by: sessions, session, before: exchange.opened }
      return session
    },
  }
  return sessions
}

const noValues: readonly string[] = []

const optionNames = {
  store: true,
  carrier: true,
  secret: true,
  idle: true,
  absolute: true,
  preset: true,
  onConflict: true,
  rules: true,
  cookie: true,
  ids: true,
  deadline: true,
  onEvent: true,
  warn: true,
  clock: true,
  random: true,
} satisfies Record<keyof SessionsOptions, true>

function checkHooks(clock: Clock, hooks: Readonly<Record<string, unknown>>): void {
  if (typeof clock?.now !== "function" || typeof clock.sleep !== "function") {
    throw new TypeError("clock must have the functions now and sleep")
  }
  for (const [name, hook] of Object.entries(hooks)) {
    if (hook !== undefined && typeof hook !== "function") throw new TypeError(`${name} must be a function`)
  }
}

function exchangeFrom(request: object): Exchange {
  const exchange = (request as { [exchangeOf]?: Exchange })[exchangeOf] // adapters leave one there
  if (exchange) return exchange
  if (isExchange(request)) return request
  throw new TypeError(
    "no adapter has seen this request: wrap your handler with one, for example nodeAdapter(sessions) of coatcheck/node",
  )
}

function isExchange(request: object): request is Exchange {
  return "cookie" in request && "secure" in request && "attach" in request && typeof request.attach === "function"
}

interface CarrierParts {
  readonly clock: Clock
  readonly random: RandomSource
  readonly cookieName: string
  readonly absolute: number
  readonly tell: Tell
  warn(message: string): void
}

interface Carried {
  readonly carrier: Carrier
  readonly marks: Marks | null
  readonly records: RegistrySettings["records"]
}

function carrierFrom(
  options: SessionsOptions,
  { clock, random, tell, warn, cookieName, absolute }: CarrierParts,
): Carried {
  const { carrier = "store", store, secret, ids = "hashed" } = options
  if (ids !== "hashed" && ids !== "bare") throw new TypeError('ids must be "hashed" or "bare"')
  const deadline = milliseconds(options.deadline ?? "5s", "deadline")
  if (carrier !== "store" && carrier !== "signed") throw new TypeError('carrier must be "store" or "signed"')
  if (carrier === "store" || store !== undefined) checkStore(store)
  const marks = store === undefined ? null : createMarks(store, clock, absolute)
  if (store === undefined || carrier === "signed") {
    const keys = keyring(secret, `signed session ${cookieName}`)
    return { carrier: signedCarrier({ keys, clock, random, marks, tell }), marks, records: null }
  }
  if (!store.info.atomic) {
    warn(
      `coatcheck: the ${store.info.name} store can't decide conditions, so parallel updates may be lost and ended sessions may come back`,
    )
  }
  const bare = ids === "bare"
  const lanes = createLanes({ store, clock, random, deadline })
  const carried = storeCarrier({ store, clock, random, lanes, deadline, bare, tell })
  return { carrier: carried, marks, records: { store, lanes, bare } }
}

function checkStore(store: Store | undefined): asserts store is Store {
  if (typeof store !== "object" || store === null) {
    throw new TypeError(
      'sessions need a store: set `store`, for example to await openStore("sqlite:./var/sessions.db") of coatcheck/open',
    )
  }
  for (const verb of storeVerbs) {
    if (typeof store[verb] !== "function") throw new TypeError(`the store has no method ${verb}()`)
  }
  if (typeof store.info !== "object" || store.info === null) throw new TypeError("the store has no info")
}
