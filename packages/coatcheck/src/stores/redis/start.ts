// What a store looks at once, when it has connected: whether the clocks agree, and whether the server is set up in a way that loses sessions
// sooner or later. It says so and goes on; a server that does not let itself be asked (managed ones refuse CONFIG, some users INFO) is taken
// as it is.

import type { Clock } from "../../core/clock.ts"
import type { StoreReport } from "../../core/store.ts"
import type { RedisConnection, RedisNode } from "./connection.ts"

const SKEW_MS = 2_000

type Finding = Pick<StoreReport, "kind" | "message">

/**
 * What should be said of the servers, each thing once.
 *
 * @param waits the store waits for replicas by itself
 */
export async function findingsOf(connection: RedisConnection, clock: Clock, waits: boolean): Promise<Finding[]> {
  const nodes = await connection.primaries()
  const all = await Promise.all(nodes.map((node) => findingsAt(node, clock, waits)))
  return [...new Map(all.flat().map((finding) => [finding.message, finding])).values()]
}

async function findingsAt(node: RedisNode, clock: Clock, waits: boolean): Promise<Finding[]> {
  const sentAt = clock.now()
  const [time, info, config] = await Promise.all([
    node.send(["TIME"]).then((reply) => ({ reply, at: clock.now() }), nothing),
    node.send(["INFO"]).catch(nothing),
    node.send(["CONFIG", "GET", "appendfsync"]).catch(nothing),
  ])
  const fields = new Map([...String(info).matchAll(/^(\w+):(.*?)\r?$/gm)].map(([, name, value]) => [name, value]))
  const found: Finding[] = []
  if (time !== null) found.push(...skew(time.reply, (sentAt + time.at) / 2))
  found.push(...losses(fields, text(config), waits).map((message) => ({ kind: "warning" as const, message })))
  return found
}

function skew(reply: unknown, now: number): Finding[] {
  const [seconds, micros] = Array.isArray(reply) ? reply.map(Number) : []
  const difference = Math.abs((seconds ?? Number.NaN) * 1_000 + (micros ?? 0) / 1_000 - now)
  if (!(difference > SKEW_MS)) return []
  const about = `about ${Math.round(difference / 1_000)} s`
  return [{ kind: "skew", message: `The clocks of this machine and the redis server differ by ${about}: see to both` }]
}

function losses(fields: ReadonlyMap<string | undefined, string | undefined>, config: string, waits: boolean): string[] {
  const policy = fields.get("maxmemory_policy") ?? "noeviction"
  const replicas = Number(fields.get("connected_slaves") ?? 0)
  const found: string[] = []
  if (policy !== "noeviction") {
    found.push(
      `The redis server throws out sessions when its memory is full (maxmemory-policy ${policy}): set noeviction`,
    )
  }
  if (fields.get("aof_enabled") === "0") {
    found.push("The redis server keeps no append-only file, so its crash loses sessions: set appendonly yes")
  } else if (/everysec/.test(config)) {
    found.push(
      "A crash of the redis server may lose the last second's writes (appendfsync everysec): set always if that matters",
    )
  } else if (/\bno\b/.test(config)) {
    found.push(
      "A crash of the redis server may lose the last half minute's writes (appendfsync no): set everysec or always",
    )
  }
  // The field is there when min-replicas-to-write is set.
  if (replicas > 0 && !waits && !fields.has("min_slaves_good_slaves")) {
    const remedy = "set min-replicas-to-write, or give the store the option wait"
    found.push(`A failover of the redis server may lose what no replica has yet: ${remedy}`)
  }
  return found
}

/** CONFIG's answer, a list or a map, as text to look for words in. */
function text(reply: unknown): string {
  if (reply instanceof Map) return [...(reply.values() as Iterable<unknown>)].map(String).join(" ")
  if (Array.isArray(reply)) return reply.slice(1).map(String).join(" ")
  return typeof reply === "object" && reply !== null ? Object.values(reply).map(String).join(" ") : ""
}

function nothing(): null {
  return null
}
