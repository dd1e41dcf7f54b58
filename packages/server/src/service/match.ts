// If-Match where it names more than one version. The store decides conditions, but it knows one version only; so a `*`, or several
// tags, is turned into the version that stands there, read just before. Somebody else may write in between: then it is tried again
// on what stands there now, after a pause of random length, so that several services on one store don't run in step.
//
// Trying alone is not enough: of a hundred writers who read the same version one gets through a round, and the last would wait a
// hundred rounds of the disk. So writes that take any version stand in a chain: the service chooses the version that each of them
// will leave, and the next one names that, without waiting. The store takes them in order, in one transaction if it can. When one
// of a chain fails, those behind it fail too, and begin a new chain on what stands there. A queue was rejected: as many rounds.

import { setTimeout } from "node:timers/promises"
import { CoatcheckError, type DeleteOutcome, type Entry, type Outcome } from "coatcheck"
import { parseTags, strongMatch } from "coatcheck/protocol"
import type { Call } from "./call.ts"
import type { Setting } from "./options.ts"

// Somebody else's write went through each time, so there is no number of tries after which it is hopeless; but a client waits.
const patienceMs = 1_000
const longestPauseMs = 32
// A tag of another form is none of ours, and stands for nothing.
const versionForm = /^[\w-]{1,64}$/

/**
 * Does a conditional write under a version that If-Match accepts and that turns out to stand there.
 *
 * @param leaves the version that the write will leave, where it leaves one that is known before: then others may go on from it.
 * @throws CoatcheckError `conflict` when others were faster for a second; what the store throws.
 */
export async function onMatch<Result extends Outcome | DeleteOutcome>(
  { setting }: Call,
  key: string,
  match: string,
  write: (version: string) => Promise<Result>,
  leaves: string | null,
): Promise<Result | { readonly ok: false; readonly current: Entry | null }> {
  const condition = parseTags(match)
  const [tag, ...others] = condition
  if (typeof tag === "object" && others.length === 0 && !tag.weak && versionForm.test(tag.version)) {
    return write(tag.version)
  }
  const until = setting.now() + patienceMs
  let current = await setting.store.get(key)
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    if (current === null || !strongMatch(condition, current.version)) return { ok: false, current }
    const isChained = condition === "*" && leaves !== null
    const outcome = await (isChained ? inChain(setting, key, current.version, leaves, write) : write(current.version))
    if (outcome.ok) return outcome
    current = outcome.current
    if (setting.now() >= until) throw tooFast()
    await setTimeout(Math.random() * pauseMs)
  }
}

async function inChain<Result extends Outcome | DeleteOutcome>(
  { chains }: Setting,
  key: string,
  stands: string,
  leaves: string,
  write: (version: string) => Promise<Result>,
): Promise<Result> {
  const chain = chains.get(key) ?? { end: stands }
  const before = chain.end
  chain.end = leaves
  chains.set(key, chain)
  let isWritten = false
  try {
    const outcome = await write(before)
    isWritten = outcome.ok
    return outcome
  } finally {
    const isOver = !isWritten || chain.end === leaves // broken, or nobody is behind
    if (isOver && chains.get(key) === chain) chains.delete(key)
  }
}

function tooFast(): CoatcheckError {
  return new CoatcheckError("conflict", "The record changes too fast for this condition: name the version to replace")
}
