// A store whose values nobody can read or change without a secret: not who steals the disk or a backup, not who may write to the
// engine. Each value is sealed before it leaves (core/crypto.ts says how) and opened when it comes back. Key, owner, end and version
// stay readable, because the engine decides by them; so an intruder who can write may still remove entries, move their ends,
// change their owners, or put back an older value of the same key.
//
// A value that does not open (flipped, cut, moved from another key, sealed under a secret that is no longer listed, or never sealed)
// counts as absent and is reported: it can be replaced and deleted like one that has expired. An insert finds it in its way and
// replaces it on its version, which is one call more. What costs none is left alone: a `set` or `touch` that names the
// version of such an entry goes through, since only who has read it while it was whole can name that.
//
// Rejected: sealing the owner (listing by owner is a condition of the engine), compression (its length tells of the
// content), authenticating the end and version (a touch would have to write the value, and an older entry is put back whole).

import type { Clock } from "../core/clock.ts"
import { systemClock } from "../core/clock.ts"
import { checkKey, checkSet, reporter } from "../core/contract.ts"
import { sealingRing } from "../core/keyring.ts"
import { checkOptions } from "../core/options.ts"
import type { DeleteOutcome, Entry, Outcome, Report, SetOptions, Store } from "../core/store.ts"
import { limits } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"
import { packSealed, sealedBytes, unpackSealed } from "./encrypted/envelope.ts"
import { damageTeller } from "./shared/damage.ts"

/** Settings of `encryptedStore`. */
export interface EncryptedStoreOptions {
  /** One secret, or several with the newest first: the first seals, all of them open. At least 32 bytes of randomness. */
  readonly secret: string | readonly string[]
  /** What these values are for; the same secret under another purpose opens nothing. Default "store". */
  readonly purpose?: string
  /** What to make of values that were never sealed. "refuse": they are absent. "accept": they are read as they are, until the next write seals them; then whoever may write to the engine can make values too. Default "refuse". */
  readonly plain?: "refuse" | "accept"
  /** The longest value before it is sealed, in bytes of UTF-8. Default 1 MiB; the store inside must take a third more and 100. */
  readonly maxValueBytes?: number
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /** Told of values that don't open, once an hour each. Default: a line on stderr. */
  readonly report?: Report
}

/** So often somebody else may put another entry that does not open into an insert's way. */
const MOST_TRIES = 8

/**
 * The same store with its values sealed. Its `info.name` is that of the store inside with "encrypted-" before it.
 *
 * Listings without values open nothing, so entries that would not open are among them.
 *
 * @throws TypeError when the secret is missing, short, repeated or a known sample, or a setting makes no sense.
 */
export function encryptedStore(store: Store, options: EncryptedStoreOptions): Store {
  checkOptions<EncryptedStoreOptions>("encryptedStore", options, {
    secret: true,
    purpose: true,
    plain: true,
    maxValueBytes: true,
    clock: true,
    report: true,
  })
  const { secret, purpose = "store", plain = "refuse", maxValueBytes = limits.valueBytes } = options
  const { clock = systemClock } = options
  const report = reporter(options.report)
  checkPurpose(purpose)
  if (plain !== "refuse" && plain !== "accept") throw new TypeError('plain must be "refuse" or "accept"')
  if (!Number.isSafeInteger(maxValueBytes) || maxValueBytes < 1) {
    throw new TypeError("maxValueBytes must be a positive whole number")
  }
  const ring = sealingRing(secret, `encrypted store ${purpose}`)
  const info = { ...store.info, name: `encrypted-${store.info.name}` }
  const message = "A value does not open and counts as absent: it was changed, or its secret is no longer listed"
  const tellDamaged = damageTeller(clock, (): void => report({ store: info.name, kind: "damaged", message }))

  const contextOf = (key: string): string => `${purpose}\n${key}`

  /** The entry with its value in the clear; null when it does not open, which is absent. */
  function opened(entry: Entry | null): Entry | null {
    if (entry === null) return null
    const parts = unpackSealed(entry.value)
    if (parts === null && plain === "accept") return entry
    const value = parts && ring.open(parts, contextOf(entry.key))
    if (value === null) {
      tellDamaged(entry.key)
      return null
    }
    return { ...entry, value }
  }

  async function write(key: string, value: string, how: SetOptions): Promise<Outcome> {
    try {
      return await store.set(key, value, how)
    } catch (error) {
      if (!(error instanceof CoatcheckError) || error.code !== "too-large") throw error
      const most = sealedBytes(maxValueBytes)
      const advice = `give the store inside a maxValueBytes of ${most}, or store less`
      throw new CoatcheckError(
        "too-large",
        `Sealed, the value is longer than the ${store.info.name} store takes: ${advice}`,
        {
          cause: error,
        },
      )
    }
  }

  async function set(key: string, value: string, how: SetOptions = {}): Promise<Outcome> {
    checkSet(key, value, how, maxValueBytes)
    const text = packSealed(ring.seal(value, contextOf(key)))
    let outcome = await write(key, text, how)
    for (let tries = 1; !outcome.ok; tries++) {
      const stands = outcome.current
      const current = opened(stands)
      if (current !== null || how.if !== "absent") return { ok: false, current }
      if (tries === MOST_TRIES) throw contended()
      // What stands there counts as absent: it is replaced on its version, and nothing of it is taken over.
      const instead = { ...how, expiresAt: how.expiresAt ?? null, owner: how.owner ?? null }
      outcome = await write(key, text, stands === null ? how : { ...instead, if: { version: stands.version } })
    }
    return outcome
  }

  async function remove(key: string, asked?: { readonly version?: string }): Promise<DeleteOutcome> {
    let version = asked?.version
    for (let tries = 1; tries <= MOST_TRIES; tries++) {
      const outcome = await store.delete(key, version === undefined ? undefined : { version })
      if (outcome.ok) return { ok: true, removed: opened(outcome.removed) }
      const current = opened(outcome.current)
      if (current !== null) return { ok: false, current }
      version = outcome.current.version // it counts as absent, so it may go, whichever version was asked for
    }
    throw contended()
  }

  function contended(): CoatcheckError {
    const message = `Too many others changed this entry of the ${info.name} store at once; nothing was written, try again`
    return new CoatcheckError("conflict", message)
  }

  const { count, watch } = store
  return {
    info,
    get: async (key, asked) => opened(await store.get(key, asked)),
    set,
    async touch(key, expiresAt, asked) {
      const outcome = await store.touch(key, expiresAt, asked)
      return outcome.ok ? outcome : { ok: false, current: opened(outcome.current) }
    },
    delete: remove,
    async list(query) {
      const page = await store.list(query)
      if (query?.values === false) return page
      return { entries: page.entries.flatMap((entry) => opened(entry) ?? []), cursor: page.cursor }
    },
    ...(count !== undefined && { count: (query) => count.call(store, query) }),
    ...(watch !== undefined && { watch: (onChange) => watch.call(store, onChange) }),
    close: () => store.close(),
  }
}

function checkPurpose(purpose: string): void {
  try {
    checkKey(purpose) // a text without line breaks, so that purpose and key can't be cut in two ways
  } catch {
    throw new TypeError("purpose must be a text without control characters, such as the application's name")
  }
}
