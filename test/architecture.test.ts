// ARCHITECTURE.md draws a map of the tree. A map that lies is worse than none, so this test walks both: what the map names is there, and
// what is there is on the map. A folder that the map draws without its contents is drawn as a whole.

import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"

const root = join(import.meta.dirname, "..")

/** Paths of the map: two spaces a level; several names on a line share what is said of them after two spaces. */
function readMap(text: string): string[] {
  const block = /^```text\n([\s\S]*?)^```/m.exec(text)?.[1]
  if (block === undefined) throw new Error("ARCHITECTURE.md has no ```text block with the map")
  const paths: string[] = []
  const open: string[] = []
  for (const line of block.split("\n").filter((one) => one.trim() !== "")) {
    const depth = line.search(/\S/) / 2
    const names = line.trim().split(/ {2,}/)[0]?.split(" ") ?? []
    open.length = depth
    for (const name of names) {
      const path = [...open, name.replace(/\/$/, "")].join("/")
      paths.push(name.endsWith("/") ? `${path}/` : path)
    }
    open.push(names.at(-1)?.replace(/\/$/, "") ?? "")
  }
  return paths
}

const map = readMap(readFileSync(join(root, "ARCHITECTURE.md"), "utf8"))
const wholes = map.filter(
  (path) => path.endsWith("/") && !map.some((other) => other !== path && other.startsWith(path)),
)
const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root, encoding: "utf8" })
  .split("\n")
  .filter((file) => file !== "" && existsSync(join(root, file)))

describe("the map in ARCHITECTURE.md", () => {
  it("names nothing that is not there", () => {
    const gone = map.filter((path) => {
      const there = statSync(join(root, path), { throwIfNoEntry: false })
      return path.endsWith("/") ? !there?.isDirectory() : !there?.isFile()
    })
    expect(gone).toEqual([])
  })

  it("names each source file that is there", () => {
    // Tests stand beside what they test, and settings at the top say what they are by their names.
    const sources = files.filter(
      (file) => file.includes("/") && /\.(ts|mjs|js|css)$/.test(file) && !file.endsWith(".test.ts"),
    )
    const missing = sources.filter((file) => !map.includes(file) && !wholes.some((whole) => file.startsWith(whole)))
    expect(missing).toEqual([])
  })

  it("names each folder at the top", () => {
    const folders = new Set(files.filter((file) => file.includes("/")).map((file) => `${file.split("/")[0]}/`))
    expect([...folders].filter((folder) => !map.includes(folder))).toEqual([])
  })

  it("is read as it is drawn", () => {
    expect(readMap("```text\na/\n  b/   what b is\n    c.ts d.ts  both\n  e.ts\nf/\n```")).toEqual([
      "a/",
      "a/b/",
      "a/b/c.ts",
      "a/b/d.ts",
      "a/e.ts",
      "f/",
    ])
  })
})

describe("the stores", () => {
  it("take no parts of each other", () => {
    const stores = "packages/coatcheck/src/stores/"
    const strangers = files
      .filter((file) => file.startsWith(stores) && file.endsWith(".ts") && !file.endsWith(".test.ts"))
      .flatMap((file) => {
        const own = file.slice(stores.length).replace(/(\/.*|\.ts)$/, "")
        const taken = [...readFileSync(join(root, file), "utf8").matchAll(/from "(?:\.|\.\.)\/([a-z]+)\/[^"]+\.ts"/g)]
        const isStranger = (folder: string) =>
          folder !== own && folder !== "shared" && existsSync(join(root, stores, folder))
        return taken
          .filter(([, folder]) => folder !== undefined && isStranger(folder))
          .map(([line]) => `${file}: ${line}`)
      })
    expect(strangers).toEqual([])
  })
})
