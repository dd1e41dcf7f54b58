// A page of the documentation as the checks see it: its lines, its fences with the line they stand on, its headings and its links.
// A small reader and not a markdown parser: the pages keep to fences at the margin and inline links, and a check that needs a
// dependency would outlive it badly.

import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** A block of code in a page. */
export interface Fence {
  /** The first word after the backticks. */
  readonly language: string
  /** The other words. */
  readonly notes: readonly string[]
  /** Line number of its first line of code, from 1. */
  readonly line: number
  readonly code: string
}

/** One markdown file. */
export interface Page {
  /** From the root of the tree, with forward slashes. */
  readonly path: string
  readonly text: string
  readonly fences: readonly Fence[]
  /** What `#…` in a link may name. */
  readonly anchors: ReadonlySet<string>
  readonly links: readonly { readonly target: string; readonly line: number }[]
}

/** Every markdown file that belongs to the project. */
export function readPages(root: string): Page[] {
  return execFileSync("git", ["ls-files", "-co", "--exclude-standard", "*.md"], { cwd: root, encoding: "utf8" })
    .split("\n")
    .filter((path) => path !== "" && existsSync(join(root, path)))
    .map((path) => readPage(path, readFileSync(join(root, path), "utf8")))
}

/** One page from its text. */
export function readPage(path: string, text: string): Page {
  const fences: Fence[] = []
  const anchors = new Set<string>()
  const links: { target: string; line: number }[] = []
  let open: { language: string; notes: string[]; line: number; code: string[] } | null = null

  text.split("\n").forEach((line, index) => {
    const fence = /^```(.*)$/.exec(line)
    if (fence && open) {
      fences.push({ ...open, code: open.code.join("\n") })
      open = null
    } else if (fence) {
      const [language = "", ...notes] = (fence[1] ?? "").trim().split(/\s+/)
      open = { language, notes, line: index + 2, code: [] }
    } else if (open) {
      open.code.push(line)
    } else {
      const heading = /^#{1,6} +(.*)$/.exec(line)?.[1]
      if (heading !== undefined) anchors.add(anchor(heading, anchors))
      for (const [, target = ""] of line.matchAll(/\]\(([^)\s]+)\)/g)) links.push({ target, line: index + 1 })
    }
  })
  return { path, text, fences, anchors, links }
}

/** A heading's anchor as GitHub makes it; the second one of the same name gets "-1". */
function anchor(heading: string, taken: ReadonlySet<string>): string {
  const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
  const name = plain
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replace(/\s/g, "-")
  let unique = name
  for (let n = 1; taken.has(unique); n++) unique = `${name}-${n}`
  return unique
}
