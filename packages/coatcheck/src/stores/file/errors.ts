// What the errors of the file system mean for a call. Everything before the rename changes nothing, so a full disk is `full`, a
// missing right is `denied`, and the rest is `unavailable`. A rename that fails with an I/O error, or a folder that can't be synced
// after it, leaves a doubt: the new record is in its place, or may be, and nobody knows whether it stays there.

import { CoatcheckError } from "../../errors.ts"

/** `info.name` of the store. */
export const FILE = "file"

/** The code of a file system's error; "" when it is none. */
export function errno(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown }
  return typeof code === "string" ? code : ""
}

/** Whether there is nothing at the path that a call was for. */
export function isMissing(error: unknown): boolean {
  return errno(error) === "ENOENT"
}

/** Our error for one of a call that changed nothing. Errors of ours are handed on. */
export function failure(verb: string, error: unknown): CoatcheckError {
  if (error instanceof CoatcheckError) return error
  const { code, advice } = meaning(errno(error))
  return new CoatcheckError(code, `The file store could not ${verb}: ${advice}`, { cause: error })
}

/** Our error for one that came when the record may have been in its place already. */
export function doubt(cause: unknown): CoatcheckError {
  const message =
    "The file store could not make sure of a write: the disk failed while it was put in place; read before you write again, and check the disk"
  return new CoatcheckError("unknown-outcome", message, { cause })
}

function meaning(errno: string): { code: "full" | "denied" | "unavailable"; advice: string } {
  switch (errno) {
    case "ENOSPC":
    case "EDQUOT":
      return { code: "full", advice: "the disk is full; make room, nothing was changed" }
    case "EACCES":
    case "EPERM":
      return {
        code: "denied",
        advice: "this process may not; give it its folder (chown, chmod 700), nothing was changed",
      }
    case "EMFILE":
    case "ENFILE":
      return {
        code: "unavailable",
        advice: "too many files are open; raise the limit (ulimit -n), nothing was changed",
      }
    case "EROFS":
      return { code: "unavailable", advice: "the disk is read-only; nothing was changed" }
    case "ENOENT":
    case "ENOTDIR":
      return { code: "unavailable", advice: "its folder is gone; bring it back, nothing was changed" }
    default:
      return { code: "unavailable", advice: "nothing was changed; see the cause, and try again" }
  }
}
