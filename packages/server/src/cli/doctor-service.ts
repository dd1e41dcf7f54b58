// The doctor's visit to a service: does it answer, which wire does it speak, is it well and ready, who may ask, how fast is it, does
// its clock agree with ours and, if allowed, does a key come back as it was written.

import { headers, keyPath, listPath, members, paths, problemType, quote, recordPath } from "coatcheck/protocol"
import { examine, type Finding, PROBE_MS, probeKey, roundTrips, type Verdict } from "./checks.ts"
import type { Surroundings } from "./dump.ts"
import { Failure } from "./fail.ts"
import { type Client, httpClient, refusal, type Reply } from "./http-client.ts"
import { parseServiceUrl } from "./service-url.ts"
import { isLoopback } from "./settings.ts"

/** Which wire a service speaks, and how it answered the question for keys. */
interface Wire {
  readonly strict: boolean
  readonly reply: Reply
}

// Milliseconds of silence after which a service counts as down.
const PATIENCE_MS = 3_000
const SKEW_MS = 2_000

/**
 * Examines a service; the first failed check is the last.
 *
 * @throws UsageError when the URL is none of a service
 */
export async function* examineService(
  url: string,
  mayWrite: boolean,
  { env, note }: Pick<Surroundings, "env" | "note">,
): AsyncGenerator<Finding> {
  const service = parseServiceUrl(url, env["COATCHECK_TOKEN"])
  if (service.secretInUrl)
    note("the URL holds a credential that other users can see; give it by COATCHECK_TOKEN instead")
  const client = httpClient(service, { patience: PATIENCE_MS, connections: 1 })
  let wire: Wire | null = null
  const visit: Readonly<Record<string, () => Promise<Verdict>>> = {
    reach: () => reach(client),
    wire: async () => {
      wire = await findWire(client)
      if (wire.strict) return ["ok", "strict: conditions, ends, owners and batches"]
      return ["warn", "classic only: stores reach it by ?wire=classic, and parallel changes of a session can be lost"]
    },
    health: () => health(client, wire),
    ready: () => ready(client, wire),
    access: () => access(client, wire),
    speed: () => roundTrips(() => client.ask({ path: keyPath("coatcheck-doctor") })),
    clock: () => clock(client),
    ...(mayWrite ? { write: () => write(client, wire) } : {}),
  }
  try {
    for (const [check, look] of Object.entries(visit)) {
      const finding = await examine(check, look)
      yield finding
      if (finding.level === "fail") return
    }
  } finally {
    client.close()
  }
}

async function reach(client: Client): Promise<Verdict> {
  const reply = await client.ask({ path: paths.health })
  if ([400, 403, 421].includes(reply.status)) throw refusal(client.service, reply)
  return ["ok", `${client.service.name} answers`]
}

async function findWire(client: Client): Promise<Wire> {
  const probe = probeKey()
  if (!client.service.classic) {
    const reply = await client.ask({ path: listPath({ prefix: probe, limit: 1, values: false }) })
    const problem = reply.headers["content-type"]?.startsWith(problemType) === true
    if (reply.status === 200 ? memberOf(reply, "entries") !== null : problem && reply.status !== 404)
      return { strict: true, reply }
  }
  const reply = await client.ask({ path: `/?prefix=${encodeURIComponent(probe)}` })
  if (reply.status === 200 && memberOf(reply, "keys") === null) {
    throw new Failure(`${client.service.name} answers something else than keys: is it a Coatcheck service?`)
  }
  if (reply.status !== 200 && reply.status !== 401 && reply.status !== 403) throw refusal(client.service, reply)
  return { strict: false, reply }
}

async function health(client: Client, wire: Wire | null): Promise<Verdict> {
  if (wire?.strict !== true) return ["ok", "not told by a service of the classic wire"]
  const reply = await client.ask({ path: paths.health })
  if (reply.status !== 200) throw refusal(client.service, reply)
  return ["ok", "the process is well"]
}

