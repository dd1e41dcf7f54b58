// When a session ends: after it was idle for so long, and at its absolute end whatever happens. Pure functions of times; the end
// that a store keeps with an entry is the nearer of the two.
//
// An end moves only when a touch is due, which is when more than a tenth of the idle time has passed since it last moved: a page
// that is read ten times a second writes once in three minutes. A clock that jumps back makes no touch due and lengthens no life.

import { type Duration, milliseconds } from "./clock.ts"

/** How long sessions live, in ms. */
export interface Lifetime {
  /** Ends a session that nobody used for so long; null: idleness ends nothing. */
  readonly idle: number | null
  /** Ends even a session in use, counted from its creation. */
  readonly absolute: number
}

/** Limits of NIST SP 800-63B-4 for each authenticator assurance level (clauses 2.1.3, 2.2.3, 2.3.3). */
export type Preset = "aal1" | "aal2" | "aal3"

const presets: Record<Preset, { idle: Duration | null; absolute: Duration }> = {
  aal1: { idle: null, absolute: "30d" },
  aal2: { idle: "1h", absolute: "24h" },
  aal3: { idle: "15m", absolute: "12h" },
}

/**
 * Lifetime from settings. Without any: 30 minutes idle, 12 hours in all. `idle` and `absolute` win over the preset.
 *
 * @throws TypeError for durations that are none, an idle time longer than the absolute one, or an unknown preset.
 */
export function lifetime(settings: { idle?: Duration | null; absolute?: Duration; preset?: Preset }): Lifetime {
  if (settings.preset !== undefined && !Object.hasOwn(presets, settings.preset)) {
    throw new TypeError(`preset must be one of ${Object.keys(presets).join(", ")}`)
  }
  const preset = settings.preset ? presets[settings.preset] : { idle: "30m" as const, absolute: "12h" as const }
  const absolute = milliseconds(settings.absolute ?? preset.absolute, "absolute")
  const chosen = settings.idle === undefined ? preset.idle : settings.idle
  if (chosen === null) return { idle: null, absolute }
  const idle = milliseconds(chosen, "idle")
  if (settings.idle !== undefined && idle > absolute) throw new TypeError("idle must not be longer than absolute")
  return { idle: Math.min(idle, absolute), absolute }
}

/** The end of a session used at `now` whose absolute end is `ends`. */
export function endOf(now: number, ends: number, idle: number | null): number {
  return idle === null ? ends : Math.min(now + idle, ends)
}

/** Whether a session used at `now` could have its stored end moved by enough to be worth a write, looking at idleness alone. */
export function mayNeedTouch(now: number, expiresAt: number | null, idle: number | null): boolean {
  return idle !== null && (expiresAt === null || now + idle - expiresAt > idle / 10)
}

/** The end to store for a session used at `now`; null: the stored one is near enough. */
export function renewedEnd(now: number, expiresAt: number | null, ends: number, idle: number | null): number | null {
  const end = endOf(now, ends, idle)
  if (expiresAt === null) return end
  return end - expiresAt > (idle ?? 0) / 10 ? end : null
}
