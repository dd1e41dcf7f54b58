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

/** By the first word of the server's text. */
const codes: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  OOM: ["full", "the server's memory is full; raise maxmemory"],
  MISCONF: ["unavailable", "the server can't save to disk and takes no writes; see its log"],
  LOADING: ["unavailable", "the server is loading its data"],
  BUSY: ["unavailable", "the server is busy with a script"],
  MASTERDOWN: ["unavailable", "the server has lost its primary"],
  READONLY: ["unavailable", "the server is a replica now"],
  NOREPLICAS: ["unavailable", "too few replicas follow the primary (min-replicas-to-write)"],
  CLUSTERDOWN: ["unavailable", "the cluster is down"],
  TRYAGAIN: ["unavailable", "the cluster is moving the key"],
  MOVED: ["unavailable", "the cluster has moved the key"],
  ASK: ["unavailable", "the cluster is moving the key"],
  UNKILLABLE: ["unavailable", "the server is busy with a script"],
  WRONGTYPE: ["corrupt", "under a name of the store's stands data of another kind; give the store a prefix of its own"],
  NOAUTH: ["denied", "the server asks for a password"],
  WRONGPASS: ["denied", "the server refused user or password"],
  NOPERM: ["denied", "the user may not use a command or key that the store needs; see the store's page for the rules"],
}

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
  const known = codes[word]
  if (known !== undefined) {
    const [code, why] = known
    return { error: refused(code, why, error), again: code === "unavailable" }
  }
  if (error.message.startsWith("ERR max number of clients")) {
    return {
      error: refused("unavailable", "the server takes no more connections; raise maxclients", error),
      again: true,
    }
  }
  if (/unknown (sub)?command/i.test(error.message)) {
    return {
      error: refused("unsupported", "the server lacks a command; it takes Redis 7 or Valkey 8", error),
      again: false,
    }
  }
  return { error: refused("unavailable", "the server refused the command; see the cause", error), again: false }
}

/** Of a call whose deadline has come. `sent`: a write that may have arrived. */
export function overdue(sent: boolean): CoatcheckError {
  if (sent) return unknown("no answer came within the deadline")
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

function refused(code: ErrorCode, why: string, cause: unknown): CoatcheckError {
  return new CoatcheckError(code, `The redis store changed nothing: ${why}`, { cause })
}
