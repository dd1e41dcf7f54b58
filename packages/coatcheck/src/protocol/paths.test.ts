import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { keyPath, listPath, parseListQuery, paths, recordPath, route } from "./paths.ts"

const key = fc.string({ unit: "grapheme", minLength: 1 })

describe("paths", () => {
  it("K11: any key makes the round trip through a path of either wire", () => {
    const named = [
      "a/b",
      "a?b",
      "a#b",
      "a%b",
      "k y",
      "ünï",
      "..",
      ".",
      "__proto__",
      "keys",
      "-/x",
      "-/v1/records/x",
      "-/health",
      "%2E%2E",
      "/lead",
      "a/../b",
    ]
    for (const name of named) {
      expect(route(recordPath(name)), name).toEqual({ kind: "record", key: name })
      expect(route(keyPath(name)), name).toEqual({ kind: "key", key: name })
    }
    fc.assert(
      fc.property(key, (name) => {
        expect(route(recordPath(name))).toEqual({ kind: "record", key: name })
        expect(route(keyPath(name))).toEqual({ kind: "key", key: name })
      }),
    )
  })

  it("K11: a path is ASCII that node:http sends as it is, and holds one segment", () => {
    fc.assert(
      fc.property(key, (name) => {
        expect(keyPath(name)).toMatch(/^\/[\w.!~*'()%-]+$/)
      }),
    )
  })

  it("KVS-11: decodes exactly once and normalises nothing", () => {
    expect(route("/-/v1/records/%252e%252e")).toEqual({ kind: "record", key: "%2e%2e" })
    expect(route("/-/v1/records/a/../b")).toEqual({ kind: "record", key: "a/../b" })
    expect(route("/-/v1/records/..%2f..%2fetc")).toEqual({ kind: "record", key: "../../etc" })
    expect(route("/..")).toEqual({ kind: "key", key: ".." })
    expect(route("/%2E%2E")).toEqual({ kind: "key", key: ".." })
    expect(route("/a/../-/health")).toEqual({ kind: "key", key: "a/../-/health" })
  })

  it("takes the slashes that joined URLs put before a classic key for what they are", () => {
    expect(route("//foo")).toEqual({ kind: "key", key: "foo" })
    expect(route("//")).toEqual({ kind: "root" })
    expect(route("/")).toEqual({ kind: "root" })
    expect(route("/a//b/")).toEqual({ kind: "key", key: "a//b/" })
  })

  it("reserves exactly what is documented, and by the raw path", () => {
    for (const [kind, path] of Object.entries(paths)) expect(route(path)).toEqual({ kind })
    expect(route("/-/console/app.js")).toEqual({ kind: "console" })
    expect(route("/-/v1")).toEqual({ kind: "nothing" })
    expect(route("/-/v1/other")).toEqual({ kind: "nothing" })
    expect(route("/-/x")).toEqual({ kind: "key", key: "-/x" })
    expect(route("/-/healthy")).toEqual({ kind: "key", key: "-/healthy" })
    expect(route("/-%2Fhealth")).toEqual({ kind: "key", key: "-/health" })
    expect(route("/-")).toEqual({ kind: "key", key: "-" })
  })

  it("KVS-11: refuses an empty key and what is no UTF-8", () => {
    for (const path of ["/-/v1/records/", "/%", "/%zz", "/%ff", "/-/v1/records/%c0%af", "/%ed%a0%80"]) {
      expect(() => route(path), path).toThrow(expect.objectContaining({ code: "invalid" }))
    }
    expect(() => recordPath("\ud800")).toThrow(expect.objectContaining({ code: "invalid" }))
  })
})

describe("the query of a listing", () => {
  it("K8: makes the round trip, patterns and all", () => {
    const query = fc.record(
      {
        prefix: fc.string({ unit: "grapheme", minLength: 1 }),
        owner: key,
        cursor: key,
        limit: fc.integer({ min: 1, max: 1_000 }),
        values: fc.constant(false),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(query, (asked) => {
        const path = listPath(asked)
        expect(path).toMatch(/^\/-\/v1\/records(\?[\x21-\x7e]+)?$/)
        expect(parseListQuery(path.slice(paths.records.length + 1))).toEqual(asked)
      }),
    )
    expect(listPath()).toBe(paths.records)
    expect(parseListQuery("prefix=100%&values=true")).toEqual({ prefix: "100%", values: true })
  })

  it("refuses what it does not know, instead of listing something else", () => {
    for (const search of ["limit=0", "limit=1001", "limit=1e2", "limit=", "values=no", "lmit=5", "owner=a&owner=b"]) {
      expect(() => parseListQuery(search), search).toThrow(expect.objectContaining({ code: "invalid" }))
    }
  })
})
