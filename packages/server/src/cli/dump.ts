// `coatcheck dump URL`: every key and value of a service, one line each. Values are printed from the text that the service sent and are
// never parsed, so that numbers keep their digits and a million entries take seconds.

import { once } from "node:events"
import type { Writable } from "node:stream"
import { type Line, readEntries } from "./entries.ts"
import { Failure, UsageError } from "./fail.ts"
import { httpClient } from "./http-client.ts"
import { decodeString, oneLine } from "./json-text.ts"
import { maskJson } from "./mask.ts"
import { pythonLiteral } from "./python.ts"
import { parseServiceUrl } from "./service-url.ts"

/**
 * How a line looks. python: a dictionary of one entry as Python prints it. json: an object of one member, NDJSON. raw: the key, a tab,
 * and the value's JSON text as it was written (a key holds no tab).
 */
export const formats = ["python", "json", "raw"] as const
/** One of {@link formats}. */
export type Format = (typeof formats)[number]

/** What the command line may say. `format` is checked by `dump`. */
export interface DumpFlags {
  readonly prefix?: string
  readonly format: string
  readonly mask?: boolean
}

/** Where a command reads its settings and writes. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: Writable
  /** One line for the person at the terminal. */
  note(line: string): void
}

const printers: Readonly<Record<Format, (line: Line) => string>> = {
  python: ({ key, value }) => `${pythonLiteral(`{${key}:${value}}`)}\n`,
  json: ({ key, value }) => `{${key}: ${oneLine(value)}}\n`,
  raw: ({ key, value }) => `${decodeString(key)}\t${oneLine(value)}\n`,
}

/** How entries are printed in a format, with ids masked or not. */
export function printer(format: Format, mask: boolean): (line: Line) => string {
  const print = printers[format]
  return mask ? ({ key, value }) => print({ key: maskJson(key), value: maskJson(value) }) : print
}

/**
 * Prints a service's entries.
 *
 * @throws UsageError for a bad URL or format; Failure when the service can't be reached, refuses, or stops in the middle
 */
export async function dump(url: string, flags: DumpFlags, { env, stdout, note }: Surroundings): Promise<void> {
  const format = formats.find((known) => known === flags.format)
  if (!format) throw new UsageError(`--format must be one of ${formats.join(", ")}`)
  const service = parseServiceUrl(url, env["COATCHECK_TOKEN"])
  if (service.secretInUrl)
    note("the URL holds a credential that other users can see; give it by COATCHECK_TOKEN instead")
  const print = printer(format, flags.mask === true)
  const client = httpClient(service)
  try {
    for await (const lines of readEntries(client, flags.prefix ?? "")) await write(stdout, lines.map(print).join(""))
  } catch (error) {
    throw error instanceof SyntaxError
      ? new Failure(`${service.name} answers something that is not JSON`, { cause: error })
      : error
  } finally {
    client.close()
  }
}

/** Writes, and waits until there is room for more. */
async function write(stdout: Writable, text: string): Promise<void> {
  if (!stdout.write(text)) await once(stdout, "drain")
}
