// Lists that pages repeat from the code, because a reader wants them in one place: error codes, doors and the names behind them. Each
// is compared both ways, so that a page can't keep what is gone nor miss what is new.

import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { errorCodes } from "coatcheck"
import type { Page } from "./page.ts"

/** The code spans in the first column of a page's tables. */
export function firstColumn(page: Page): string[] {
  return [...page.text.matchAll(/^\| *`([^`]+)`/gm)].map(([, text = ""]) => text)
}

function differences(page: string, said: readonly string[], real: readonly string[]): string[] {
  return [
    ...real.filter((one) => !said.includes(one)).map((one) => `${page}: lacks ${one}`),
    ...said.filter((one) => !real.includes(one)).map((one) => `${page}: names ${one}, which is not there`),
    ...said.filter((one, index) => said.indexOf(one) !== index).map((one) => `${page}: names ${one} twice`),
  ]
}

/** docs/reference/errors.md against the table of codes. */
export function errorList(page: Page | undefined): string[] {
  return page ? differences(page.path, firstColumn(page), errorCodes) : ["docs/reference/errors.md is not there"]
}

/** Door of each published package to its source file. */
export function doors(root: string): [door: string, source: string][] {
  return ["coatcheck", "server"].flatMap((folder) => {
    const home = join(root, "packages", folder)
    const { name, exports } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as {
      name: string
      exports: Record<string, Record<string, string>>
    } // our own file
    return Object.entries(exports).map(([door, targets]): [string, string] => [
      name + door.slice(1),
      join(home, targets["@coatcheck/source"] ?? ""),
    ])
  })
}

/** The names that a door's source exports: values, functions, classes and types. */
export function exportedNames(source: string): string[] {
  if (!existsSync(source)) return []
  const text = readFileSync(source, "utf8")
  const direct = [
    ...text.matchAll(/^export (?:abstract |async |declare )*(?:const|let|function\*?|class|interface|type) ([\w$]+)/gm),
  ].map(([, name = ""]) => name)
  const listed = [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, names = ""]) =>
    names
      .split(",")
      .map((name) =>
        name
          .trim()
          .replace(/^type /, "")
          .replace(/^.* as /, ""),
      )
      .filter(Boolean),
  )
  return [...new Set([...direct, ...listed])].sort()
}

const doorRow = /^\| *`([^`]+)` *\|([^|]*)\|/gm

/** A text with the names of each door, in the second column, put right. */
export function withNames(root: string, text: string): string {
  const sources = new Map(doors(root))
  return text.replace(doorRow, (row, door: string) => {
    const source = sources.get(door)
    return source === undefined
      ? row
      : `| \`${door}\` | ${exportedNames(source)
          .map((name) => `\`${name}\``)
          .join(" ")} |`
  })
}

/** docs/reference/doors.md: a table row a door, its names as code spans in the second column. */
export function doorList(root: string, page: Page | undefined): string[] {
  if (!page) return ["docs/reference/doors.md is not there"]
  const rows = new Map(
    [...page.text.matchAll(doorRow)].map(([, door = "", names = ""]) => [
      door,
      [...names.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name),
    ]),
  )
  const real = doors(root)
  return [
    ...differences(
      page.path,
      [...rows.keys()],
      real.map(([door]) => door),
    ),
    ...real.flatMap(([door, source]) =>
      differences(`${page.path}, ${door}`, rows.get(door) ?? [], exportedNames(source)),
    ),
  ]
}
