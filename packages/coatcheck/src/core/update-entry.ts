// Read, change, write on one key of any store, exactly, however many do it at once: what counters, visit counts and flash messages
// need beside sessions. It goes through the same lanes as sessions do, so a burst in one process is one read and a few writes.

import { CoatcheckError } from "../errors.ts"
import { type Clock, type Duration, milliseconds, systemClock } from "./clock.ts"
import { type RandomSource, randomText } from "./crypto.ts"
import { createLanes, type Lanes } from "./lanes.ts"
import { checkOptions } from "./options.ts"
import type { Store } from "./store.ts"
import { refusePromise } from "./synchronous.ts"

/** Settings of `updateEntry`. */
export interface UpdateEntryOptions {
  /** The entry ends so long after this update. Left out: its end stays as it was (a new entry has none). */
  readonly expiresIn?: Duration
  /** How long to try again against others. Default "5s". The first update of a store's burst decides. */
  readonly deadline?: Duration
  /** Default: the machine's. */
  readonly clock?: Clock
  /** Default: the system's CSPRNG. */
  readonly random?: RandomSource
}

const optionNames = { expiresIn: true, deadline: true, clock: true, random: true } as const
const lanesOf = new WeakMap<Store, Map<number, Lanes>>()

/**
 * Changes the JSON value under a key in one atomic step, and creates it where it is absent.
 *
 * @param change gets the newest value (undefined: absent or expired) and returns the next one. Called again when somebody else
 *   was faster, so it must be synchronous and free of other effects.
 * @returns the value as this change made it.
 * @throws TypeError when `change` returns a promise or nothing that JSON knows. CoatcheckError `conflict` (out of time),
 *   `unknown-outcome`, `corrupt` (what stands there is no JSON), or what the store throws.
 */
export async function updateEntry<Value>(
  store: Store,
  key: string,
  change: (value: Value | undefined) => Value,
  options: UpdateEntryOptions = {},
): Promise<Value> {
  checkOptions<UpdateEntryOptions>("updateEntry", options, optionNames)
  const { clock = systemClock, random = randomText } = options
  const expiresIn = options.expiresIn === undefined ? null : milliseconds(options.expiresIn, "expiresIn")
  let made = ""
  await lanesFor(store, milliseconds(options.deadline ?? "5s", "deadline"), clock, random).submit(key, undefined, {
    apply: (text) => (made = jsonOf(change(text === null ? undefined : (valueOf(text) as Value)))), // the caller knows what it keeps there
    end: () => (expiresIn === null ? undefined : clock.now() + expiresIn),
    creates: true,
  })
  return JSON.parse(made) as Value // what the change returned, as it will be read
}

function lanesFor(store: Store, deadline: number, clock: Clock, random: RandomSource): Lanes {
  const byDeadline = lanesOf.get(store) ?? new Map<number, Lanes>()
  lanesOf.set(store, byDeadline)
  const lanes = byDeadline.get(deadline) ?? createLanes({ store, clock, random, deadline })
  byDeadline.set(deadline, lanes)
  return lanes
}

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CoatcheckError("corrupt", "the entry to update holds no JSON", { cause })
  }
}

function jsonOf(value: unknown): string {
  refusePromise(value, "updateEntry")
  const text = JSON.stringify(value)
  if (text === undefined) throw new TypeError("the function given to updateEntry must return a JSON value")
  return text
}
