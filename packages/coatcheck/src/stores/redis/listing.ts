// Pages and counts. Redis keeps no order of keys, so a listing by prefix walks every primary by SCAN: whatever is there from the first page to
// the last is listed, perhaps more than once. A listing by owner walks that owner's set (./owners.ts), which is short.
//
// SCAN gives about as many keys as it is asked for, now and then some more. Those that a page has no room for go into its cursor by name, since
// asking for the same place again gives others as soon as the table has grown. The cursor also says which primaries are done. A primary that
// has not been begun, or was begun by another process (a restart, a replica that took over), is walked from its start: the place in
// the table means nothing to it.
//
// Keys are matched by our own pattern with every special character escaped, and each key is checked again by its own text.

import { type CheckedQuery, checkKey } from "../../core/contract.ts"
import { decode, encode } from "../../core/crypto.ts"
import type { Entry, Page } from "../../core/store.ts"
import { CoatcheckError } from "../../errors.ts"
import type { Calls } from "./calls.ts"
import type { RedisNode } from "./connection.ts"
import type { Member, Owners } from "./owners.ts"

/** SCANs for one page: it may be short or empty then, and has a cursor. */
const SCANS_A_PAGE = 10
/** Keys that one SCAN looks at, at most: well below a millisecond. */
const LONGEST_SCAN = 1_000
/** Up to so many keys of a primary are counted one by one; of more, so many are looked at. */
const COUNTED = 5_000

/** Where the walk along the primaries is. */
interface Place {
  /** Ids of primaries that were walked to their end. */
  readonly done: readonly string[]
  /** The primary that is being walked, and the process that its cursor belongs to; "": none was begun. */
  readonly node: string
  readonly run: string
  /** SCAN's cursor. */
  readonly at: string
  /** Keys that were found and had no room. */
  readonly left: readonly string[]
}

const START: Place = { done: [], node: "", run: "", at: "0", left: [] }

/** What a listing works with. */
export interface ListingSettings {
  readonly calls: Calls
  readonly owners: Owners
  /** What stands before every key, literally. */
  readonly space: string
  /** Records in the order of their keys, without their values if those are not wanted; null for each that is not there. */
  readAll(keys: readonly string[], values: boolean, now: number, since: number): Promise<readonly (Entry | null)[]>
  /** Work that nobody waits for. */
  background(work: Promise<unknown>): void
}

/** Pages and counts of a store. */
export interface Listing {
  page(query: CheckedQuery, now: number): Promise<Page>
  count(query: CheckedQuery, now: number): Promise<number | null>
  /** Looks whether the records of an owner's members are there. */
  examine(owner: string, suspects: readonly Member[], now: number): Promise<void>
}

