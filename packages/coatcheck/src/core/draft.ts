// The data that a handler works on, and the text that it was made from. Whether anything changed is one comparison of texts; what
// changed is told by texts too, so that no object of one request ever gets into another's.

import { endedError } from "./ended.ts"
import { mergeInto, type Rules } from "./merge.ts"
import { isObject, parseRecord, recordText, type SessionData, type SessionRecord, textUnlessSame } from "./record.ts"
import { refusePromise } from "./synchronous.ts"

/** A record under work. */
export interface Draft {
  record: SessionRecord
  /** The text it was made from, with what is on its way to the carrier already. */
  base: string
}

/** The text to write, or null when nothing changed. */
export function changedText({ record, base }: Draft): string | null {
  return textUnlessSame(record, base)
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
  draft.record.data = copy.data
}

/**
 * Brings a draft to a newer text, in place, so that references to its data stay good. What the handler changed since `base` is
 * put on the newer data by the same rules as in a commit.
 *
 * @throws what `mergeText` throws; the draft is as it was then.
 */
export function rebase(draft: Draft, newer: string, rules: Rules, onConflict: (keys: string[]) => void): void {
  const mine = changedText(draft)
  const theirs = parsed(mine === null ? newer : mergeText(newer, draft.base, mine, rules, onConflict))
  const { data } = draft.record
  // All keys anew, in the order of the newer text, for texts are compared as a whole.
  for (const key of Object.keys(data)) delete data[key]
  draft.record = { ...theirs, data: Object.assign(data, theirs.data) }
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
