// Commands in a page: each line of a ```sh or ```console fence begins with a program that a reader has, an `npm run` that exists, or a
// command of ours with options that its --help knows. docs/reference/cli.md holds what --help prints, word for word.

import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Page } from "./page.ts"

/** What readers have, or are told to install where it is used. */
const programs = new Set(["cd", "curl", "foreman", "git", "http", "mkdir", "node", "npm", "npx", "printf", "kill"])
const npmOwn = new Set(["ci", "install", "i", "test", "start", "pack"])

/** Where help comes from; a parameter so that the test can plant another one. */
export type Help = (command: string | null) => string

/** What `coatcheck [command] --help` prints, run from the sources. */
export function coatcheckHelp(root: string): Help {
  const known = new Map<string, string>()
  return (command) => {
    const name = command ?? ""
    let text = known.get(name)
    if (text === undefined) {
      const main = join(root, "packages/server/src/cli/main.ts")
      const args = ["--conditions=@coatcheck/source", "--import", "tsx", main, ...(command ? [command] : []), "--help"]
      const result = spawnSync(process.execPath, args, {
        cwd: root,
        encoding: "utf8",
        env: { PATH: process.env.PATH, COLUMNS: "100", NO_COLOR: "1" },
      })
      text = result.status === 0 ? result.stdout.trimEnd() : ""
      known.set(name, text)
    }
    return text
  }
}

/** The commands that `coatcheck --help` lists. */
export function commandNames(help: Help): string[] {
  const [, list = ""] = help(null).split(/^Commands:$/m)
  return [...list.matchAll(/^ {2}([a-z]+)/gm)].map(([, name = ""]) => name).filter((name) => name !== "help")
}

/** Command lines in the pages that would not run. */
export function unknownCommands(root: string, pages: readonly Page[], help: Help): string[] {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    scripts: Record<string, string>
  } // our own file
  const names = new Set(commandNames(help))

  const problem = (line: string): string | null => {
    const words = line.split(/\s+/).filter((word) => !/^[A-Z_]+=/.test(word))
    const [program = "", first = "", second = ""] = words
    if (!programs.has(program)) return `"${program}" is no program that a reader has`
    if (program === "npm" && first === "run" && !(second in scripts)) return `package.json has no script "${second}"`
    if (program === "npm" && first !== "run" && !npmOwn.has(first)) return `npm has no "${first}" here`
    if (program !== "npx" || !/^(@coatcheck\/server|coatcheck)$/.test(first)) return null
    if (!names.has(second)) return `coatcheck has no command "${second}"`
    const unknown = words
      .slice(3)
      .filter((word) => word.startsWith("--") && !help(second).includes(word.replace(/=.*/, "")))
    return unknown.length > 0 ? `coatcheck ${second} has no option ${unknown.join(", ")}` : null
  }

  return pages.flatMap((page) =>
    page.fences.flatMap((fence) =>
      commandLines(fence).flatMap(({ text, line }) =>
        text.split(/ && | \| /).flatMap((part) => {
          const wrong = problem(part.trim())
          return wrong === null ? [] : [`${page.path}:${line}: ${wrong}`]
        }),
      ),
    ),
  )
}

/** The lines of a fence that a reader types: all of a ```sh fence, those after "$ " of a ```console fence. */
export function commandLines(fence: Page["fences"][number]): { text: string; line: number }[] {
  if (fence.language !== "sh" && fence.language !== "console") return []
  return fence.code.split("\n").flatMap((text, index) => {
    const typed = fence.language === "sh" ? text : /^\$ (.*)$/.exec(text)?.[1]
    return typed === undefined || typed.trim() === "" || typed.startsWith("#")
      ? []
      : [{ text: typed.replace(/ +# .*$/, ""), line: fence.line + index }]
  })
}

/** A text with each ```text fence that begins with "Usage: coatcheck …" replaced by what --help prints today. */
export function withHelp(text: string, help: Help): string {
  return text.replace(/^```text\nUsage: coatcheck(.*)\n[\s\S]*?^```$/gm, (_, usage: string) => {
    const command = /^ ([a-z]+)/.exec(usage)?.[1] ?? null
    return `\`\`\`text\n${help(command)}\n\`\`\``
  })
}

/** Commands whose help docs/reference/cli.md lacks, or shows as it was once. */
export function staleHelp(page: Page | undefined, help: Help): string[] {
  if (!page) return ["docs/reference/cli.md is not there"]
  const shown = new Set(page.fences.map(({ code }) => code.trimEnd()))
  const names = commandNames(help)
  if (names.length === 0) return ["coatcheck --help lists no command"]
  return [null, ...names].flatMap((name) =>
    shown.has(help(name))
      ? []
      : [
          `${page.path}: lacks, or shows no longer, what coatcheck ${name ?? ""} --help prints; npm run docs puts it right`,
        ],
  )
}
