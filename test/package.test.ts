// What npm will publish, used as a stranger uses it: both packages are packed, installed into an empty folder with no workspace around,
// and there the README's example is compiled against the packed types and run, and the command serves. Everything that a workspace
// hides would show here: a file left out of the tarball, a door that opens only from the sources, a dependency nobody declared.

import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { readPages } from "../scripts/docs/page.ts"

const root = join(import.meta.dirname, "..")
const bin = join(root, "node_modules/.bin")
const folder = mkdtempSync(join(tmpdir(), "coatcheck-package-"))
const running = new Set<ChildProcess>()

interface Packed {
  readonly name: string
  readonly filename: string
  readonly files: readonly { readonly path: string }[]
}
let packed: readonly Packed[]

beforeAll(() => {
  execFileSync(join(bin, "tsc"), ["-b", "tsconfig.build.json"], { cwd: root })
  const pack = [
    "pack",
    "--json",
    "--ignore-scripts",
    "-w",
    "coatcheck",
    "-w",
    "@coatcheck/server",
    "--pack-destination",
    folder,
  ]
  packed = JSON.parse(
    execFileSync("npm", pack, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
  ) as Packed[]
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }')
  const tarballs = packed.map(({ filename }) => join(folder, filename.replace("@", "").replace("/", "-")))
  const install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", ...tarballs]
  execFileSync("npm", install, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] })
}, 180_000)

afterAll(() => {
  for (const child of running) child.kill("SIGKILL")
  rmSync(folder, { recursive: true })
})

/** Starts a program in the folder; resolves with the first match in what it prints, rejects when it ends before. */
function start(
  command: string,
  args: readonly string[],
  sign: RegExp,
): Promise<{ child: ChildProcess; match: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] })
    running.add(child)
    let output = ""
    const read = (line: string): void => {
      output += `${line}\n`
      const match = sign.exec(line)?.[1]
      if (match !== undefined) resolve({ child, match })
    }
    createInterface({ input: child.stdout }).on("line", read)
    createInterface({ input: child.stderr }).on("line", read)
    child.on("error", reject)
    child.on("close", (code) => {
      running.delete(child)
      reject(new Error(`${command} ended with ${code}:\n${output}`))
    })
  })
}

function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  return new Promise((resolve) => {
    child.on("close", resolve)
    child.kill(signal)
  })
}

describe("the packed packages, in an empty folder", () => {
  it("hold what is built, and neither sources, tests nor leftovers", () => {
    for (const { name, files } of packed) {
      const paths = files.map(({ path }) => path)
      expect(paths, name).toEqual(expect.arrayContaining(["LICENSE", "README.md", "package.json"]))
      expect(
        paths.filter(
          (path) => !/^(LICENSE|README\.md|package\.json|bin\/coatcheck\.js|dist\/.*\.(js|d\.ts|js\.map))$/.test(path),
        ),
        name,
      ).toEqual([])
      expect(
        paths.filter((path) => /\.test\./.test(path)),
        name,
      ).toEqual([])
    }
  })

  it("bring the sources of what is built inside their maps, so that a stack trace leads to a line that is there", () => {
    const maps = [
      "coatcheck/dist/index.js.map",
      "coatcheck/dist/stores/sqlite.js.map",
      "@coatcheck/server/dist/index.js.map",
    ]
    for (const path of maps) {
      const map = JSON.parse(readFileSync(join(folder, "node_modules", path), "utf8")) as {
        sources: readonly string[]
        sourcesContent?: readonly (string | null)[]
      } // the compiler's own format
      expect(map.sourcesContent, path).toHaveLength(map.sources.length)
      for (const text of map.sourcesContent ?? []) expect(text, path).toMatch(/^\/\/ /)
    }
  })

  it("run the README's example, compiled against their types, with sessions that survive a kill", async () => {
    const readme = readPages(root).find(({ path }) => path === "README.md")
    const example = readme?.fences.find(({ language }) => language === "ts")?.code ?? ""
    expect(example).toContain("server.listen(3000)")
    const report = "server.on('listening', () => console.log(`port ${JSON.stringify(server.address())}`))\n"
    writeFileSync(
      join(folder, "app.ts"),
      `${example.replace("server.listen(3000)", "server.listen(0, '127.0.0.1')")}\n${report}`,
    )
    const compile = [
      "app.ts",
      "--strict",
      "--module",
      "nodenext",
      "--target",
      "es2023",
      "--typeRoots",
      join(root, "node_modules/@types"),
      "--types",
      "node",
    ]
    execFileSync(join(bin, "tsc"), compile, { cwd: folder, encoding: "utf8" })

    const visit = async (port: string, cookie: string | null): Promise<{ text: string; cookie: string | null }> => {
      const reply = await fetch(`http://127.0.0.1:${port}/`, { headers: cookie === null ? {} : { cookie } })
      return { text: await reply.text(), cookie: reply.headers.getSetCookie()[0]?.split(";")[0] ?? cookie }
    }
    const port = /"port":(\d+)/
    let app = await start(process.execPath, ["app.js"], port)
    const first = await visit(app.match, null)
    expect(first).toEqual({ text: "Count: 1\n", cookie: expect.stringMatching(/^session=[\w-]{43}$/) as string })
    expect((await visit(app.match, first.cookie)).text).toBe("Count: 2\n")
    await stop(app.child, "SIGKILL")
    app = await start(process.execPath, ["app.js"], port)
    expect((await visit(app.match, first.cookie)).text).toBe("Count: 3\n")
    await stop(app.child, "SIGKILL")
  })

  it("serve, answer and stop by the command that npm linked", async () => {
    const service = await start(
      join(folder, "node_modules/.bin/coatcheck"),
      ["serve", "--port", "0", "--store", "memory:", "--log-format", "json"],
      /localhost:(\d+)/,
    )
    const reply = await fetch(`http://127.0.0.1:${service.match}/`, {
      method: "POST",
      body: '{"a":1}',
      headers: { "content-type": "application/json" },
    })
    expect([reply.status, await reply.json()]).toEqual([200, { a: 1 }])
    expect(await stop(service.child, "SIGTERM")).toBe(0)
  })

  it("open every door by their names", () => {
    const doors = packed.flatMap(({ name }) => {
      const { exports } = JSON.parse(readFileSync(join(folder, "node_modules", name, "package.json"), "utf8")) as {
        exports: Record<string, unknown>
      }
      return Object.keys(exports).map((door) => name + door.slice(1))
    })
    expect(doors.length).toBeGreaterThan(5)
    const script = doors
      .map(
        (door) =>
          `if (Object.keys(await import(${JSON.stringify(door)})).length === 0) throw new Error("nothing behind ${door}")`,
      )
      .join("\n")
    writeFileSync(join(folder, "doors.mjs"), script)
    execFileSync(process.execPath, ["doors.mjs"], { cwd: folder })
  })
})
