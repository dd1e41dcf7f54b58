// Does the linter see what it should, everywhere? Type-aware rules are silent on a file that no tsconfig includes, and a layer rule is
// silent on a room that its pattern misses; both look exactly like clean code. So this test copies the settings and the shape of the
// tree, plants one breach of each kind in every room, and wants each of them found.

import { execFileSync, spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

const root = join(import.meta.dirname, "..")
const library = "packages/coatcheck/src"

/** Every folder that holds TypeScript. */
const rooms = [
  ...new Set(
    execFileSync("git", ["ls-files", "-co", "--exclude-standard", "*.ts"], { cwd: root, encoding: "utf8" })
      .split("\n")
      .filter((file) => file.includes("/"))
      .map(dirname),
  ),
].sort()

const floating = `async function work(): Promise<void> {}\nexport function start(): void {\n  work()\n}\n`
const loose = `export function first(value: any): number {\n  return value.first\n}\n`

/** File to its text, and the rule that must speak. */
const breaches: [file: string, text: string, rule: string][] = [
  ...rooms.map((room): [string, string, string] => [`${room}/planted-floating.ts`, floating, "no-floating-promises"]),
  ...rooms.map((room): [string, string, string] => [`${room}/planted-any.ts`, loose, "no-explicit-any"]),
  ...(
    [
      ["core", 'import { readFile } from "node:fs/promises"\nexport const read = readFile'],
      ["core", 'import { createHash } from "node:crypto"\nexport const hash = createHash'],
      ["core", 'import { memoryStore } from "../stores/memory.ts"\nexport const store = memoryStore'],
      ["core", 'import { nodeAdapter } from "../adapters/node.ts"\nexport const adapter = nodeAdapter'],
      ["core", 'import { recordsPath } from "../protocol/index.ts"\nexport const path = recordsPath'],
      ["core", 'import pg from "pg"\nexport const client = pg'],
      ["core", 'export const late = (): Promise<unknown> => import("node:fs")'],
      ["stores", 'import { memoryStore } from "./memory.ts"\nexport const store = memoryStore'],
      ["stores/sqlite", 'import { memoryStore } from "../memory.ts"\nexport const store = memoryStore'],
      ["stores/sqlite", 'import { recordsPath } from "../../protocol/index.ts"\nexport const path = recordsPath'],
      ["stores", 'import { nodeAdapter } from "../adapters/node.ts"\nexport const adapter = nodeAdapter'],
      ["stores", 'import { createSessions } from "../core/sessions.ts"\nexport const create = createSessions'],
      ["adapters", 'import { memoryStore } from "../stores/memory.ts"\nexport const store = memoryStore'],
      ["adapters", 'import { recordsPath } from "../protocol/index.ts"\nexport const path = recordsPath'],
      ["protocol", 'import { memoryStore } from "../stores/memory.ts"\nexport const store = memoryStore'],
      ["protocol", 'import { request } from "node:http"\nexport const call = request'],
      ["testing", 'import { memoryStore } from "../stores/memory.ts"\nexport const store = memoryStore'],
      ["testing", 'import { expect } from "vitest"\nexport const check = expect'],
    ] as const
  ).map(([room, text], n): [string, string, string] => [
    `${library}/${room}/planted-import-${n}.ts`,
    text,
    "no-restricted-imports",
  ]),
  [
    "packages/server/src/service/planted-cli.ts",
    'import { main } from "../cli/main.ts"\nexport const run = main',
    "no-restricted-imports",
  ],
  ...["packages/server/src/cli", "packages/server/src/service", "examples/counter"].map(
    (room): [string, string, string] => [
      `${room}/planted-door.ts`,
      `import { memoryStore } from "${"../".repeat(room.split("/").length)}packages/coatcheck/src/stores/memory.ts"\nexport const store = memoryStore`,
      "no-restricted-imports",
    ],
  ),
  [`${library}/core/planted-clock.ts`, "export const now = (): number => Date.now()", "no-restricted-properties"],
  ...["process", "Buffer", "setTimeout", "fetch"].map((name): [string, string, string] => [
    `${library}/core/planted-${name.toLowerCase()}.ts`,
    `export const taken: unknown = ${name}`,
    "no-restricted-globals",
  ]),
  [
    `${library}/core/planted-length.ts`,
    Array.from({ length: 301 }, (_, n) => `export const name${n} = ${n}`).join("\n"),
    "max-lines",
  ],
  [`${library}/core/planted-note.ts`, `// ${"TO"}DO: later\nexport const open = 1`, "no-warning-comments"],
  ["test/planted-only.test.ts", 'import { it } from "vitest"\nit.only("alone", () => {})', "no-focused-tests"],
  ["test/planted-skip.test.ts", 'import { it } from "vitest"\nit.skip("later", () => {})', "no-disabled-tests"],
]

interface Finding {
  readonly filename: string
  readonly code: string
}

let copy: string
let findings: Finding[]

beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), "coatcheck-lint-"))
  for (const file of [".oxlintrc.json", "tsconfig.json", "tsconfig.base.json", "package.json"])
    cpSync(join(root, file), join(copy, file))
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"))
  for (const [file, text] of breaches) {
    mkdirSync(join(copy, dirname(file)), { recursive: true })
    writeFileSync(join(copy, file), text)
  }
  const lint = spawnSync(join(root, "node_modules/.bin/oxlint"), ["--type-aware", "--format", "json"], {
    cwd: copy,
    encoding: "utf8",
  })
  expect(lint.status, lint.stderr).toBe(1)
  findings = (JSON.parse(lint.stdout) as { diagnostics: Finding[] }).diagnostics
})

