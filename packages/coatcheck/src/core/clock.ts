// Time as a parameter. This is the one file of the core that touches the real clock; everything else is handed a Clock, and tests
// hand in one that they move by hand (fakeClock in ../testing).

/** Where time comes from. */
export interface Clock {
  /** Epoch milliseconds, whole. */
  now(): number
  /** Resolves after so many milliseconds. `signal`: nobody waits any more, so that no timer need hold a process; it may be ignored. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: Date.now,
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      signal?.addEventListener("abort", () => {
        clearTimeout(timer)
        resolve()
      })
    }),
}

/** Milliseconds as a number, or a whole number with a unit: "500ms", "30s", "30m", "12h", "7d". */
export type Duration = number | `${number}${"ms" | "s" | "m" | "h" | "d"}`

const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/**
 * Milliseconds of a duration.
 *
 * @throws TypeError when it is not a positive whole number of milliseconds of at most ten years, naming `what`.
 */
export function milliseconds(duration: Duration, what: string): number {
  const match = typeof duration === "string" ? /^(\d+)(ms|s|m|h|d)$/.exec(duration) : null
  const ms = match ? Number(match[1]) * units[match[2] as keyof typeof units] : duration // the pattern allows only those units
  if (typeof ms !== "number" || !Number.isSafeInteger(ms) || ms < 1 || ms > 3_650 * units.d) {
    throw new TypeError(`${what} must be a duration such as "30m", "12h" or "7d" (at most ten years)`)
  }
  return ms
}
