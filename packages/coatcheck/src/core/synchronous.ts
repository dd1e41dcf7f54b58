// Changes of data are put on whatever stands in the store when their turn comes, as often as it takes, so they can't wait for
// anything. A function that is async by mistake would be called again and again, and its changes come after the write.

/**
 * Refuses what an async function returned. Its own failure is taken care of, so that it does not end the process.
 *
 * @param caller what was called, for the message.
 * @throws TypeError for a promise, or anything that has a `then`.
 */
export function refusePromise(result: unknown, caller: string): void {
  if (!isThenable(result)) return
  result.then(undefined, () => {})
  throw new TypeError(`${caller} takes a synchronous function: do what must be awaited before it`)
}

function isThenable(value: unknown): value is { then(ok: undefined, failed: () => void): unknown } {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function"
}
