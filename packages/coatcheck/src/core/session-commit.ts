// The last operation of a session in a request: what changed goes to the carrier before the headers leave, and where nothing changed
// the session's end may move instead. What comes out is what the reply has to say of the cookie.

import { CoatcheckError } from "../errors.ts"
import type { Kept } from "./carrier.ts"
import { changedText, type Draft } from "./draft.ts"
import type { ReplyChange } from "./exchange.ts"
import { mayNeedTouch, renewedEnd } from "./expiry.ts"
import { replyWithout, unchanged } from "./policy.ts"
import type { SessionState } from "./session-state.ts"

/** The last operation: brings what changed to the carrier, and says what that means for the reply. */
export function finish(session: SessionState): ReplyChange | Promise<ReplyChange> {
  if (session.failure && session.state === "live") throw session.failure.error
  const draft = session.draft
  const text = draft && session.state !== "gone" ? changedText(draft) : null
  draft?.close() // a view that the handler still holds takes no changes that nobody will write
  switch (session.state) {
    case "opening":
    case "gone":
      return unchanged
    case "destroyed":
      return session.presented === null ? unchanged : replyWithout(session.policy, session.exchange.secure)
    case "new":
      return text === null || !draft
        ? unchanged
        : session.create(draft, draft.record, text).then(() => session.setCookie())
    case "live":
      return text === null || !draft ? touch(session) : commitText(session, draft, text)
  }
}

/** The last write of this request: nothing else of it is under way any more. */
async function commitText(session: SessionState, { base }: Draft, text: string): Promise<ReplyChange> {
  const kept = session.kept
  if (!kept) return unchanged
  try {
    await session.carry(
      kept,
      session.changeOf((newer) => session.merge(newer, base, text)),
    )
  } catch (error) {
    if (error instanceof CoatcheckError && error.code === "ended") return unchanged
    throw error
  }
  session.catchUp()
  session.policy.tell?.({ type: "committed", handle: session.handle ?? "", wrote: "record" })
  return session.setCookie()
}

function touch(session: SessionState): ReplyChange | Promise<ReplyChange> {
  const { clock, lifetime } = session.policy
  const kept = session.kept
  if (!kept) return unchanged
  const now = clock.now()
  if (!mayNeedTouch(now, kept.entry.expiresAt, lifetime.idle)) return session.setCookie()
  const { ends } = session.read().record
  const end = renewedEnd(now, kept.entry.expiresAt, ends, lifetime.idle)
  return end === null || session.state !== "live" ? session.setCookie() : touchNow(session, kept, end)
}

async function touchNow(session: SessionState, kept: Kept, end: number): Promise<ReplyChange> {
  const { carrier, tell } = session.policy
  try {
    await session.refuseRevoked(kept)
    const fate = await carrier.touch(kept, end)
    if (fate === "gone") {
      session.gone()
      return unchanged
    }
    session.kept = fate
    if (fate !== kept) tell?.({ type: "committed", handle: carrier.handle(fate), wrote: "end" })
  } catch (error) {
    if (session.state === "gone") return unchanged
    tell?.({ type: "touch-failed", handle: carrier.handle(kept), error })
  }
  return session.setCookie()
}
