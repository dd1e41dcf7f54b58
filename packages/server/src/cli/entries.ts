// All entries of a service, for a dump: by the strict wire as one stream, else, from a service that knows only the classic wire, by
// the list of keys and a GET for each. Which of the two it is shows in the answer to the first request.
//
// Entries come in batches, one for each chunk from the network, because a promise an entry would cost more than the entry. The
// consumer's pace is the service's pace: nothing is read ahead but what the sockets buffer, so memory stays flat whatever the size.

import type { IncomingMessage } from "node:http"
import { elements, headers, keyPath, listPath, members, parseProblem, problemType, quote } from "coatcheck/protocol"
import { Failure } from "./fail.ts"
import { type Client, refusal, type Reply } from "./http-client.ts"
import { decodeString, stringEnd } from "./json-text.ts"

/** A key and its value, both as JSON text: the key a string with its quotes, the value as it was written. */
export interface Line {
  readonly key: string
  readonly value: string
}

const ndjson = "application/x-ndjson"
// Characters. A list is held in memory, so it ends where a string does; a line holds a value, and services may raise their limit.
const LIST_LIMIT = 500_000_000
const LINE_LIMIT = 100_000_000
const PROBLEM_LIMIT = 65_536

/**
 * The entries whose keys begin with `prefix`, in the service's order (key order on the classic wire).
 *
 * @throws Failure when the service can't be reached, refuses, or stops in the middle
 */
export async function* readEntries(client: Client, prefix: string): AsyncGenerator<readonly Line[]> {
  const response = client.service.classic ? null : await openStream(client, prefix)
  if (response) yield* readStream(client, response)
  else yield* readClassic(client, prefix)
}

/** The stream of the strict wire, or null when the service does not speak it. */
async function openStream(client: Client, prefix: string): Promise<IncomingMessage | null> {
  const response = await client.open({ path: listPath({ prefix }), headers: { accept: `${ndjson}, ${problemType}` } })
  const type = response.headers["content-type"] ?? ""
  if (response.statusCode === 200 && type.startsWith(ndjson)) return response
  if (!type.startsWith(problemType)) {
    response.destroy() // whatever it is, it is not ours; an old service's answer may be any size
    return null
  }
  const body = await readAll(client, response)
  // An old service of ours may answer in problems too; only one that says "no such path" can be without the strict wire.
  if (response.statusCode === 404 && parseProblem(body) !== null) return null
  throw refusal(client.service, { status: response.statusCode ?? 0, body })
}

async function readAll(client: Client, response: IncomingMessage): Promise<string> {
  let body = ""
  for await (const chunk of client.chunks(response)) if (body.length < PROBLEM_LIMIT) body += chunk
  return body
}

async function* readStream(client: Client, response: IncomingMessage): AsyncGenerator<readonly Line[]> {
  let rest = ""
  for await (const chunk of client.chunks(response)) {
    const lines = (rest + chunk).split("\n")
    rest = lines.pop() ?? ""
    if (rest.length > LINE_LIMIT) throw unreadable(client, null)
    if (lines.length > 0) yield readLines(client, lines)
  }
  if (rest.trim() !== "") throw unreadable(client, null)
}

function readLines(client: Client, lines: readonly string[]): readonly Line[] {
  try {
    return lines.map(readLine)
  } catch (error) {
    throw unreadable(client, error)
  }
}

// {"key":"…","value":…,"version":"…","ttl":…,"owner":…}: what stands behind the value holds no other quote than these, so the last
// place where it can begin is the place.
const tail = /,"version":"[^"\\]*","ttl":(?:null|\d+),"owner":(?:null|"(?:[^"\\]|\\.)*")\}\r?$/y

/** Key and value of one line. Fast where the members come in their usual order; right in every order. */
function readLine(line: string): Line {
  if (line.startsWith('{"key":"')) {
    const keyEnd = stringEnd(line, 7)
    const valueEnd = line.lastIndexOf(',"version":"')
    tail.lastIndex = valueEnd
    if (line.startsWith(',"value":', keyEnd) && valueEnd > keyEnd + 9 && tail.test(line)) {
      return { key: line.slice(7, keyEnd), value: line.slice(keyEnd + 9, valueEnd) }
    }
  }
  const found = members(line)
  const key = found.get("key")
  const value = found.get("value")
  if (!key?.startsWith('"') || value === undefined) throw new SyntaxError("an entry has a key and a value")
  return { key, value }
}

function unreadable(client: Client, cause: unknown): Failure {
  return new Failure(
    `${client.service.name} answers something that is no list of entries: is it a Coatcheck service?`,
    { cause },
  )
}

// How many GETs are under way at once: enough to hide the network, few enough for a service that takes one at a time.
const AT_ONCE = 8

async function* readClassic(client: Client, prefix: string): AsyncGenerator<readonly Line[]> {
  const keys = (await listKeys(client, prefix)).sort(byBytes)
  for (let from = 0; from < keys.length; from += AT_ONCE) {
    const lines = await Promise.all(keys.slice(from, from + AT_ONCE).map((key) => readKey(client, key)))
    yield lines.filter((line) => line !== null)
  }
}

/** The keys that begin with `prefix`: an old service may not know the filter and tell them all. */
async function listKeys(client: Client, prefix: string): Promise<string[]> {
  const path = prefix === "" ? "/" : `/?prefix=${encodeURIComponent(prefix)}`
  const reply = await client.ask({ path, limit: LIST_LIMIT })
  if (reply.status !== 200) throw refusal(client.service, reply)
  try {
    const keys = elements(members(reply.body).get("keys") ?? "").map(decodeString)
    return keys.filter((key) => key.startsWith(prefix))
  } catch (error) {
    throw unreadable(client, error)
  }
}

/** One key's value; null: it is gone by now. */
async function readKey(client: Client, key: string): Promise<Line | null> {
  const reply = await client.ask({ path: keyPath(key) })
  if (reply.status === 404 || reply.headers[headers.absent] === "1") return null
  if (reply.status !== 200) throw refusal(client.service, reply)
  const value = valueOf(client, reply, key)
  // An old service says null for "absent" and for a stored null alike; the list tells which.
  if (value === "null" && !(await listKeys(client, key)).includes(key)) return null
  return { key: quote(key), value }
}

function valueOf(client: Client, reply: Reply, key: string): string {
  try {
    const value = members(reply.body).get(key)
    if (value !== undefined) return value
  } catch (error) {
    throw unreadable(client, error)
  }
  throw unreadable(client, null)
}

/** UTF-8 byte order, which is the order of code points; JavaScript's own differs where surrogates are. */
function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
