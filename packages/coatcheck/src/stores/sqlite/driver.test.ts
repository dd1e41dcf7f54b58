import { afterEach, describe, expect, it, vi } from "vitest"
import { commitFailure, isLocked, loadSqlite, needsRollback, storeFailure } from "./driver.ts"

const missing = (): never => {
  throw new Error("Cannot find package")
}

describe("which SQLite", () => {
  afterEach(() => {
    vi.doUnmock("node:sqlite")
    vi.doUnmock("@photostructure/sqlite")
  })

  it("the runtime's own goes first, then the package", async () => {
    const made = (name: string) => () => ({
      DatabaseSync: class {
        readonly name = name
      },
    })
    vi.doMock("@photostructure/sqlite", made("package"))
    vi.doMock("node:sqlite", made("built in"))
    expect((await loadSqlite())("x.db", { readOnly: true })).toMatchObject({ name: "built in" })
    vi.doMock("node:sqlite", missing)
    expect((await loadSqlite())("x.db", { readOnly: true })).toMatchObject({ name: "package" })
  })

  it("P4: with neither, one line says what to install", async () => {
    vi.doMock("node:sqlite", missing)
    vi.doMock("@photostructure/sqlite", missing)
    await expect(loadSqlite()).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(/^SQLite needs .* npm install @photostructure\/sqlite$/),
    })
  })
})

describe("what SQLite's errors mean", () => {
  const error = (errcode: number | undefined, message = "") => Object.assign(new Error(message), { errcode })

  it("REL-03: a lock may be waited for, everything else has a code of ours", () => {
    for (const locked of [5, 261, 517, 6, 15]) expect(isLocked(error(locked))).toBe(true)
    for (const other of [0, 1, 8, 10, 11, 13, 26]) expect(isLocked(error(other))).toBe(false)
    expect(needsRollback(error(776))).toBe(true)
    expect([11, 267, 26, 13, 8, 10, 14, 1].map((code) => storeFailure(error(code), "read").code)).toEqual([
      "corrupt",
      "corrupt",
      "corrupt",
      "full",
      ...Array.from({ length: 4 }, () => "unavailable"),
    ])
    expect([13, 778, 1_034, 10, 5, 1].map((code) => commitFailure(error(code)).code)).toEqual([
      "full",
      "unavailable",
      ...Array.from({ length: 4 }, () => "unknown-outcome"),
    ])
  })

  it("the package says the extended code in a field of its own", () => {
    const said = (errcode: number, sqliteExtendedCode: number) => Object.assign(error(errcode), { sqliteExtendedCode })
    expect(needsRollback(said(8, 776))).toBe(true)
    expect(commitFailure(said(10, 778)).code).toBe("unavailable")
    expect(commitFailure(said(10, 1_034)).code).toBe("unknown-outcome")
  })

  it("errors without a code are known by SQLite's sentence", () => {
    expect(isLocked(error(undefined, "database is locked"))).toBe(true)
    expect(storeFailure(error(undefined, "database disk image is malformed"), "list").code).toBe("corrupt")
    expect(storeFailure(error(undefined, "database or disk is full"), "write").code).toBe("full")
    for (const other of [null, undefined, "database", error(undefined, "something else")]) {
      expect(storeFailure(other, "read")).toMatchObject({ code: "unavailable", cause: other })
    }
  })
})
