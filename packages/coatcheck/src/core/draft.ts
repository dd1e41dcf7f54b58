// The data that a handler works on, and the text that it was made from. Whether anything changed is one comparison of texts; what
// changed is told by texts too, so that no object of one request ever gets into another's.
//
// Making the text to compare is the dearest part of a request that only reads. So the handler gets the data through a proxy of one
// level, which sees whether anything can have changed at all: something was written, or an object inside was handed out, whose
// changes nobody sees. Rejected: proxies all the way down (each object of the data would be two, and none equal to itself), and
// comparing member by member (as dear as the text).

import { committedError, endedError } from "./ended.ts"
import { mergeInto, type Rules } from "./merge.ts"
import { isObject, parseRecord, recordText, type SessionData, type SessionRecord, textUnlessSame } from "./record.ts"
import { refusePromise } from "./synchronous.ts"

/** A record under work. */
export class Draft implements ProxyHandler<SessionData> {
  record: SessionRecord
  /** The text it was made from, with what is on its way to the carrier already. */
  base: string
  /** Whether anything can differ from `base`. */
  #isSuspect = false
  #isClosed = false
  #view: SessionData | null = null

  constructor(record: SessionRecord, base: string) {
    this.record = record
    this.base = base
  }

  /** The data for the handler: what it does to this, it does to the record's. */
  get view(): SessionData {
    return (this.#view ??= new Proxy(this.record.data, this))
  }

  /** Whether anything can differ from `base`. */
  get isSuspect(): boolean {
    return this.#isSuspect
  }

  /** Whether the view refuses changes, since nobody would write them any more. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Refuses changes through the view from now on. */
  close(): void {
    this.#isClosed = true
  }

  /** Puts other data in place of the record's. */
  replace(data: SessionData): void {
    this.record.data = data
    this.#isSuspect = true
    this.#view = null
  }

  /** @internal what the view does when it is read */
  get(data: SessionData, name: string): unknown {
    const value = data[name]
    if (typeof value === "object" && value !== null) this.#isSuspect = true
    return value
  }

  /** @internal */
  getOwnPropertyDescriptor(data: SessionData, name: string): PropertyDescriptor | undefined {
    this.#isSuspect = true // it holds the value
    return Reflect.getOwnPropertyDescriptor(data, name)
  }

  /** @internal what the view does when it is changed */
  set(data: SessionData, name: string, value: unknown): boolean {
    this.#change()
    return Reflect.set(data, name, value)
  }

  /** @internal */
  deleteProperty(data: SessionData, name: string): boolean {
    this.#change()
    return Reflect.deleteProperty(data, name)
  }

  /** @internal */
  defineProperty(data: SessionData, name: string, descriptor: PropertyDescriptor): boolean {
    this.#change()
    return Reflect.defineProperty(data, name, descriptor)
  }

  #change(): void {
    if (this.#isClosed) throw committedError()
    this.#isSuspect = true
  }
}

/** The text to write, or null when nothing changed. */
export function changedText({ record, base, isSuspect }: Draft): string | null {
  return isSuspect ? textUnlessSame(record, base) : null
}

/**
 * Puts the change from `base` to `mine` on a newer text.
 *
 * @throws CoatcheckError `conflict` by a rule; `ended` when the newer text is no session record.
 */
export function mergeText(
  newer: string,
  base: string,
  mine: string,
  rules: Rules,
  onConflict: (keys: string[]) => void,
): string {
  if (newer === base) return mine
  const theirs = parsed(newer)
  const conflicts = mergeInto(theirs.data, parsed(base).data, parsed(mine).data, rules)
  if (conflicts.length > 0) onConflict(conflicts)
  return recordText(theirs)
}

/**
 * Runs a change of the application on a copy of the text's data.
 *
 * @throws TypeError when it returns a promise; whatever it throws.
 */
export function applyChange(text: string, change: (data: SessionData) => unknown): SessionRecord {
  const record = parsed(text)
  refusePromise(change(record.data), "update")
  return record
}

/** A change in two parts, and what the second one threw when it was applied last. */
export interface TwoParts {
  apply(newer: string): string
  readonly thrown: readonly unknown[]
}

/**
 * What a handler changed by itself, then an update. The first part stays when the second one throws; when the first one does,
 * `failed` is told before anything else is put on the same text.
 */
export function ownThenUpdate(
  own: (newer: string) => string,
  change: (data: SessionData) => unknown,
  failed: (error: unknown) => void,
): TwoParts {
  let thrown: readonly unknown[] = []
  return {
    apply: (newer) => {
      const text = tried(() => own(newer), failed)
      try {
        thrown = []
        return recordText(applyChange(text, change))
      } catch (error) {
        thrown = [error]
        return text
      }
    },
    get thrown() {
      return thrown
    },
  }
}

/**
 * Puts a copy of a value in place of a draft's data: an object that the application hands to several requests stays its own.
 *
 * @throws TypeError when it is no object; CoatcheckError `invalid` when it is not JSON.
 */
export function replaceData(draft: Draft, value: unknown): void {
  const copy = isObject(value) ? parseRecord(recordText({ ...draft.record, data: value })) : null
  if (!copy) throw new TypeError("session data must be an object of JSON values")
  draft.replace(copy.data)
}

/**
 * Brings a draft to a newer text, in place, so that references to its data stay good, and references to lists and objects inside it
 * that stay the same. What the handler changed since `base` is put on the newer data by the same rules as in a commit.
 *
 * @throws what `mergeText` throws; the draft is as it was then.
 */
export function rebase(draft: Draft, newer: string, rules: Rules, onConflict: (keys: string[]) => void): void {
  const mine = changedText(draft)
  const theirs = parsed(mine === null ? newer : mergeText(newer, draft.base, mine, rules, onConflict))
  const { data } = draft.record
  const before = draft.isSuspect ? { ...data } : {} // else nothing inside was handed out
  // All keys anew, in the order of the newer text, for texts are compared as a whole.
  for (const key of Object.keys(data)) delete data[key]
  for (const [key, value] of Object.entries(theirs.data)) data[key] = sameInside(before[key], value) ?? value
  draft.record = { ...theirs, data }
  draft.base = newer
}

/** A view of data that can be read, and says by `refusal()` why it can't be changed. */
export function sealed(data: SessionData, refusal: () => Error): SessionData {
  const refuse = (): never => {
    throw refusal()
  }
  // Over a copy of the top level, for a proxy may show nothing but the real members of a frozen object.
  const bare: object = Array.isArray(data)
    ? []
    : (Object.create(Object.getPrototypeOf(data) as object | null) as object)
  const copy = Object.assign(bare, data)
  return new Proxy(copy, {
    set: refuse,
    deleteProperty: refuse,
    defineProperty: refuse,
    setPrototypeOf: refuse,
    get(target, key) {
      const value: unknown = Reflect.get(target, key)
      return typeof value === "object" && value !== null ? sealed(value as SessionData, refusal) : value // lists are sealed alike
    },
  })
}

/** The first of two values, where it is an object of the same text: the handler may hold it. */
function sameInside(held: unknown, value: unknown): unknown {
  const isInside = typeof held === "object" && held !== null && typeof value === "object"
  return isInside && JSON.stringify(held) === JSON.stringify(value) ? held : null
}

function tried<T>(run: () => T, failed: (error: unknown) => void): T {
  try {
    return run()
  } catch (error) {
    failed(error)
    throw error
  }
}

// Texts that reach this were records when they were read; another process may have put something else there since.
function parsed(text: string): SessionRecord {
  const record = parseRecord(text)
  if (!record) throw endedError()
  return record
}
