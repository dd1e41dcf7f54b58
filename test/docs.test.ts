// Pages that show a terminal are run: each ```console fence is typed, line by line, into a shell with a fresh service behind it, and what
// comes out must be what the page shows. (HTTPie apart from its spaces: it breaks lines on a terminal and not for us.) And the checks
// of `npm run check docs` are given pages with one mistake each, to see that they speak.

import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createService } from "@coatcheck/server"
import { memoryStore } from "coatcheck/memory"
import { afterAll, describe, expect, it } from "vitest"
import { coatcheckHelp, commandNames, staleHelp, unknownCommands, withHelp } from "../scripts/docs/commands.ts"
import { fenceErrors } from "../scripts/docs/fences.ts"
import { brokenLinks } from "../scripts/docs/links.ts"
import { doorList, errorList, exportedNames, withNames } from "../scripts/docs/lists.ts"
import { type Page, readPage, readPages } from "../scripts/docs/page.ts"

const root = join(import.meta.dirname, "..")
const scratch = mkdtempSync(join(tmpdir(), "coatcheck-docs-"))
afterAll(() => rmSync(scratch, { recursive: true }))

// A terminal's HTTPie does not read a body from its input.
writeFileSync(join(scratch, "config.json"), JSON.stringify({ default_options: ["--ignore-stdin"] }))

/** A console fence as steps: what is typed, and what the page shows for it. */
function steps(page: Page): { typed: string; shown: string }[] {
  return page.fences
    .filter(({ language }) => language === "console")
    .flatMap(({ code }) => code.split(/^\$ /m).slice(1))
    .map((step) => ({ typed: step.split("\n", 1)[0] ?? "", shown: step.split("\n").slice(1).join("\n") }))
}

/** What a line prints, typed into a shell in the root of the tree. */
function type(line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, HTTPIE_CONFIG_DIR: scratch, NO_COLOR: "1" }
    const shell = spawn("bash", ["-c", line], { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    shell.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()))
    shell.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()))
    shell.on("error", reject)
    shell.on("close", () => resolve(output))
  })
}

const settled = (typed: string, text: string): string =>
  typed.startsWith("http ") ? text.replace(/\s/g, "") : text.trimEnd()
const withConsole = readPages(root).filter((page) => page.fences.some(({ language }) => language === "console"))

describe("what pages show on a terminal is what comes out", () => {
  it.each(withConsole.map((page) => [page.path, page] as const))("%s", async (_, page) => {
    const service = createService(memoryStore(), {})
    const { port } = await service.listen({ port: 0 })
    const main = `node --conditions=@coatcheck/source --import tsx ${join(root, "packages/server/src/cli/main.ts")}`
    try {
      for (const { typed, shown } of steps(page)) {
        const line = typed.replaceAll(":5100", `:${port}`).replaceAll("npx coatcheck", main)
        expect(settled(typed, await type(line)), typed).toBe(settled(typed, shown))
      }
    } finally {
      await service.close()
    }
  })

  it("K17: the README has HTTPie's lines", () => {
    const readme = withConsole.find(({ path }) => path === "README.md")
    const typed = readme ? steps(readme).map((step) => step.typed.replace("http -b", "http")) : []
    expect(typed).toEqual(
      expect.arrayContaining([
        "http :5100 foo=bar",
        "http :5100/foo",
        "http ':5100?prefix=f'",
        "http DELETE :5100/foo",
      ]),
    )
  })
})

describe("a mistake in a page is found", () => {
  const page = (text: string, path = "README.md"): Page => readPage(path, text)
  const help = (command: string | null): string =>
    command === null
      ? "Usage: coatcheck\n\nCommands:\n  serve [options]  Serve.\n  help [command]  help"
      : "Usage: coatcheck serve\n\nOptions:\n  --port <n>"

  it("a link to a page, a heading or a place outside", () => {
    const text =
      "# One\n[a](gone.md) [b](#two) [c](../x.md) [d](#one) [e](https://example.com) [f](SECURITY.md#nothing)"
    const found = brokenLinks(root, [page(text), page("# Security", "SECURITY.md")])
    expect(found).toHaveLength(4)
    expect(found.map((one) => one.split(":")[1])).toEqual(["2", "2", "2", "2"])
  })

  it("TypeScript that does not compile, on the page's own line", () => {
    const text =
      '# T\n\n```ts\nconst a: number = "no"\n```\n\n```ts\nconst b: number = 1\n```\n\n```ts continued\nb.toFixed("no")\n```\n'
    const found = fenceErrors(root, [page(text)])
    expect(found.map((one) => one.split(" ", 1)[0])).toEqual(["README.md:4:", "README.md:12:"])
  })

  it.each([
    ["gnome-open x", "no program"],
    ["npm run nothing", "no script"],
    ["npm frobnicate", "no"],
    ["npx coatcheck fly", "no command"],
    ["npx @coatcheck/server serve --fast", "no option"],
  ])("a command that nobody can type: %s", (line, word) => {
    expect(unknownCommands(root, [page(`\`\`\`sh\n${line}\n\`\`\``)], help)).toEqual([expect.stringContaining(word)])
  })

  it("and one that everybody can is not", () => {
    const lines =
      "npm ci && npm test\n# a comment\nPORT=1 npx coatcheck serve --port 1\ncurl -s http://localhost/ | http :1"
    expect(unknownCommands(root, [page(`\`\`\`sh\n${lines}\n\`\`\`\n\n\`\`\`text\nnonsense\n\`\`\``)], help)).toEqual(
      [],
    )
  })

  it("help that is not what --help prints", () => {
    const stale = "```text\nUsage: coatcheck serve [old]\n\nold\n```\n"
    expect(staleHelp(page(stale), help)).toHaveLength(2)
    expect(staleHelp(page(`${withHelp(stale, help)}\`\`\`text\n${help(null)}\n\`\`\``), help)).toEqual([])
  })

  it("error codes and doors that are missing, twice, or gone", () => {
    expect(errorList(page("| `conflict` | yes |\n| `conflict` | yes |\n| `nothing` | no |"))).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/lacks unavailable$/),
        expect.stringMatching(/names nothing,/),
        expect.stringMatching(/conflict twice$/),
      ]),
    )
    const doors = "| `coatcheck/memory` | `memoryStore` `wrong` | x |\n| `coatcheck/gone` | | x |"
    expect(doorList(root, page(doors))).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/lacks coatcheck$/),
        expect.stringMatching(/names coatcheck\/gone,/),
        expect.stringMatching(/coatcheck\/memory: names wrong,/),
        expect.stringMatching(/coatcheck\/memory: lacks MemoryStoreOptions$/),
      ]),
    )
    expect(doorList(root, page(withNames(root, doors))).filter((one) => one.includes("coatcheck/memory:"))).toEqual([])
  })
})

describe("what the checks compare with", () => {
  it("the command's own help lists its commands", () => {
    expect(commandNames(coatcheckHelp(root))).toEqual(expect.arrayContaining(["serve", "dump", "secret", "doctor"]))
  })

  it("a door's source is read as the compiler reads it", async () => {
    const names = exportedNames(join(root, "packages/coatcheck/src/index.ts"))
    expect(names).toEqual(expect.arrayContaining(Object.keys(await import("coatcheck"))))
    expect(names).toEqual(expect.arrayContaining(["Store", "SessionsOptions"]))
  })
})
