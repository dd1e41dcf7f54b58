// strace on a process that runs: makes its system calls fail, or do nothing, and writes down which did.

import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync, rmSync } from "node:fs"
import { createInterface } from "node:readline"

/** strace at work. */
export interface Tracing {
  /** Lets go of the process, and gives the calls that were tampered with, a line each. */
  end(): Promise<string[]>
}

/**
 * Tampers with system calls of all threads of a process from now on; resolves when it does.
 *
 * @param calls strace's set of calls, such as "fsync,fdatasync".
 * @param how what happens to them, in strace's words: "error=EIO:when=3", "retval=0". Calls are counted by thread.
 * @param log a file to write to.
 */
export async function tamper(pid: number | undefined, calls: string, how: string, log: string): Promise<Tracing> {
  const flags = ["-f", "-y", "-o", log, "-e", `trace=${calls}`, "-e", `inject=${calls}:${how}`, "-p", String(pid)]
  const strace = spawn("strace", flags, { stdio: ["ignore", "ignore", "pipe"] })
  const ended = once(strace, "close")
  const lines: string[] = []
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: strace.stderr }).on("line", (line) => {
      lines.push(line)
      if (/attached/.test(line)) resolve()
    })
    strace.once("error", () => reject(new Error("strace is needed: apt-get install strace")))
    ended.then(() => reject(new Error(`strace can't attach: ${lines.join(" ")}`)), reject)
  })
  return {
    async end() {
      strace.kill("SIGINT")
      await ended
      const tampered = readFileSync(log, "utf8")
        .split("\n")
        .filter((line) => line.includes("INJECTED"))
      rmSync(log)
      return tampered
    },
  }
}
