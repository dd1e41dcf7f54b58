// Sessions sit in front of every request of somebody's application, also where it starts cold a thousand times a day. So what each
// door loads has a limit, written down here, and growing over it is a decision and not an accident. Measured is the built code
// that a door reaches by its static imports, without comments (nobody should save on those), compressed by gzip; drivers and
// node: modules are not ours. `--list` prints what there is.

import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { gzipSync } from "node:zlib"

/** Door to bytes of gzip, with about a tenth of room. */
const allowed: Readonly<Record<string, number>> = {
  ".": 24_500, // the rules of the contract are in it, for whoever writes a store, and signing in
  "./open": 2_200,
  "./memory": 7_700,
  "./file": 15_700,
  "./sqlite": 12_100,
  "./redis": 25_500, // one node, Sentinel and Cluster, and four kinds of clients of the caller's own
  "./postgres": 16_300,
  "./http": 23_800, // with its own HTTP client over sockets
  "./cached": 6_400,
  "./encrypted": 6_900,
  "./guarded": 6_700,
  "./fetch": 7_700,
  "./node": 10_000,
  "./protocol": 8_300,
  "./testing": 56_000, // three whole suites and what they stand on; loaded by tests alone
}

const root = join(import.meta.dirname, "..")
const home = join(root, "packages/coatcheck")
const built = mkdtempSync(join(tmpdir(), "coatcheck-size-"))
process.on("exit", () => rmSync(built, { recursive: true }))
const { exports } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as {
  exports: Record<string, { default: string }>
} // our own file

const flags = ["composite", "incremental", "declaration", "isolatedDeclarations", "sourceMap", "inlineSources"].flatMap(
  (flag) => [`--${flag}`, "false"],
)
const tsc = [join(root, "node_modules/typescript/bin/tsc"), "-p", join(home, "tsconfig.build.json"), ...flags]
execFileSync(
  process.execPath,
  [...tsc, "--tsBuildInfoFile", "null", "--noCheck", "--removeComments", "--outDir", built],
  { stdio: "inherit" },
)

function reach(file: string, seen: Map<string, string>): Map<string, string> {
  if (seen.has(file)) return seen
  const code = readFileSync(file, "utf8")
  seen.set(file, code)
  for (const [, target = ""] of code.matchAll(/^(?:import|export)\b[^;"]*"(\.\.?\/[^"]+\.js)";$/gm))
    reach(join(dirname(file), target), seen)
  return seen
}

for (const [door, { default: file }] of Object.entries(exports)) {
  const entry = join(built, file.replace("./dist/", ""))
  const size = gzipSync([...reach(entry, new Map()).values()].join("\n")).length
  const limit = allowed[door] ?? 0
  if (process.argv.includes("--list")) console.log(`  "${door}": ${size},`)
  else if (size > limit) {
    console.error(
      `${door}: ${size} bytes of gzip, allowed are ${limit}. Make it smaller, or raise its limit in scripts/check-size.ts and say why.`,
    )
    process.exitCode = 1
  }
}
