// The service's log: pino's JSON lines for machines, one readable line an event for a person at a terminal. The same events either
// way. Two rules hold at every level: fields that could hold a credential are replaced before they are written, and no text from
// outside can break a line or steer a terminal, because JSON escapes it and the plain form prints JSON's escapes.

import { type DestinationStream, destination, type Logger, pino } from "pino"
import { printable } from "./fail.ts"
import type { LogFormat } from "./settings.ts"

const secretFields = ["authorization", "cookie", "set-cookie", "token", "secret", "password"]

/** A log on stdout. "auto": plain on a terminal, else JSON. */
export function createLog(level: string, format: LogFormat): Logger {
  const stdout = destination({ fd: 1, sync: true })
  const plain = format === "plain" || (format === "auto" && process.stdout.isTTY)
  return logTo(plain ? { write: (line) => stdout.write(plainLine(line)) } : stdout, level)
}

/** A log that writes its JSON lines into a stream. */
export function logTo(stream: DestinationStream, level: string): Logger {
  const paths = secretFields.flatMap((field) => [`["${field}"]`, `*["${field}"]`, `*.*["${field}"]`])
  return pino(
    { level, base: null, redact: { paths, censor: "[hidden]" }, timestamp: pino.stdTimeFunctions.isoTime },
    stream,
  )
}

const levelNames: Readonly<Record<number, string>> = {
  10: "trace",
  20: "debug",
  30: "info",
  40: "warn",
  50: "error",
  60: "fatal",
}

/** One JSON line of the log as `12:34:56 warn  the message  field=value`. */
export function plainLine(json: string): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Record<string, unknown> // pino writes objects
  const clock = String(time).slice(11, 19)
  const name = (levelNames[Number(level)] ?? "").padEnd(5)
  const rest = Object.entries(fields).map(
    ([key, value]) => `${key}=${typeof value === "number" ? value : JSON.stringify(value)}`,
  )
  return `${printable([clock, name, typeof msg === "string" ? msg : "", ...rest].join(" "), 2_000)}\n`
}