/** Pages and counts; see the head of the file. */
export function listingOn(settings: ListingSettings): Listing {
  const { calls, owners, space, readAll, background } = settings

  function page(query: CheckedQuery, now: number): Promise<Page> {
    return query.owner === null ? pageOfAll(query, now) : pageOfOwner(query, query.owner, now)
  }

  async function pageOfAll({ prefix, cursor, limit, values }: CheckedQuery, now: number): Promise<Page> {
    const since = calls.moment()
    let place = cursor === null ? START : readPlace(cursor, prefix)
    const nodes = await calls.nodes(since)
    const keys = new Set(place.left.slice(0, limit))
    place = { ...place, left: place.left.slice(limit) }
    let wanted = limit
    let ended = false
    for (let scans = 0; keys.size < limit && scans < SCANS_A_PAGE; scans++) {
      const node = nextNode(nodes, place)
      if (node === undefined) {
        ended = true
        break
      }
      // Of another server nothing is known yet: it may be full of what the last one had none of, and what is left over goes into the cursor.
      if (node.id !== place.node) wanted = limit - keys.size
      wanted = Math.min(wanted, LONGEST_SCAN)
      const { found, ...next } = await scan(node, place, prefix, wanted, since)
      const fresh = found.filter((key) => !keys.has(key))
      for (const key of fresh.slice(0, limit - keys.size)) keys.add(key)
      place = { ...next, left: found.filter((key) => !keys.has(key)) }
      // Among many keys of others, look at more of them at a time.
      wanted = Math.ceil(found.length === 0 ? wanted * 4 : ((limit - keys.size) * wanted) / found.length)
    }
    ended ||= nextNode(nodes, place) === undefined
    const entries = await readAll([...keys], values, now, since)
    const over = ended && place.left.length === 0
    return {
      entries: entries.filter((entry): entry is Entry => entry !== null),
      cursor: over ? null : writePlace(place),
    }
  }

  /** One SCAN from a place, and the place after it. */
  async function scan(
    node: RedisNode,
    place: Place,
    prefix: string,
    count: number,
    since: number,
  ): Promise<Place & { readonly found: readonly string[] }> {
    const from = (at: string): Promise<unknown> =>
      calls.ask(node, ["SCAN", at, "MATCH", `${literal(space + prefix)}*`, "COUNT", String(count)], since)
    const [run, tried] = await Promise.all([processOf(node, since), from(place.node === node.id ? place.at : "0")])
    // Another process than the one that gave the place: what it said of this place is of no use.
    const lost = place.node === node.id && place.at !== "0" && place.run !== run
    const { at, keys } = readScan(lost ? await from("0") : tried)
    const found = keys.map((key) => key.slice(space.length)).filter((key) => key.startsWith(prefix) && isKey(key))
    const done = at === "0" ? [...place.done, node.id] : place.done
    return { done, node: node.id, run, at, left: [], found }
  }

  /** What tells one process of a server from the next; "" where INFO is not allowed. */
  async function processOf(node: RedisNode, since: number): Promise<string> {
    const info = await calls.ask(node, ["INFO", "server"], since).catch(() => "")
    return /^run_id:(\w{8})/m.exec(String(info))?.[1] ?? ""
  }

  async function pageOfOwner(query: CheckedQuery, owner: string, now: number): Promise<Page> {
    const since = calls.moment()
    const { prefix, limit, values } = query
    const members = await owners.page(owner, readMember(query.cursor), limit, since)
    const asked = members.filter(({ key }) => key.startsWith(prefix))
    const names = asked.map(({ key }) => key)
    const found = await readAll(names, values, now, since)
    const entries = found.filter((entry): entry is Entry => entry?.owner === owner)
    correct(owner, asked, found, now)
    const last = members.length === limit ? members.at(-1) : undefined
    return { entries, cursor: last === undefined ? null : encode(JSON.stringify([last.score, last.key])) }
  }

  async function examine(owner: string, suspects: readonly Member[], now: number): Promise<void> {
    const keys = suspects.map(({ key }) => key)
    correct(owner, suspects, await readAll(keys, false, now, calls.moment()), now)
  }

  /** Brings an owner's set nearer to what was read. `found`: what stands under each member's key. */
  function correct(owner: string, members: readonly Member[], found: readonly (Entry | null)[], now: number): void {
    const doubted = members.filter((_, at) => found[at]?.owner !== owner)
    if (doubted.length > 0) background(owners.doubt(owner, doubted, now))
    for (const [at, { key, score }] of members.entries()) {
      const entry = found[at]
      if (entry?.owner === owner && Number(score) <= now) background(owners.add(owner, key, entry.expiresAt, now))
    }
  }

  async function count({ prefix, owner }: CheckedQuery, now: number): Promise<number | null> {
    const since = calls.moment()
    if (owner === null) {
      const nodes = await calls.nodes(since)
      const counts = await Promise.all(nodes.map((node) => countOn(node, prefix, since)))
      return counts.reduce((sum, one) => sum + one, 0)
    }
    if (prefix === "") return owners.count(owner, now)
    const keys = await owners.living(owner, now, COUNTED + 1)
    return keys.length > COUNTED ? null : keys.filter((key) => key.startsWith(prefix)).length
  }

  /** Exact where there are few keys; else what a sample, which SCAN takes all over the table, says of the whole. */
  async function countOn(node: RedisNode, prefix: string, since: number): Promise<number> {
    const seen = new Set<string>()
    const [size, first] = await Promise.all([
      calls.ask(node, ["DBSIZE"], since),
      calls.ask(node, ["SCAN", "0", "COUNT", String(LONGEST_SCAN)], since),
    ])
    let { at, keys } = readScan(first)
    for (const key of keys) seen.add(key)
    while (at !== "0" && seen.size < COUNTED) {
      ;({ at, keys } = readScan(await calls.ask(node, ["SCAN", at, "COUNT", String(LONGEST_SCAN)], since)))
      for (const key of keys) seen.add(key)
    }
    const matching = [...seen].filter((key) => key.startsWith(space + prefix)).length
    return at === "0" ? matching : Math.round((matching / seen.size) * Number(size))
  }

  return { page, count, examine }
}

/** The primary to walk on: the one that was begun if it is there, else the next that was not. */
function nextNode(nodes: readonly RedisNode[], { done, node }: Place): RedisNode | undefined {
  const open = nodes.filter(({ id }) => !done.includes(id))
  return open.find(({ id }) => id === node) ?? open[0]
}

function readScan(reply: unknown): { readonly at: string; readonly keys: readonly string[] } {
  const [at, keys] = Array.isArray(reply) ? (reply as unknown[]) : []
  return { at: String(at), keys: Array.isArray(keys) ? keys.map(String) : [] }
}

/** A text as a glob pattern that matches nothing else. */
function literal(text: string): string {
  return text.replace(/[*?[\]\\]/g, "\\$&")
}

/** Whether a name under our own prefix can be a key of ours; somebody else may have put one there that can't. */
function isKey(key: string): boolean {
  try {
    checkKey(key)
    return true
  } catch {
    return false
  }
}

function writePlace({ done, node, run, at, left }: Place): string {
  return encode(JSON.stringify([done, node, run, at, left]))
}

function readPlace(cursor: string, prefix: string): Place {
  const parts = parse(cursor)
  const [done, node, run, at, left] = parts
  if (parts.length !== 5 || !isTexts(done) || !isTexts([node, run, at]) || !isTexts(left)) throw badCursor()
  if (!isPlace(at as string) || !left.every((key) => key.startsWith(prefix) && isKey(key))) throw badCursor()
  return { done, node: node as string, run: run as string, at: at as string, left } // looked at above
}

/** Whether SCAN takes it: a whole number of 64 bits. */
function isPlace(at: string): boolean {
  return /^\d{1,20}$/.test(at) && BigInt(at) < 2n ** 64n
}

function readMember(cursor: string | null): Member | null {
  if (cursor === null) return null
  const [score, key, ...more] = parse(cursor)
  if (!isTexts([score, key]) || more.length > 0) throw badCursor()
  if (!/^(inf|-?\d{1,17})$/.test(score as string) || !isKey(key as string)) throw badCursor()
  return { score: score as string, key: key as string } // looked at above
}

function parse(cursor: string): unknown[] {
  try {
    const parts: unknown = JSON.parse(decode(cursor) ?? "")
    return Array.isArray(parts) ? (parts as unknown[]) : []
  } catch {
    return []
  }
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string")
}

function badCursor(): CoatcheckError {
  return new CoatcheckError("invalid", "A cursor must be one that the last page of the same listing gave")
}
