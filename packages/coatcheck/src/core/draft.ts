// The data that a handler works on, and the text that it was made from. Whether anything changed is one comparison of texts; what
// changed is told by texts too, so that no object of one request ever gets into another's.

import { endedError } from "./ended.ts"
import { mergeInto, type Rules } from "./merge.ts"
import { parseRecord, recordText, type SessionData, type SessionRecord, textUnlessSame } from "./record.ts"

/** A record under work. */
export interface Draft {
  readonly record: SessionRecord
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
export function applyChange(text: string, change: (data: SessionData) => unknown): string {
  const record = parsed(text)
  const result = change(record.data)
  if (isThenable(result)) {
    result.then(undefined, () => {})
    throw new TypeError("update takes a synchronous function: do what must be awaited before it")
  }
  return recordText(record)
}

/**
 * Brings a draft to a newer text, in place, so that references to its data stay good. What the handler changed since `base` is
 * put on the newer data.
 */
export function rebase(draft: Draft, newer: string, rules: Rules): void {
  const theirs = parsed(newer)
  const mine = changedText(draft)
  if (mine !== null)
    mergeInto(theirs.data, parsed(draft.base).data, parsed(mine).data, { of: rules.of, others: "mine" })
  const { data } = draft.record
  for (const key of Object.keys(data)) if (!Object.hasOwn(theirs.data, key)) delete data[key]
  Object.assign(data, theirs.data)
  draft.base = newer
}

/** A view of data that can be read, and says by `refusal()` why it can't be changed. */
export function sealed(data: SessionData, refusal: () => Error): SessionData {
  const refuse = (): never => {
    throw refusal()
  }
  return new Proxy(data, {
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

// Texts that reach this were records when they were read; another process may have put something else there since.
function parsed(text: string): SessionRecord {
  const record = parseRecord(text)
  if (!record) throw endedError()
  return record
}

function isThenable(value: unknown): value is { then(ok: undefined, failed: () => void): unknown } {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function"
}
