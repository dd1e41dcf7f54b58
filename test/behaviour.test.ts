// Tests cite the behaviour that they show by a short id at the beginning of their name ("K7: …", "SES-01, S8: …");
// docs/reference/behaviour.md says in one sentence what each id stands for. This test holds the two together both ways, so that no id
// is a riddle and no sentence a promise that nothing keeps.

import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"

const root = join(import.meta.dirname, "..")
const id = "(?:[KPXCSDBML]\\d+|(?:SES|CKI|CCH|CSR|KVS|PRS|ERR|LOG|CRY|REG|TMO|REL|ADM)-\\d+|F-[A-Z]+-\\d+)"
const row = /^\| ([^|]+?) \| (.+) \|$/gm

/** Ids that begin a text in a test, alone or before a colon. */
function cited(text: string): string[] {
  const names = text.matchAll(new RegExp(`["'\`](${id}(?:,? ${id})*)(?=[:"'\`])`, "g"))
  return [...names].flatMap(([, list = ""]) => list.split(/,? /))
}

function rows(): Map<string, string> {
  const page = readFileSync(join(root, "docs/reference/behaviour.md"), "utf8")
  return new Map(
    [...page.matchAll(row)]
      .map(([, key = "", sentence = ""]): [string, string] => [key, sentence])
      .filter(([key]) => new RegExp(`^${id}$`).test(key)),
  )
}

const files = execFileSync(
  "git",
  ["ls-files", "-co", "--exclude-standard", "*.test.ts", "packages/coatcheck/src/testing/*.ts", "test/*.ts"],
  { cwd: root, encoding: "utf8" },
)
  .split("\n")
  .filter((file) => file !== "" && file !== "test/behaviour.test.ts" && existsSync(join(root, file)))

describe("docs/reference/behaviour.md", () => {
  const inTests = new Map(
    files.flatMap((file) => cited(readFileSync(join(root, file), "utf8")).map((one): [string, string] => [one, file])),
  )
  const inPage = rows()

  it("has a sentence for each id that a test cites", () => {
    expect([...inTests].filter(([one]) => !inPage.has(one)).map(([one, file]) => `${one} (${file})`)).toEqual([])
  })

  it("says nothing that no test shows", () => {
    expect([...inPage.keys()].filter((one) => !inTests.has(one))).toEqual([])
  })

  it("is in order, and each id has one whole sentence", () => {
    const text = readFileSync(join(root, "docs/reference/behaviour.md"), "utf8")
    const tables = text
      .split(/^## /m)
      .map((part) =>
        [...part.matchAll(row)].map(([, key = ""]) => key).filter((key) => new RegExp(`^${id}$`).test(key)),
      )
    for (const keys of tables)
      expect(keys).toEqual([...keys].sort((a, b) => a.localeCompare(b, "en", { numeric: true })))
    expect(tables.flat()).toHaveLength(inPage.size)
    for (const [one, sentence] of inPage) expect(sentence, one).toMatch(/^[A-Z`0-9].{15,}[.]$/)
  })

  it("finds ids where tests write them, and nowhere else", () => {
    expect(
      cited('it("K7: deletes", …)\nit("SES-01, S8: x")\n["F-KILL-2", 1] // K9: not this\n"K7x: no" "CSR-1 then"'),
    ).toEqual(["K7", "SES-01", "S8", "F-KILL-2"])
  })
})
