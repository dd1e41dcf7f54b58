import { inspect } from "node:util"
import { describe, expect, it } from "vitest"
import { connectFailure, endsConnection, statementFailure } from "./errors.ts"

const said = (code: string | undefined): Error => Object.assign(new Error("what the server says"), { code })
const codesOf = (wrote: boolean, ...states: (string | undefined)[]): string[] =>
  states.map((state) => statementFailure(said(state), wrote).code)

describe("what errors of Postgres mean", () => {
  it("REL-04: what the server refused did not happen, whatever it was", () => {
    // serialisation, deadlock, lock, cancelled by the time-out, read-only, too many connections, no table, a constraint
    const refused = ["40001", "40P01", "55P03", "57014", "25006", "53300", "42P01", "23514", "XX000", "58030"]
    for (const wrote of [true, false]) {
      expect(new Set(codesOf(wrote, ...refused))).toEqual(new Set(["unavailable"]))
      expect(codesOf(wrote, "53100", "42501", "28000", "28P01", "XX001", "XX002")).toEqual([
        "full",
        "denied",
        "denied",
        "denied",
        "corrupt",
        "corrupt",
      ])
      expect(new Set(codesOf(wrote, "22P02", "22021", "22P05", "54001"))).toEqual(new Set(["invalid"]))
    }
  })

  it("REL-04: what ended the connection leaves a write unknown, and a read to be tried again", () => {
    const ends = ["57P01", "57P02", "57P04", "08006", "08P01", undefined, "ECONNRESET", "EPIPE"]
    expect(new Set(codesOf(true, ...ends))).toEqual(new Set(["unknown-outcome"]))
    expect(new Set(codesOf(false, ...ends))).toEqual(new Set(["unavailable"]))
    expect(ends.every((state) => endsConnection(said(state)))).toBe(true)
    expect(["40001", "57014", "53100"].some((state) => endsConnection(said(state)))).toBe(false)
    for (const odd of [null, undefined, "gone", 7, { code: 7 }]) {
      expect(statementFailure(odd, true)).toMatchObject({ code: "unknown-outcome", cause: odd })
    }
  })

  it("nothing of a row or a value that the server quotes is in the cause, which is logged with the error", () => {
    const data = { detail: "Failing row contains (k, hunter2).", where: 'JSON data, line 1: {"card": hunter2...' }
    const error = statementFailure(Object.assign(said("22P02"), data), true)
    expect(inspect(error)).not.toContain("hunter2")
    expect(error.cause).toMatchObject({ message: "what the server says", code: "22P02" })
  })

  it("REL-03: without a connection nothing happened; only refused credentials are worth no second try", () => {
    const codes = [undefined, "ECONNREFUSED", "57P03", "53300", "3D000"].map((code) => connectFailure(said(code)).code)
    expect(new Set(codes)).toEqual(new Set(["unavailable"]))
    expect(connectFailure(said("28P01"))).toMatchObject({ code: "denied", retryable: false })
  })

  it("a statement that a pooler lost says what to set", () => {
    for (const state of ["26000", "42P05"]) {
      expect(statementFailure(said(state), true)).toMatchObject({
        code: "unavailable",
        message: expect.stringContaining("prepare: false"),
      })
    }
  })
})
