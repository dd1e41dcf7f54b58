// Sessions sit in front of every request of somebody's application, also where it starts cold a thousand times a day. So what each
// door loads has a limit, written down here, and growing over it is a decision and not an accident. Measured is the built code
// that a door reaches by its static imports, comments included, compressed by gzip; drivers and node: modules are not ours.

import { readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { gzipSync } from "node:zlib"

/** Door to bytes of gzip, with about a tenth of room. */
const allowed: Readonly<Record<string, number>> = {}

const home = join(import.meta.dirname, "../packages/coatcheck")
const { exports } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as {
  exports: Record<string, { default: string }>
} // our own file

function reach(file: string, seen: Map<string, string>): Map<string, string> {
  if (seen.has(file)) return seen
  const code = readFileSync(file, "utf8")
  seen.set(file, code)
  for (const [, target = ""] of code.matchAll(/^(?:import|export)\b[^;]*?"(\.[^"]+)"/gm))
    reach(join(dirname(file), target), seen)
  return seen
}

for (const [door, { default: file }] of Object.entries(exports)) {
  const size = gzipSync([...reach(join(home, file), new Map()).values()].join("\n")).length
  const limit = allowed[door]
  if (process.argv.includes("--list")) console.log(`  "${door}": ${size},`)
  else if (limit === undefined || size > limit) {
    console.error(
      `${door}: ${size} bytes of gzip, allowed are ${limit ?? 0}. Make it smaller, or raise its limit in scripts/check-size.ts and say why.`,
    )
    process.exitCode = 1
  }
}
