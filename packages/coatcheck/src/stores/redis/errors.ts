// What a driver's error means for a call. One question decides: may the write have happened? The server's own errors say no: our scripts
// write by their last command or not at all. So does a command that never left. Everything else is an unknown outcome for a write,
// and for a read, which may simply be asked again, an unavailable store.

import { CoatcheckError, type ErrorCode } from "../../errors.ts"
import { RedisLinkError, RedisReplyError } from "./connection.ts"

/** What became of one attempt of a call. */
export interface Verdict {
  readonly error: CoatcheckError
  /** Nothing happened, and it may be otherwise in a moment: the same call may be sent again. */
  readonly again: boolean
}

type Meaning = readonly [code: ErrorCode, why: string, again?: "again"]

/** By the first word of the server's text; what may be over in a moment is sent again. */
const meanings: Readonly<Record<string, Meaning>> = {
  OOM: ["full", "the server's memory is full; raise maxmemory"],
  MISCONF: ["unavailable", "the server can't save to disk and takes no writes; see its log"],
  LOADING: ["unavailable", "the server is loading its data", "again"],
  BUSY: ["unavailable", "the server is busy with a script", "again"],
  UNKILLABLE: ["unavailable", "the server is busy with a script", "again"],
  MASTERDOWN: ["unavailable", "the server has lost its primary", "again"],
  READONLY: ["unavailable", "the server is a replica now", "again"],
  NOREPLICAS: ["unavailable", "too few replicas follow the primary (min-replicas-to-write)", "again"],
  CLUSTERDOWN: ["unavailable", "the cluster is down", "again"],
  TRYAGAIN: ["unavailable", "the cluster is moving the key", "again"],
  MOVED: ["unavailable", "the cluster has moved the key", "again"],
  ASK: ["unavailable", "the cluster is moving the key", "again"],
  WRONGTYPE: ["corrupt", "under a name of the store's stands data of another kind; give the store a prefix of its own"],
  NOAUTH: ["denied", "the server asks for a password"],
  WRONGPASS: ["denied", "the server refused user or password"],
  NOPERM: ["denied", "the user may not use a command or key that the store needs; see the store's page for the rules"],
}

/** By more of it, where the first word is ERR. */
const others: readonly (readonly [pattern: RegExp, meaning: Meaning])[] = [
  [/max number of clients/, ["unavailable", "the server takes no more connections; raise maxclients", "again"]],
  [/unknown (sub)?command/i, ["unsupported", "the server lacks a command; it takes Redis 7 or Valkey 8"]],
]

/** Of an attempt that was rejected. `once`: it may have changed something, and must not be repeated blindly. */
export function judge(error: unknown, once: boolean): Verdict {
  if (error instanceof CoatcheckError) return { error, again: false }
  if (error instanceof RedisReplyError) return judgeReply(error)
  if (error instanceof RedisLinkError && !error.sent) {
    const message = "The redis store is not connected: see that the server runs; nothing was changed"
    return { error: new CoatcheckError("unavailable", message, { cause: error }), again: true }
  }
  if (once) return { error: unknown("the connection was lost", error), again: false }
  const message = "The redis store lost its connection before an answer came: try again"
  return { error: new CoatcheckError("unavailable", message, { cause: error }), again: true }
}

function judgeReply(error: RedisReplyError): Verdict {
  const word = /^[A-Z]+/.exec(error.message)?.[0] ?? ""
  const more = others.find(([pattern]) => pattern.test(error.message))?.[1]
  const [code, why, again] = meanings[word] ?? more ?? ["unavailable", "the server refused the command; see the cause"]
  // A server that does not know a command repeats its arguments, which are data.
  const text = error.message.replace(/,? with args beginning with.*/s, "")
  const cause = text === error.message ? error : new RedisReplyError(text)
  const message = `The redis store changed nothing: ${why}`
  return { error: new CoatcheckError(code, message, { cause }), again: again !== undefined }
}

/** Of a call that left and whose deadline has come. `once`: it may have changed something. */
export function overdue(once: boolean): CoatcheckError {
  if (once) return unknown("no answer came within the deadline")
  return new CoatcheckError("unavailable", "The redis store did not answer within the deadline: try again, or raise it")
}

/** Of a call that finds too many under way. */
export function overloaded(): CoatcheckError {
  const message = "Too many calls wait for the redis store: it is too slow for what is asked of it; nothing was changed"
  return new CoatcheckError("unavailable", message)
}

/** Of a write that may have happened. */
export function unknown(why: string, cause?: unknown): CoatcheckError {
  const message = `The redis store can't tell whether the write happened (${why}): read before you write again`
  return new CoatcheckError("unknown-outcome", message, cause === undefined ? undefined : { cause })
}
