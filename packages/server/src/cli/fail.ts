// How a command ends badly: one clear line on stderr and an exit code, never a stack trace. Two classes tell the two codes apart;
// whatever else is thrown is turned into a line by `explain`, because a person at a terminal can't use a trace.

/** The command was called or set up wrongly, and nothing was begun: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError"
}

/** The command could not do its work: exit code 1. */
export class Failure extends Error {
  override readonly name = "Failure"
}

/** Exit codes of every command: 0 done, 1 it could not be done, 2 it was called wrongly. */
export const exitCodes = { done: 0, failed: 1, usage: 2 } as const

/** The exit code for what was thrown. */
export function exitCode(error: unknown): number {
  return error instanceof UsageError ? exitCodes.usage : exitCodes.failed
}

/** One line about what was thrown, without control characters. */
export function explain(error: unknown): string {
  const message = error instanceof Error && error.message !== "" ? error.message : String(error)
  return printable(message)
}

/**
 * A text that can't break a line or steer a terminal: control and format characters become spaces, the rest is cut at `length`
 * characters. For what others sent us.
 */
export function printable(text: string, length = 500): string {
  const flat = text.replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, " ").trim()
  return flat.length > length ? `${flat.slice(0, length)}…` : flat
}

/** The `code` of a system error (ECONNREFUSED, EADDRINUSE, …), its own or that of its causes; null: it has none. */
export function systemCode(error: unknown): string | null {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    if ("code" in at && typeof at.code === "string" && /^[A-Z][A-Z0-9_]+$/.test(at.code)) return at.code
  }
  return null
}
