// The classic wire: one flat name space, and every member of a written object is one key. Programs written years ago speak it, so
// its habits are kept to the letter: POST and PUT write, an absent key is 200 with null, nothing redirects, and no Accept
// field is too narrow. What is absent is told apart from a stored null by a header field that old clients don't look at.

import { CoatcheckError, type Page } from "coatcheck"
import { type Problem, problemOf, quote } from "coatcheck/protocol"
import { readText } from "./body.ts"
import { type Call, type Fields, sendJson, sendProblem } from "./call.ts"
import { sendAllowed, tellFailure } from "./failure.ts"
import { parseWrite } from "./forms.ts"
import { checkKey } from "./keys.ts"
import { permits } from "./scope.ts"
import { beginPages, endStream, pages, writePart } from "./stream.ts"

const absent: Fields = ["Coatcheck-Absent", "1"]
const present: Fields = []
// How many members are handed to the store at once: it may put them into one transaction, which holds up everybody else.
const atOnce = 256

/** `/<key>`: one key. */
export function classicKey(call: Call, key: string): Promise<void> | void {
  switch (call.method) {
    case "GET":
    case "HEAD":
      return permits(call, "read") ? readKey(call, key) : undefined
    case "DELETE":
      return permits(call, "write") ? deleteKey(call, key) : undefined
    default:
      return sendAllowed(call, "GET, HEAD, DELETE, OPTIONS")
  }
}

/** `/`: all keys, or a write. */
export function classicRoot(call: Call): Promise<void> | void {
  switch (call.method) {
    case "GET":
    case "HEAD":
      return permits(call, "read") ? listKeys(call) : undefined
    case "POST":
    case "PUT":
      return permits(call, "write") ? writeMembers(call) : undefined
    default:
      return sendAllowed(call, "GET, HEAD, POST, PUT, OPTIONS")
  }
}

async function readKey(call: Call, key: string): Promise<void> {
  checkKey(key)
  const entry = await call.setting.store.get(key)
  sendMember(call, key, entry?.value)
}

async function deleteKey(call: Call, key: string): Promise<void> {
  checkKey(key)
  const outcome = await call.setting.store.delete(key)
  sendMember(call, key, outcome.ok ? outcome.removed?.value : outcome.current.value)
}

function sendMember(call: Call, key: string, value: string | undefined): void {
  sendJson(call, 200, `{${quote(key)}:${value ?? "null"}}`, value === undefined ? absent : present)
}

async function writeMembers(call: Call): Promise<void> {
  const { request, setting } = call
  const body = await readText(call, setting.limits.bodyBytes)
  const parsed = parseWrite(body, request.headers["content-type"])
  const members = parsed instanceof Promise ? await parsed : parsed
  if (members.size === 0 && call.method === "PUT") {
    throw new CoatcheckError("invalid", 'PUT needs at least one member: {"key": "value"}')
  }
  for (const key of members.keys()) checkKey(key)
  if (members.size === 1) {
    for (const [key, value] of members) await setting.store.set(key, value)
  } else {
    const problem = await storeMembers(call, [...members])
    if (problem) return sendProblem(call, problem)
  }
  sendJson(call, 200, echo(members))
}

// The members are independent keys, and a store may fail between two of them: then the answer says how many are there.
async function storeMembers(call: Call, members: readonly (readonly [string, string])[]): Promise<Problem | null> {
  const { store } = call.setting
  let stored = 0
  for (let start = 0; start < members.length; start += atOnce) {
    const part = members.slice(start, start + atOnce)
    const outcomes = await Promise.allSettled(part.map(([key, value]) => store.set(key, value)))
    const failed = outcomes.filter((outcome) => outcome.status === "rejected")
    stored += outcomes.length - failed.length
    const [first] = failed
    if (first === undefined) continue
    if (stored === 0) throw first.reason
    const { status } = tellFailure(call, first.reason, "write")
    const detail = `${stored} of ${members.length} members were stored, then the store failed: send the request again`
    return { ...problemOf(new CoatcheckError("unknown-outcome", detail)), status }
  }
  return null
}

function echo(members: ReadonlyMap<string, string>): string {
  let text = ""
  for (const [key, value] of members) text += `${text === "" ? "{" : ","}${quote(key)}:${value}`
  return text === "" ? "{}" : `${text}}`
}

async function listKeys(call: Call): Promise<void> {
  const { store } = call.setting
  const prefix = new URLSearchParams(call.search).get("prefix") ?? ""
  const listing = pages(store, { values: false, ...(prefix === "" ? {} : { prefix }) })
  if (!store.info.ordered) return sendJson(call, 200, `{"keys":[${(await sortedKeys(listing)).map(quote).join(",")}]}`)
  let text = '{"keys":['
  let between = ""
  for await (const { entries, cursor } of listing) {
    for (const { key } of entries) {
      text += between + quote(key)
      between = ","
    }
    if (cursor === null) text += "]}"
    if (!call.response.headersSent) {
      if (cursor === null) return sendJson(call, 200, text)
      beginPages(call, "application/json")
    }
    if (call.method === "HEAD") break
    await writePart(call, text)
    text = ""
  }
  endStream(call)
}

// A store without an order may also give a key twice.
async function sortedKeys(listing: AsyncIterable<Page>): Promise<string[]> {
  const keys = new Set<string>()
  for await (const { entries } of listing) for (const { key } of entries) keys.add(key)
  const bytes = Array.from(keys, (key) => Buffer.from(key))
  return bytes.sort(Buffer.compare).map(String)
}
