// What changes which session it is: a new id, somebody who signs in under one, and the end. Each has the session to itself, and
// kills the old id in the store before anybody is told.

import { endedError } from "./ended.ts"
import { endOf } from "./expiry.ts"
import { isUnder } from "./marks.ts"
import { mustReachBrowser } from "./policy.ts"
import { keeping, recordText, signedInRecord } from "./record.ts"
import type { SessionState } from "./session-state.ts"

const nothing = async (): Promise<void> => {}

/** A new id for the session; the old one is dead. */
export async function rotate(session: SessionState): Promise<void> {
  session.refuseEnd()
  const draft = session.read()
  const kept = session.kept
  if (!kept) return
  const { carrier, tell } = session.policy
  const from = carrier.handle(kept)
  const { base } = draft
  const mine = recordText(draft.record)
  const change = session.changeOf((text) => session.merge(text, base, mine))
  // Who ends all of the owner's sessions may have listed them before the new one was there.
  const fate = await carrier.rotate(kept, change, null, () => session.refuseRevoked(kept))
  if (fate === "gone") {
    session.gone()
    throw endedError()
  }
  session.kept = fate
  draft.base = mine
  session.catchUp()
  tell?.({ type: "rotated", handle: carrier.handle(fate), from })
}

/** A session of this owner's under a new id, with nothing of the data but the keys to keep; the old session is dead. */
export async function signIn(session: SessionState, owner: string, keep: readonly string[]): Promise<void> {
  if (session.state === "destroyed") throw endedError()
  mustReachBrowser(session.policy, session.exchange)
  const { carrier, clock, lifetime, marks, tell } = session.policy
  const mark = marks && (await marks.read(owner))
  const draft = session.read()
  const { base } = draft
  const mine = recordText(draft.record)
  const begun = signedInRecord(clock.now(), lifetime.absolute, owner, mark)
  const expiresAt = endOf(begun.created, begun.ends, lifetime.idle)
  const old = session.state === "live" ? session.kept : null
  const alone = recordText(begun)
  const change = session.changeOf((text) => recordText(keeping(begun, session.merge(text, base, mine), keep)))
  const fate = old
    ? await carrier.rotate(old, change, { owner, expiresAt, alone }, nothing)
    : await carrier.create(session.state === "new" ? keeping(begun, mine, keep) : begun, expiresAt)
  if (fate === "gone") throw endedError()
  draft.base = mine
  session.kept = fate
  session.state = "live"
  session.catchUp()
  try {
    // Who ended all of the owner's sessions meanwhile may not have seen this one in the list.
    if (marks && !isUnder(await marks.read(owner), begun.marks.owner)) throw endedError()
  } catch (error) {
    await session.endRevoked(fate)
    throw error
  }
  tell?.({ type: "signed-in", handle: carrier.handle(fate), from: old && carrier.handle(old) })
}

/** Keeps a new session even without data, because something is bound to its id. */
export async function keep(session: SessionState): Promise<void> {
  while (session.creating) await session.creating
  session.refuseEnd()
  const draft = session.read()
  if (session.state === "new") await session.create(draft, draft.record, recordText(draft.record))
}

/** Ends the session. */
export async function end(session: SessionState): Promise<void> {
  if (session.state === "gone" || session.state === "destroyed") return
  const { carrier, tell } = session.policy
  if (session.kept) {
    const handle = carrier.handle(session.kept)
    if ((await carrier.remove(session.kept)) === "gone") {
      session.gone()
      return
    }
    tell?.({ type: "ended", handle, why: "destroyed" })
  }
  session.state = "destroyed"
  session.kept = null
  session.draft = null
}
