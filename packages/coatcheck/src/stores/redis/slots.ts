// Which of a cluster's 16,384 slots a key is in, and who has which slots. The rule of the cluster specification: CRC-16 (XMODEM) of the key's
// bytes, or of what stands between its first `{` and the next `}` when that is not empty.

import type { Endpoint } from "./address.ts"

/** How many slots there are. */
export const SLOTS = 16_384

/** One primary and its slots. */
export interface SlotOwner extends Endpoint {
  /** The node's id, the same for as long as the node lives. */
  readonly id: string
  /** First and last slot of each range. */
  readonly ranges: readonly (readonly [number, number])[]
}

const table = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1
  return crc
})

/** The slot of a key. */
export function slotOf(key: string): number {
  const hashed = tagOf(key)
  let crc = 0
  for (let at = 0; at < hashed.length; at++) {
    const unit = hashed.charCodeAt(at)
    if (unit > 127) return slotOfBytes(Buffer.from(hashed))
    crc = step(crc, unit)
  }
  return crc % SLOTS
}

/**
 * The primaries of a cluster and, apart, every server that it names, out of the answer to CLUSTER SLOTS.
 *
 * @param asked whom we asked: a node that knows no name of its own goes by the address that led to it.
 */
export function readSlots(answer: unknown, asked: Endpoint): { owners: SlotOwner[]; servers: Endpoint[] } {
  const owners = new Map<string, { id: string; host: string; port: number; ranges: [number, number][] }>()
  const servers: Endpoint[] = []
  for (const entry of Array.isArray(answer) ? answer : []) {
    const [from, to, ...nodes] = Array.isArray(entry) ? (entry as unknown[]) : []
    nodes.forEach((node, rank) => {
      const [host, port, id] = Array.isArray(node) ? (node as unknown[]) : []
      if (typeof port !== "number" || host === "?") return // a node whose address the cluster does not know
      const endpoint = { host: typeof host === "string" && host !== "" ? host : asked.host, port }
      servers.push(endpoint)
      if (rank > 0 || typeof id !== "string") return
      const owner = owners.get(id) ?? { id, ...endpoint, ranges: [] }
      owner.ranges.push([Number(from), Number(to)])
      owners.set(id, owner)
    })
  }
  return { owners: [...owners.values()], servers }
}

function tagOf(key: string): string {
  const open = key.indexOf("{")
  if (open < 0) return key
  const close = key.indexOf("}", open + 1)
  return close > open + 1 ? key.slice(open + 1, close) : key
}

function slotOfBytes(bytes: Uint8Array): number {
  return bytes.reduce(step, 0) % SLOTS
}

function step(crc: number, byte: number): number {
  return ((crc << 8) & 0xffff) ^ (table[((crc >> 8) ^ byte) & 0xff] as number) // the table has 256 entries
}
