import { mkdtemp, rm, stat } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { StoreReport } from "../core/store.ts"
import { fakeClock } from "../testing/fake-clock.ts"
import { openStore } from "./open.ts"

let folder = ""
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "coatcheck-open-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe("openStore", () => {
  it("S2: the store is chosen by the URL alone", async () => {
    const urls = [
      "memory:",
      `sqlite:${join(folder, "a.db")}`,
      `sqlite://${join(folder, "b.db")}`,
      `file:${join(folder, "c")}`,
      `file://${join(folder, "d")}`,
      "http://127.0.0.1:1",
    ]
    const names: string[] = []
    for (const url of urls) {
      const store = await openStore(url)
      names.push(store.info.name)
      await store.close()
    }
    expect(names).toEqual(["memory", "sqlite", "sqlite", "file", "file", "http"])
    expect((await stat(join(folder, "b.db"))).isFile()).toBe(true)
    expect((await stat(join(folder, "d"))).isDirectory()).toBe(true)
  })

  it("hands parameters and options on, those of the URL first", async () => {
    const memory = await openStore("memory:?maxEntries=1&maxValueBytes=4", { maxValueBytes: 9, report: () => {} })
    await memory.set("a", "1234")
    await expect(memory.set("a", "12345")).rejects.toMatchObject({ code: "too-large" })
    await expect(memory.set("b", "1")).rejects.toMatchObject({ code: "full" })
    const sqlite = await openStore(`sqlite:${join(folder, "c d#e%20.db")}?maxValueBytes=4&deadline=2s`)
    await expect(sqlite.set("a", "12345")).rejects.toMatchObject({ code: "too-large" })
    await sqlite.close()
    expect((await stat(join(folder, "c d#e%20.db"))).isFile()).toBe(true)
  })

  it("REL-03: a store that is reached over a network comes guarded", async () => {
    const clock = fakeClock()
    const reports: StoreReport[] = []
    const store = await openStore("http://127.0.0.1:1", { clock, report: (report) => reports.push(report) })
    for (let call = 0; call < 12; call++) {
      await expect(store.get("k")).rejects.toMatchObject({ code: "unavailable" })
      clock.advance(10)
    }
    expect(reports).toMatchObject([{ store: "http", kind: "outage" }])
    await store.close()
    await expect(openStore("http://127.0.0.1:1", { deadline: "soon" as "1s" })).rejects.toThrow(/deadline/)
  })

  const secret = "hunter2"
  const refused: [string, RegExp][] = [
    ["", /memory:, sqlite:, .*http:, https:/],
    ["./sessions.db", /begins with one of/],
    [`radis://:${secret}@localhost`, /begins with one of/],
    [`redis://:${secret}@localhost:x`, /host is missing or malformed/],
    [`redis://localhost?${secret}=1`, /prefix, wait, grace/],
    [`postgres://me:${secret}@[`, /needs a URL such as/],
    [`postgresql://me:${secret}@localhost/x?${secret}=1`, /schema, table, connections/],
    [`postgres://me:${secret}@localhost/x?table=${secret}-1`, /letters, digits and underscores/],
    [`constructor:${secret}`, /begins with one of/],
    [`memory:${secret}`, /Nothing stands behind/],
    [`memory:?${secret}=1`, /maxEntries, maxBytes, maxValueBytes/],
    ["memory:?maxEntries=many", /maxEntries must be a whole number/],
    ["memory:?maxEntries=0", /maxEntries must be a positive whole number/],
    ["sqlite:", /A path stands behind/],
    ["sqlite:?deadline=1s", /A path stands behind/],
    [`sqlite://${secret}/x.db`, /A path stands behind/],
    ["sqlite::memory:", /for memory use memoryStore/],
    [`sqlite:./x.db?${secret}=1`, /deadline, maxValueBytes/],
    ["sqlite:./x.db?deadline=soon", /deadline must be a duration/],
    ["sqlite:./x.db?maxValueBytes=1e3", /maxValueBytes must be a whole number/],
    [`http://user:${secret}@localhost:5100?nope=1`, /wire=classic/],
  ]
  for (const [url, message] of refused) {
    it(`P4: refuses ${url.replaceAll(secret, "…") || "nothing"} with a line that says what is known`, async () => {
      const error = await openStore(url).catch((caught: unknown) => caught)
      expect(error).toBeInstanceOf(TypeError)
      expect((error as TypeError).message).toMatch(message)
      expect((error as TypeError).message).not.toContain(secret)
    })
  }
})
