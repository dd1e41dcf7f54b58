// Code in a page is the first code that a newcomer runs, and the last that anybody tests. So every ```ts fence is compiled, strictly, as
// a user's file that enters by the public doors. A fence is a file of its own; ```ts continued goes on from the one before it. The
// code keeps its line numbers, so that the compiler's complaint leads to the page.

import { spawnSync } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Fence, Page } from "./page.ts"

/** The fences of one page as files: name and text. */
export function fenceFiles(page: Page): { name: string; text: string }[] {
  const groups: Fence[][] = []
  for (const fence of page.fences) {
    if (fence.language !== "ts") continue
    const last = groups.at(-1)
    if (fence.notes.includes("continued") && last) last.push(fence)
    else groups.push([fence])
  }
  const stem = page.path.replace(/\.md$/, "").replaceAll("/", "--")
  return groups.map((group) => {
    const lines: string[] = []
    for (const fence of group) {
      while (lines.length < fence.line - 1) lines.push("")
      lines.push(...fence.code.split("\n"))
    }
    return { name: `${stem}.${group[0]?.line ?? 0}.ts`, text: `${lines.join("\n")}\nexport {}\n` }
  })
}

/** What the compiler says of the pages' TypeScript, with the page's own line numbers. */
export function fenceErrors(root: string, pages: readonly Page[]): string[] {
  const files = pages.flatMap(fenceFiles)
  if (files.length === 0) return []
  const folder = join(root, "var", `fences-${process.pid}`)
  mkdirSync(folder, { recursive: true })
  try {
    for (const { name, text } of files) writeFileSync(join(folder, name), text)
    const settings = {
      extends: "../../tsconfig.base.json",
      compilerOptions: { noEmit: true, customConditions: ["@coatcheck/source"], lib: ["es2023", "dom"] },
      include: ["*.ts"],
    }
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(settings))
    const tsc = spawnSync(
      process.execPath,
      [join(root, "node_modules/typescript/bin/tsc"), "-p", folder, "--pretty", "false"],
      { cwd: folder, encoding: "utf8" },
    )
    if (tsc.status === 0) return []
    return (tsc.stdout + tsc.stderr)
      .split("\n")
      .filter(Boolean)
      .map((line) =>
        line.replace(
          /^(\S+)\.\d+\.ts\((\d+),\d+\)/,
          (_, stem: string, at: string) => `${stem.replaceAll("--", "/")}.md:${at}`,
        ),
      )
  } finally {
    rmSync(folder, { recursive: true })
  }
}