async function ready(client: Client, wire: Wire | null): Promise<Verdict> {
  if (wire?.strict !== true) return ["ok", "not told by a service of the classic wire"]
  const reply = await client.ask({ path: paths.ready })
  if (reply.status !== 200) throw refusal(client.service, reply)
  return ["ok", "its store answers, and it takes requests"]
}

/** From how the service answered with our credentials, if we have some, and how it answers without. */
async function access(client: Client, wire: Wire | null): Promise<Verdict> {
  const { service } = client
  const local = isLoopback(service.host)
  const reply = wire?.reply ?? { status: 0, headers: {}, body: "" }
  if (reply.status === 403 && service.authorization !== null) return ["warn", "the token is known, but may not read"]
  if (reply.status !== 200) throw refusal(service, reply)
  if (service.authorization === null) {
    if (local) return ["ok", "open to everybody on this machine"]
    return ["warn", "open to everybody who can reach it: serve it with --token-file"]
  }
  const stranger = httpClient({ ...service, authorization: null }, { patience: PATIENCE_MS, connections: 1 })
  try {
    const { status } = await stranger.ask({ path: `/?prefix=${encodeURIComponent(probeKey())}` })
    if (status !== 401) return ["warn", "the token is taken, but nobody needs one: serve it with --token-file"]
  } finally {
    stranger.close()
  }
  if (service.secure || local) return ["ok", "the token is known, and one is needed"]
  return ["warn", "the token is known, but travels in clear text: put HTTPS before the service"]
}

/** The Date field tells whole seconds: only a difference that is larger for sure is told. */
async function clock(client: Client): Promise<Verdict> {
  const sent = Date.now()
  const { headers: fields } = await client.ask({ path: paths.health })
  const received = Date.now()
  const there = Date.parse(fields.date ?? "")
  if (Number.isNaN(there)) return ["warn", "the service does not tell its time (no Date field)"]
  const behind = sent - (there + 1_000)
  const ahead = there - received
  const skew = Math.max(behind, ahead)
  if (skew <= SKEW_MS) return ["ok", "agrees with this machine's"]
  const seconds = Math.round(skew / 1_000)
  return ["warn", `${seconds} s ${ahead > behind ? "ahead of" : "behind"} this machine's: keep both by NTP`]
}

async function write(client: Client, wire: Wire | null): Promise<Verdict> {
  const key = probeKey()
  const strict = wire?.strict === true
  const path = strict ? recordPath(key) : keyPath(key)
  const written = strict ? await putRecord(client, path, quote(key)) : await postKey(client, key)
  if (written.status === 403) return ["warn", "the token may not write, so nothing was tried"]
  if (written.status >= 300) throw refusal(client.service, written)
  const read = await client.ask({ path })
  const removed = await client.ask({ method: "DELETE", path })
  if (removed.status !== 200) throw refusal(client.service, removed)
  if (read.status === 403) return ["warn", "a key was written and removed; the token may not read it"]
  const value = strict ? read.body : memberOf(read, key)
  if (value !== quote(key)) throw new Failure("a key did not come back as it was written")
  return ["ok", "a key was written, read back and removed"]
}

function putRecord(client: Client, path: string, body: string): Promise<Reply> {
  const fields = { "content-type": "application/json", "if-none-match": "*", [headers.ttl]: String(PROBE_MS) }
  return client.ask({ method: "PUT", path, headers: fields, body })
}

/** By POST and, where an old service does not take it, by PUT. */
async function postKey(client: Client, key: string): Promise<Reply> {
  const call = { path: "/", headers: { "content-type": "application/json" }, body: `{${quote(key)}:${quote(key)}}` }
  const reply = await client.ask({ ...call, method: "POST" })
  return reply.status === 405 ? client.ask({ ...call, method: "PUT" }) : reply
}

/** The text of one member of a reply, or null: it is no JSON object that has one. */
function memberOf({ body }: Reply, name: string): string | null {
  try {
    return members(body).get(name) ?? null
  } catch {
    return null // whatever it is, the caller says what is missing
  }
}
