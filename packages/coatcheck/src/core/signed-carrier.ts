// The carrier without a store: the cookie holds the whole record, readable by whoever has it, and signed so that only we can make
// one. `payload.until.mac`: base64url of the record's JSON, the end in epoch ms, and HMAC-SHA-256 over both under a key that is
// derived for this purpose and this cookie's name.
//
// What it can't do follows from there being one copy per reply and none of ours: parallel changes are lost (the last reply wins),
// and an old cookie stays good until its end. What must be exact belongs in a store. With a store beside it, that is asked on every
// request of somebody who signed in whether all of that person's sessions were ended since (marks.ts).

import type { Carrier, Kept } from "./carrier.ts"
import type { Clock } from "./clock.ts"
import { decode, encode, type RandomSource, sha256 } from "./crypto.ts"
import type { RefusalReason, Tell } from "./events.ts"
import type { Keyring } from "./keyring.ts"
import { isUnder, type Marks } from "./marks.ts"
import { parseRecord, recordText, type SessionRecord } from "./record.ts"
import type { Entry } from "./store.ts"

/** What the carrier needs to know. */
export interface SignedCarrierSettings {
  readonly keys: Keyring
  readonly clock: Clock
  readonly random: RandomSource
  /** Where it is read which sessions were ended; null: nowhere. */
  readonly marks: Marks | null
  readonly tell: Tell
}

/** A record that also carries what a key in a store would be: the name of the session. */
interface NamedRecord extends SessionRecord {
  sid: string
}

const SID_BYTES = 16

/** A carrier that keeps the record in the cookie. */
export function signedCarrier({ keys, clock, random, marks, tell }: SignedCarrierSettings): Carrier {
  // Of several cookies the only one that is alive counts, as in a store; a prefixed name can't be there twice in a good browser.
  async function find(values: readonly string[], prefixed: boolean): Promise<Kept | null> {
    const opened = prefixed && values.length > 1 ? [] : values.map(open)
    const alive = opened.filter((one): one is Kept => typeof one === "object" && !isOver(one))
    if (alive.length === 1 && alive[0]) return unlessEnded(alive[0])
    const [first] = opened
    if (values.length > 1) tell?.({ type: "refused", why: "duplicate" })
    else if (typeof first === "string") tell?.({ type: "refused", why: first })
    else if (first) tell?.({ type: "ended", handle: handle(first), why: "lapsed" })
    return null
  }

  // The one thing that a store is asked for: nobody else can end what a cookie holds.
  async function unlessEnded(kept: Kept): Promise<Kept | null> {
    const record = marks && parseRecord(kept.entry.value)
    if (!record || record.owner === null || isUnder(await marks.read(record.owner), record.marks.owner)) return kept
    tell?.({ type: "ended", handle: handle(kept), why: "revoked" })
    return null
  }

  function isOver({ entry }: Kept): boolean {
    return endOf(entry) <= clock.now()
  }

  function open(cookie: string): Kept | RefusalReason {
    const [payload, until, mac, ...more] = cookie.split(".")
    if (!payload || !until || !mac || more.length > 0) return "malformed"
    if (!keys.verify(`${payload}.${until}`, mac)) return "signature"
    const value = decode(payload)
    const expiresAt = Number(until)
    if (value === null || !Number.isSafeInteger(expiresAt)) return "malformed"
    return { cookie, entry: entryOf(value, expiresAt) }
  }

  function keep(value: string, expiresAt: number): Kept {
    const signed = `${encode(value)}.${expiresAt}`
    return { cookie: `${signed}.${keys.sign(signed)}`, entry: entryOf(value, expiresAt) }
  }

  function named(record: SessionRecord): NamedRecord {
    return { ...record, sid: random(SID_BYTES) }
  }

  function handle({ entry }: Kept): string {
    return sha256(sidOf(entry))
  }

  return {
    afterReply: false,
    find,
    again: async (kept) => kept,
    create: async (record, expiresAt) => keep(recordText(named(record)), expiresAt),
    write: ({ entry }, change) => keep(change.apply(entry.value), change.end(entry) ?? endOf(entry)),
    touch: async ({ entry }, expiresAt) => keep(entry.value, expiresAt),
    rotate: async ({ entry }, change, renewal) => {
      const record = parseRecord(change.apply(entry.value))
      return record ? keep(recordText(named(record)), renewal?.expiresAt ?? change.end(entry) ?? endOf(entry)) : "gone"
    },
    remove: async () => "removed",
    handle,
    secretOf: ({ entry }) => keys.sign(`csrf of ${sidOf(entry)}`), // no cookie is signed over such a text
  }
}

function sidOf({ value }: Entry): string {
  return (parseRecord(value) as NamedRecord | null)?.sid ?? "" // every record of this carrier has one
}

function entryOf(value: string, expiresAt: number): Entry {
  return { key: "", value, version: "", expiresAt, owner: null }
}

function endOf({ expiresAt }: Entry): number {
  return expiresAt ?? 0 // every entry of this carrier has an end
}