afterAll(() => rmSync(copy, { recursive: true }))

describe("a planted breach is found", () => {
  it.each(breaches)("%s", (file, text, rule) => {
    const codes = findings.filter(({ filename }) => filename.endsWith(file)).map(({ code }) => code)
    expect(codes, text).toContainEqual(expect.stringContaining(rule))
  })

  it("in the rooms that there are", () => {
    expect(rooms).toContain(`${library}/core`)
    expect(rooms).toContain("test")
  })
})

describe("a breach of the house's own rules is found", () => {
  const check = (folder: string): string[] => {
    const run = spawnSync(process.execPath, ["--import", "tsx", join(root, "scripts/check-house.ts"), folder], {
      cwd: root,
      encoding: "utf8",
    })
    expect(run.status).toBe(run.stderr === "" ? 0 : 1)
    return run.stderr.split("\n").filter(Boolean)
  }

  it("and nothing else is", () => {
    const tree = mkdtempSync(join(tmpdir(), "coatcheck-house-"))
    const source = join(tree, "packages/coatcheck/src")
    mkdirSync(source, { recursive: true })
    execFileSync("git", ["init", "--quiet"], { cwd: tree })
    writeFileSync(
      join(source, "good.ts"),
      "// What it is.\n\n/** One. */\nexport const one = 1\n\n/** Two. */\nexport function two(): void {}\n",
    )
    expect(check(tree)).toEqual([])

    writeFileSync(join(source, "bare.ts"), "// What it is.\n\nexport const bare = 1\n")
    writeFileSync(join(source, "mute.ts"), "/* eslint-disable */\n/** One. */\nexport const one = 1\n")
    writeFileSync(join(source, "camelCase.ts"), "// What it is.\n")
    writeFileSync(join(tree, "notes.md"), `See ../plans/first.md.\n`)
    expect(
      check(tree)
        .map((line) => line.replace(`${library}/`, ""))
        .sort(),
    ).toEqual([
      expect.stringMatching(/^bare\.ts:3/),
      expect.stringMatching(/^camelCase\.ts/),
      expect.stringMatching(/^mute\.ts:1/),
      expect.stringMatching(/^notes\.md:1/),
    ])
    rmSync(tree, { recursive: true })
  })
})
