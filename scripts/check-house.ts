// Rules of the house that neither the compiler nor the linter knows. Each began as something that was once missed: an exported name
// whose default one had to read from the code, a note that leads to a place the reader has not got, a file named unlike its
// neighbours. The tree to look at is the first argument, for the test that plants a breach of each.

import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"

const root = process.argv[2] ?? join(import.meta.dirname, "..")
const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root, encoding: "utf8" })
  .split("\n")
  .filter(Boolean)
const problems: string[] = []

const text = (file: string): string[] => {
  try {
    return readFileSync(join(root, file), "utf8").split("\n")
  } catch {
    return [] // deleted, and not yet committed
  }
}

/** Whether a line is written for people: a comment, or a page. */
const prose = (file: string, line: string): boolean => file.endsWith(".md") || /^\s*(\/\/|\/?\*|#)/.test(line)

// Who clones the tree has the tree and nothing else: no neighbour folder, no home folder, no list of numbered tasks.
function leadsAway(file: string, line: string): boolean {
  if (/(^|[\s(`"'])\/(home|work|Users)\/\w|\b[iI]ssue #?\d/.test(line)) return true
  const paths = line.match(/(?<![\w/.])(?:\.\.\/)+[\w-]+(?:[\w./-]*\w)?/g) ?? []
  return paths.some((path) => {
    const target = join(root, dirname(file), path)
    return ![target, `${target}.ts`].some((place) => place.startsWith(root) && existsSync(place))
  })
}

for (const file of files) {
  if (/\.(png|ico|woff2|db|lock)$|package-lock\.json$/.test(file)) continue
  const lines = text(file)
  const published = /^packages\/[^/]+\/src\/.*\.ts$/.test(file) && !file.endsWith(".test.ts")

  if (/\.(ts|mjs|js)$/.test(file) && !/^[a-z0-9]+([-.][a-z0-9]+)*$/.test(basename(file)))
    problems.push(`${file}: file names are kebab-case`)
  if (published && !/^\/\/ \S|^\/\*\* /.test(lines[0] ?? ""))
    problems.push(`${file}:1: a file opens with what it is and why it is that way`)

  lines.forEach((line, index) => {
    const at = `${file}:${index + 1}`
    if (prose(file, line) && leadsAway(file, line)) problems.push(`${at}: leads to a place that a reader has not got`)
    const name = published
      ? /^export (?:abstract |async |declare )*(?:const|let|function\*?|class|interface|type) ([\w$]+)/.exec(line)?.[1]
      : undefined
    // An overload's second line is described by its first.
    if (
      name !== undefined &&
      !/\*\/\s*$/.test(lines[index - 1] ?? "") &&
      !(lines[index - 1] ?? "").startsWith(`export function ${name}(`)
    ) {
      problems.push(`${at}: "${name}" is exported and has no JSDoc`)
    }
  })
}

for (const problem of problems) console.error(problem)
process.exitCode = problems.length > 0 ? 1 : 0
