// A store from a URL: the other end of the key-value service. Calls of one tick share one request, connections are kept, each
// call has a deadline, and a write whose answer was lost is never called a failure.
//
// The service decides every condition, so several processes, in any language, may use it at once. Ends travel as what is left of
// them, so the machines' clocks need not agree; each of both ways may add up to the time that a request takes.
//
// Only `?wire=classic` selects the wire of services of years ago (http/classic.ts), never a guess from an error: a store that gave up
// its conditions because of one odd reply would lose updates in silence.

import { checkedStore, type StoreVerbs } from "../core/checked-store.ts"
import { type Clock, type Duration, milliseconds, systemClock } from "../core/clock.ts"
import { type CheckedQuery, isOver, reporter } from "../core/contract.ts"
import { checkOptions } from "../core/options.ts"
import type { Page, Report, Store } from "../core/store.ts"
import { limits } from "../core/store.ts"
import { maxEntryBytes, parsePage } from "../protocol/entry.ts"
import { jsonText } from "../protocol/json.ts"
import { listPath } from "../protocol/paths.ts"
import { type HttpAddress, httpAddress, type HttpSettings } from "./http/address.ts"
import { batches, readDelete, readGet, readOutcome } from "./http/batches.ts"
import { classicStore } from "./http/classic.ts"
import { httpClient } from "./http/client.ts"
import { eventChannel } from "./http/events.ts"
import { verdictOfReply, verdictOfRubbish } from "./http/errors.ts"
import type { HttpReply } from "./http/reply.ts"
import { requests } from "./http/requests.ts"
import { coarseTimer } from "./shared/timer.ts"

/** Settings of `httpStore`, each with a default. */
export interface HttpStoreOptions {
  /** Sent as `Authorization: Bearer`; one in the URL goes before it. Default: none. */
  readonly token?: string
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told when the token will travel unencrypted to another machine, and when changes can't be watched as they should. Default: a line on stderr. */
  readonly report?: Report
  /** How long a call may take, waiting in the queue included. Default "1s". */
  readonly deadline?: Duration
  /** The longest value, in bytes of UTF-8. The service has a limit of its own. Default 1 MiB. */
  readonly maxValueBytes?: number
  /** Batches under way at once; further calls gather meanwhile. Default 2; on the classic wire, where nothing gathers, requests: 16. */
  readonly inFlight?: number
  /** Calls that may wait; one more rejects with `unavailable` at once. Default 10,000. */
  readonly maxQueued?: number
}

const NAME = "http"
/** Listings under way at once; each is a request of its own. */
const LISTINGS = 2

/**
 * A store behind a key-value service: `http://localhost:5100`, `https://name:token@kv.example/base`.
 *
 * Made without a connection; the first call makes one. A write whose answer did not come rejects with `unknown-outcome` and is
 * never sent again by itself. `?wire=classic` speaks to an old service, see the guide on what is lost then.
 *
 * @throws TypeError when the URL, the token or a setting can't be.
 */
export function httpStore(url: string, options: HttpStoreOptions = {}): Store {
  checkOptions<HttpStoreOptions>("httpStore", options, {
    token: true,
    clock: true,
    report: true,
    deadline: true,
    maxValueBytes: true,
    inFlight: true,
    maxQueued: true,
  })
  const { clock = systemClock } = options
  const report = reporter(options.report)
  const address = httpAddress(url, options.token)
  const settings: HttpSettings = {
    clock,
    deadline: milliseconds(options.deadline ?? "1s", "deadline"),
    maxValueBytes: positive("maxValueBytes", options.maxValueBytes ?? limits.valueBytes),
    inFlight: positive("inFlight", options.inFlight ?? (address.wire === "classic" ? 16 : 2)),
    maxQueued: positive("maxQueued", options.maxQueued ?? 10_000),
  }
  if (address.authorization !== null && !address.secure && !isLoopback(address.host)) {
    report({ store: NAME, kind: "warning", message: "The token travels unencrypted to another machine: use https" })
  }
  return address.wire === "classic" ? classicStore(address, settings) : strictStore(address, settings, report)
}

function strictStore(address: HttpAddress, settings: HttpSettings, report: Report): Store {
  const { clock, deadline, maxValueBytes, inFlight, maxQueued } = settings
  const where = address.origin
  const client = httpClient(address)
  const timer = coarseTimer(clock, deadline)
  const operations = batches(client, where, timer, { inFlight, maxQueued }, clock, maxValueBytes)
  const listings = requests(client, where, timer, { inFlight: LISTINGS, maxQueued })
  const events = eventChannel(address, deadline, report)

  async function list({ prefix, owner, cursor, limit, values }: CheckedQuery): Promise<Page> {
    const sentAt = clock.now()
    const path = listPath({
      prefix,
      limit,
      values,
      ...(owner !== null && { owner }),
      ...(cursor !== null && { cursor }),
    })
    const reply = await listings.ask({ method: "GET", path, maxReply: limit * maxEntryBytes(maxValueBytes) }, false)
    const page = readPage(reply, sentAt)
    const now = clock.now()
    return { entries: page.entries.filter((entry) => !isOver(entry.expiresAt, now)), cursor: page.cursor }
  }

  function readPage(reply: HttpReply, sentAt: number): Page {
    if (reply.status !== 200) throw verdictOfReply(where, reply).read
    try {
      return parsePage(reply.body, sentAt)
    } catch (cause) {
      throw verdictOfRubbish(where, cause).read
    }
  }

  const verbs: StoreVerbs = {
    // What the engine behind the service can do is not known here: the order of its listings is not promised.
    info: { name: NAME, ordered: false, shared: true, durable: true, atomic: true, deadline },
    get: (key, fresh) => operations.call(fresh ? { op: "get", key, fresh } : { op: "get", key }, readGet(key)),
    set(key, value, options) {
      // It goes into a batch as it is, among the operations of others: what is no JSON could be read as one of them.
      jsonText(value)
      return operations.call({ op: "set", key, value, options }, readOutcome(key, options.version))
    },
    touch: (key, expiresAt, version) =>
      operations.call({ op: "touch", key, expiresAt, version }, readOutcome(key, version)),
    delete: (key, version) => operations.call({ op: "delete", key, version }, readDelete(key)),
    list,
    watch: events.watch,
    async close() {
      events.close()
      await Promise.all([operations.idle(), listings.idle()])
      client.close()
    },
  }
  return checkedStore(verbs, maxValueBytes)
}

function positive(name: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`${name} must be a positive whole number`)
  return value
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.endsWith(".localhost") || /^127(\.\d{1,3}){3}$/.test(host)
}
