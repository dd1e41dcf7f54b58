import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { endOf, type Lifetime, lifetime, mayNeedTouch, type Preset, renewedEnd } from "./expiry.ts"

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

describe("TMO-01: two limits", () => {
  it("are 30 minutes idle and 12 hours in all, unless something else is said", () => {
    expect(lifetime({})).toEqual({ idle: 30 * minute, absolute: 12 * hour })
  })

  const presets: [Preset, Lifetime][] = [
    ["aal1", { idle: null, absolute: 30 * day }],
    ["aal2", { idle: hour, absolute: day }],
    ["aal3", { idle: 15 * minute, absolute: 12 * hour }],
  ]
  for (const [preset, limits] of presets) {
    it(`preset ${preset} has the numbers of SP 800-63B-4`, () => expect(lifetime({ preset })).toEqual(limits))
  }

  it("settings win over the preset, also none at all", () => {
    expect(lifetime({ preset: "aal2", idle: "5m" })).toEqual({ idle: 5 * minute, absolute: day })
    expect(lifetime({ preset: "aal2", absolute: "2h" })).toEqual({ idle: hour, absolute: 2 * hour })
    expect(lifetime({ preset: "aal2", idle: null })).toEqual({ idle: null, absolute: day })
    expect(lifetime({ preset: "aal1", idle: 5 })).toEqual({ idle: 5, absolute: 30 * day })
  })

  it("an absolute limit under the default idle one is the idle one too", () => {
    expect(lifetime({ absolute: "10m" })).toEqual({ idle: 10 * minute, absolute: 10 * minute })
  })

  it("contradictions and what is no duration are refused", () => {
    expect(() => lifetime({ idle: "2h", absolute: "1h" })).toThrow(/idle/)
    expect(() => lifetime({ preset: "aal4" as never })).toThrow(/aal1, aal2, aal3/)
    expect(() => lifetime({ preset: "toString" as never })).toThrow(TypeError)
    for (const wrong of [
      "",
      "30",
      "30 m",
      "m",
      "-1m",
      "1.5h",
      "1w",
      0,
      -1,
      1.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      "3651d",
      {},
      true,
    ]) {
      expect(() => lifetime({ idle: wrong as never })).toThrow(/idle must be a duration/)
      expect(() => lifetime({ absolute: wrong as never })).toThrow(/absolute must be a duration/)
    }
  })
})

/** A session that is used at these times: when it ended, and how often its end was written. */
function live(limits: Lifetime, uses: readonly number[]): { end: number; writes: number; ends: readonly number[] } {
  const ends = [endOf(0, limits.absolute, limits.idle)]
  for (const now of uses) {
    const current = ends.at(-1)!
    if (now >= current) break
    if (!mayNeedTouch(now, current, limits.idle)) continue
    const renewed = renewedEnd(now, current, limits.absolute, limits.idle)
    if (renewed !== null) ends.push(renewed)
  }
  return { end: ends.at(-1)!, writes: ends.length - 1, ends }
}

const everyMinute = (minutes: number): number[] => Array.from({ length: minutes }, (_, i) => (i + 1) * minute)

describe("S7: how long a session lives", () => {
  it("TMO-01: unused it ends with its idle time: alive after 59 minutes, dead after 61", () => {
    const { end } = live(lifetime({ preset: "aal2" }), [])
    expect(end).toBe(hour)
  })

  it("TMO-01: in use it goes on, and ends with its absolute time all the same", () => {
    for (const preset of ["aal2", "aal3"] as const) {
      const limits = lifetime({ preset })
      const { end } = live(limits, everyMinute(25 * 60))
      expect(end).toBeLessThanOrEqual(limits.absolute)
      // The last move of the end is left out when it would be too small to be worth a write.
      expect(end).toBeGreaterThanOrEqual(limits.absolute - limits.idle! / 10)
    }
  })

  it("without an idle limit it is written once and lives to the absolute end", () => {
    expect(live(lifetime({ preset: "aal1" }), everyMinute(60))).toMatchObject({ end: 30 * day, writes: 0 })
  })

  it("S4: in use it is touched at most once in a tenth of the idle time", () => {
    // 30 minutes idle: due when more than 3 minutes have gone, so every fourth minute.
    expect(live(lifetime({}), everyMinute(60)).writes).toBe(15)
    const often = Array.from({ length: 3_600 }, (_, i) => (i + 1) * 1_000)
    expect(live(lifetime({}), often).writes).toBe(Math.floor(3_600 / 181))
  })

  const limits = fc
    .tuple(fc.option(fc.integer({ min: 1, max: 1_000 })), fc.integer({ min: 1, max: 10_000 }))
    .map(([idle, absolute]): Lifetime => ({ idle: idle === null ? null : Math.min(idle, absolute), absolute }))
  const uses = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 60 }).map((gaps) => {
    let now = 0
    return gaps.map((gap) => (now += gap))
  })

  it("TMO-02: no use ever moves the end beyond the absolute one, and no end moves back", () => {
    fc.assert(
      fc.property(limits, uses, (lifetime, times) => {
        const { ends } = live(lifetime, times)
        expect(Math.max(...ends)).toBeLessThanOrEqual(lifetime.absolute)
        expect(ends).toEqual(ends.toSorted((a, b) => a - b))
      }),
    )
  })

  it("is never shorter than nine tenths of the idle time after its last use, unless the absolute end comes first", () => {
    fc.assert(
      fc.property(limits, uses, (lifetime, times) => {
        const { end } = live(lifetime, times)
        const alive = times.filter((now) => now < end)
        const last = alive.at(-1) ?? 0
        const idle = lifetime.idle ?? Number.POSITIVE_INFINITY
        expect(end).toBeGreaterThanOrEqual(
          Math.min(last + idle * 0.9, lifetime.absolute - idle / 10, lifetime.absolute),
        )
        expect(end).toBeLessThanOrEqual(Math.min(last + idle, lifetime.absolute))
      }),
    )
  })

  it("TMO-04: a clock that jumps back makes no touch due and moves no end", () => {
    fc.assert(
      fc.property(
        limits,
        fc.integer({ min: 0, max: 100_000 }),
        fc.integer({ min: 0, max: 100_000 }),
        (lifetime, now, back) => {
          const stored = endOf(now, now + lifetime.absolute, lifetime.idle)
          expect(mayNeedTouch(now - back, stored, lifetime.idle)).toBe(false)
          expect(renewedEnd(now - back, stored, now + lifetime.absolute, lifetime.idle)).toBe(null)
        },
      ),
    )
  })

  it("the quick look never misses a touch that is due", () => {
    fc.assert(
      fc.property(
        limits,
        fc.integer({ min: 0, max: 10_000 }),
        fc.integer({ min: 0, max: 11_000 }),
        (lifetime, now, stored) => {
          fc.pre(lifetime.idle !== null)
          const end = renewedEnd(now, stored, lifetime.absolute, lifetime.idle)
          if (end !== null) expect(mayNeedTouch(now, stored, lifetime.idle)).toBe(true)
        },
      ),
    )
  })

  it("an end that somebody took away is put back", () => {
    expect(mayNeedTouch(5, null, 10)).toBe(true)
    expect(renewedEnd(5, null, 100, 10)).toBe(15)
    expect(renewedEnd(95, null, 100, 10)).toBe(100)
    expect(renewedEnd(5, null, 100, null)).toBe(100)
  })
})
