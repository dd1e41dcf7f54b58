// Documentation that was true once is worse than none: it is believed. So what a page says and a machine can know is compared with the
// code: TypeScript compiles, links lead somewhere, commands and options exist, help texts, error codes, doors and their names
// are those of today. What has to run to be seen (console examples) runs in test/docs.test.ts. With --write (`npm run docs`) it first
// puts right what can be copied: help texts and the names behind doors.

import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { coatcheckHelp, staleHelp, unknownCommands, withHelp } from "./docs/commands.ts"
import { fenceErrors } from "./docs/fences.ts"
import { brokenLinks } from "./docs/links.ts"
import { doorList, errorList, withNames } from "./docs/lists.ts"
import { readPages } from "./docs/page.ts"

const root = join(import.meta.dirname, "..")
const help = coatcheckHelp(root)

function rewrite(path: string, change: (text: string) => string): void {
  writeFileSync(join(root, path), change(readFileSync(join(root, path), "utf8")))
}
if (process.argv.includes("--write")) {
  rewrite("docs/reference/cli.md", (text) => withHelp(text, help))
  rewrite("docs/reference/doors.md", (text) => withNames(root, text))
}

const pages = readPages(root)
const page = (path: string): (typeof pages)[number] | undefined => pages.find((one) => one.path === path)

const problems = [
  ...brokenLinks(root, pages),
  ...fenceErrors(root, pages),
  ...unknownCommands(root, pages, help),
  ...staleHelp(page("docs/reference/cli.md"), help),
  ...errorList(page("docs/reference/errors.md")),
  ...doorList(root, page("docs/reference/doors.md")),
]

for (const problem of problems) console.error(problem)
process.exitCode = problems.length > 0 ? 1 : 0
