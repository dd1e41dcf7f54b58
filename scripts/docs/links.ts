// A page that was moved takes the links to it along, or it does not; only a check knows. Addresses on the web are left alone: a check
// that needs the network fails for reasons that nobody here can mend.

import { existsSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import type { Page } from "./page.ts"

/** Links whose page, file or heading is not there. */
export function brokenLinks(root: string, pages: readonly Page[]): string[] {
  const byPath = new Map(pages.map((page) => [page.path, page]))
  return pages.flatMap((page) =>
    page.links.flatMap(({ target, line }) => {
      if (/^[a-z]+:/.test(target)) return []
      const [file = "", anchor] = target.split("#")
      const path = file === "" ? page.path : normalize(join(dirname(page.path), file))
      if (path.startsWith("..")) return [`${page.path}:${line}: ${target} leads out of the tree`]
      if (!existsSync(join(root, path))) return [`${page.path}:${line}: ${target} is not there`]
      const anchors = byPath.get(path)?.anchors
      return anchor !== undefined && anchors?.has(anchor) === false
        ? [`${page.path}:${line}: ${path} has no heading #${anchor}`]
        : []
    }),
  )
}
