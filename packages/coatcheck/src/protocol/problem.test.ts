import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { CoatcheckError, errorCodes } from "../errors.ts"
import { codeOf, formatProblem, parseProblem, plainProblem, problemOf, statusOf } from "./problem.ts"

describe("problems", () => {
  it("ERR-01: every code has a problem that leads back to it", () => {
    for (const code of errorCodes) {
      const problem = problemOf(new CoatcheckError(code, "Do this"))
      const read = parseProblem(formatProblem(problem))
      expect(read).toEqual({
        type: `urn:coatcheck:error:${code}`,
        title: expect.any(String),
        status: statusOf(code),
        detail: "Do this",
      })
      expect(codeOf(problem)).toBe(code)
    }
  })

  it("ERR-01: an error that is not ours tells nothing of itself", () => {
    const problem = problemOf(new Error("password=hunter2 at /srv/app.js:3"))
    expect(problem.status).toBe(500)
    expect(formatProblem(problem)).not.toMatch(/hunter2|srv/)
    expect(codeOf(problem)).toBe(null)
  })

  it("a problem that is plain HTTP has no code of ours", () => {
    expect(codeOf(plainProblem(404, "Not Found", "There is nothing at this path"))).toBe(null)
    expect(codeOf({ ...plainProblem(500, "", ""), type: "urn:coatcheck:error:toString" })).toBe(null)
  })

  it("takes no rubbish for a problem, cuts long texts, and lets no line of a log be forged", () => {
    for (const text of [
      "",
      "<html>",
      "null",
      "[]",
      "{}",
      '{"status":"200"}',
      '{"status":99}',
      '{"status":400,"type":5}',
    ]) {
      expect(parseProblem(text), text).toBe(null)
    }
    expect(parseProblem(`{"status":400,"detail":"${"x".repeat(5_000)}"}`)?.detail).toHaveLength(300)
    const forged = String.raw`{"status":400,"detail":"so\r\nERROR it is \u001b[2J\u2028all"}`
    expect(parseProblem(forged)?.detail).toBe("so  ERROR it is  [2J all")
    fc.assert(fc.property(fc.string(), (text) => void parseProblem(text)))
  })
})
