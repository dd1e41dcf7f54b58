// Changing the newest data exactly: a function is put on whatever stands in the store, as often as it takes, with what the handler
// has changed by itself before it. All this is one write, which updates of other requests in this process share.

import { applyChange, changedText, type Draft, ownThenUpdate } from "./draft.ts"
import { committedError, endedError } from "./ended.ts"
import { recordText, type SessionData } from "./record.ts"
import type { SessionState } from "./session-state.ts"
import { follow, nothingUnderWay } from "./turns.ts"

const ignore = (): void => {}

/** Changes the newest data. `isLate`: the reply's headers have left. */
export async function update(
  session: SessionState,
  onData: (data: SessionData) => unknown,
  isLate: boolean,
): Promise<void> {
  while (session.creating) await session.creating
  session.refuseEnd()
  const draft = session.read()
  const isNew = session.state === "new"
  if (isLate && (isNew || !session.policy.carrier.afterReply)) throw committedError()
  if (!isNew) return updateLive(session, draft, isLate ? null : changedText(draft), onData)
  const mine = recordText(draft.record)
  const creation = session.create(draft, applyChange(mine, onData), mine)
  session.creating = creation.then(ignore, ignore)
  try {
    await creation
  } finally {
    session.creating = null
  }
}

/** An update, with what the handler changed before it, in one write: own changes first, and kept even when `onData` throws. */
async function updateLive(
  session: SessionState,
  draft: Draft,
  mine: string | null,
  onData: (data: SessionData) => unknown,
): Promise<void> {
  const { base } = draft
  if (mine === null) return write(session, (text) => recordText(applyChange(text, onData)))
  draft.base = mine
  const fail = (error: unknown): void => {
    session.failure ??= { error }
  }
  const change = ownThenUpdate((newer) => session.merge(newer, base, mine), onData, fail)
  try {
    await write(session, change.apply)
  } catch (error) {
    fail(error)
    throw error
  }
  if (change.thrown.length > 0) throw change.thrown[0]
}

async function write(session: SessionState, apply: (text: string) => string): Promise<void> {
  const kept = session.kept
  if (!kept) throw endedError()
  await follow((session.writes ??= nothingUnderWay()), session.carry(kept, session.changeOf(apply)), () =>
    session.catchUp(),
  )
}
