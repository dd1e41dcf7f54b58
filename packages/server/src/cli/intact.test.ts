import type { Entry, Store } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { describe, expect, it } from "vitest"
import { intact } from "./intact.ts"

/** A store that lists so many pages of this many records, and never ends when there is no last one. */
function listing(pages: number, size: number): { readonly store: Store; asked(): number } {
  let asked = 0
  const entry: Entry = { key: "k", value: "", version: "v", expiresAt: null, owner: null }
  const store: Store = {
    ...memoryStore(),
    async list() {
      asked += 1
      return { entries: Array.from({ length: size }, () => entry), cursor: asked < pages ? String(asked) : null }
    },
  }
  return { store, asked: () => asked }
}

describe("the doctor's look at every record", () => {
  it("says how far it is on a long listing, and nothing on a short one", async () => {
    const notes: string[] = []
    const note = (line: string) => void notes.push(line)
    expect(await intact(listing(3, 1_000).store, () => 0, note)).toEqual(["ok", "3,000 records read, none is damaged"])
    expect(notes).toEqual([])
    await intact(listing(250, 1_000).store, () => 0, note)
    expect(notes).toEqual(["100,000 records read so far", "200,000 records read so far"])
  })

  it("stops after a thousand pages, and says that it did", async () => {
    const endless = listing(Number.POSITIVE_INFINITY, 10)
    const [level, text] = await intact(
      endless.store,
      () => 0,
      () => {},
    )
    expect(endless.asked()).toBe(1_000)
    expect(level).toBe("warn")
    expect(text).toMatch(/^10,000 records read, none is damaged; the rest was not looked at/)
  })

  it("fails when there is any damage, one or several", async () => {
    const [one, several] = await Promise.all(
      [1, 2_000].map((damaged) =>
        intact(
          listing(1, 5).store,
          () => damaged,
          () => {},
        ),
      ),
    )
    expect(one).toEqual(["fail", expect.stringMatching(/^1 damaged record, beside 5 that are whole: /) as string])
    expect(several?.[1]).toMatch(/^2,000 damaged records, beside 5/)
  })
})
