// `coatcheck doctor URL`: is it up, is it well, and if not, what to do. A service is asked over HTTP, a store is opened as an
// application would open it. Checks build on each other, so the first one that fails ends the list: what follows could only repeat it.
// It changes nothing, unless --write lets it write, read and delete a key of its own; and it creates no file.

import type { Finding } from "./checks.ts"
import { findingLine } from "./checks.ts"
import type { Surroundings } from "./dump.ts"
import { Failure } from "./fail.ts"

/** What the command line may say. */
export interface DoctorFlags {
  /** Write, read and delete a key of its own. */
  readonly write?: boolean
}

/**
 * Prints the findings, one line each.
 *
 * @throws UsageError for a URL that can't be meant; Failure naming the first check that failed
 */
export async function doctor(url: string, flags: DoctorFlags, surroundings: Surroundings): Promise<void> {
  const isStore = /^[a-z][a-z0-9+.-]*:(?!\d)/i.test(url) && !/^https?:/i.test(url) && !/^[^/?#]*@/.test(url)
  const findings = isStore
    ? (await import("./doctor-store.ts")).examineStore(url, flags.write === true, surroundings.note)
    : (await import("./doctor-service.ts")).examineService(url, flags.write === true, surroundings)
  let failed: Finding | null = null
  for await (const finding of findings) {
    surroundings.stdout.write(`${findingLine(finding)}\n`)
    if (finding.level === "fail") failed ??= finding
  }
  if (failed) throw new Failure(`${failed.check}: ${failed.text}`)
}
