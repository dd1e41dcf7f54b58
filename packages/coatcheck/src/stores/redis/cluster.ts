// A Redis or Valkey cluster: a channel to each primary, and who has which slot. A command goes to the primary of its key's slot; MOVED and
// ASK say that the server did nothing and where to go, so they are followed, five times at most. Everything else a server or a
// connection says is the caller's to judge, and a lost connection never leads to a second sending.
//
// The picture is asked for again when something contradicts it (MOVED, a lost connection, CLUSTERDOWN) and every ten seconds besides, of one
// node after the other until one answers. A driver's own cluster client is no help here: it repeats commands whose connection broke,
// and does not say of those that failed which have left.

import type { Endpoint } from "./address.ts"
import { bell } from "./bell.ts"
import { type Channel, channel, type ChannelParts } from "./channel.ts"
import { type RedisConnection, type RedisNode, RedisLinkError, RedisReplyError } from "./connection.ts"
import { readSlots, type SlotOwner, slotOf, SLOTS } from "./slots.ts"

/** What a cluster's connection is made of. */
export interface ClusterParts extends Pick<ChannelParts, "open" | "options" | "clock" | "deadline"> {
  /** Some of its nodes. */
  readonly seeds: readonly Endpoint[]
}

/** A connection to a cluster, and what watching it needs. */
export interface ClusterConnection extends RedisConnection {
  /** Resolves when the picture is there and a link to each primary; rejects when that takes longer than so many ms. */
  ready(ms: number): Promise<void>
  /** Where the primaries are. */
  places(): readonly Endpoint[]
  /** Calls back whenever that has changed. */
  onMove(listener: () => void): void
}

interface Node extends Endpoint {
  id: string
  readonly channel: Channel
  /** When it was last seen to be of use without being a primary of the picture; 0: it is one. */
  leftAt: number
}

type Picture = ReturnType<typeof readSlots>

const MAX_REDIRECTIONS = 5
const REFRESH_MS = 10_000
/** While something contradicts the picture, it is asked for no more often than that. */
const REFRESH_SOON_MS = 100
/** A node that has not answered for so long is not waited for alone: the next one is asked too. */
const NEXT_MS = 100

/** Connects to a cluster by the nodes that are given, and learns of the others. */
export function clusterConnection({ seeds, ...parts }: ClusterParts): ClusterConnection {
  const nodes = new Map<string, Node>()
  const slots: (Node | undefined)[] = Array.from({ length: SLOTS })
  const listeners = new Set<() => void>()
  const stands = bell()
  /** To nodes that are asked for the picture and for nothing else. */
  const passing = new Set<Channel>()
  let owners: readonly Node[] = []
  /** Whoever may know the cluster: the ones we were given, and all that were ever named, replicas too. */
  let known: readonly Endpoint[] = seeds
  let failure: Error = new Error("The cluster has not answered yet")
  let asking = false
  let lastAsked = 0
  let pause: NodeJS.Timeout | undefined
  let closed = false

  function nodeAt(endpoint: Endpoint, id = ""): Node {
    const name = nameOf(endpoint)
    const there = nodes.get(name)
    if (there !== undefined) {
      if (id !== "") there.id = id
      return there
    }
    const { host, port } = endpoint
    const node: Node = {
      id: id || name,
      host,
      port,
      channel: channel({ ...parts, locate: async () => ({ host, port }), up: settle, down: refreshSoon }),
      leftAt: performance.now(),
    }
    nodes.set(name, node)
    return node
  }

  function refreshSoon(): void {
    if (closed || asking) return
    clearTimeout(pause)
    pause = setTimeout(() => void refresh(), Math.max(0, lastAsked + REFRESH_SOON_MS - performance.now()))
  }

  async function refresh(): Promise<void> {
    asking = true
    const found = await askAround()
    asking = false
    lastAsked = performance.now()
    if (closed) return
    if (found !== null) take(found.owners, found.servers)
    clearTimeout(pause)
    const whole = found !== null && owners.every(({ channel: { isUp } }) => isUp)
    pause = setTimeout(() => void refresh(), (whole ? REFRESH_MS : REFRESH_SOON_MS * 2) * (0.75 + Math.random() / 2))
    settle()
  }

  /** The picture of the first node that has one: those that we have a link to are asked first, then all others. */
  function askAround(): Promise<Picture | null> {
    const up = [...nodes.values()].filter(({ channel: { isUp } }) => isUp)
    const others = known.filter((endpoint) => nodes.get(nameOf(endpoint))?.channel.isUp !== true)
    return firstOf([
      ...shuffled(up).map((node) => () => ask(node, node.channel)),
      ...shuffled(others).map((endpoint) => () => askOnce(endpoint)),
    ])
  }

  async function askOnce(endpoint: Endpoint): Promise<Picture | null> {
    if (closed) return null
    const own = channel({ ...parts, locate: async () => endpoint })
    passing.add(own)
    const found = await ask(endpoint, own)
    passing.delete(own)
    own.close()
    return found
  }

  async function ask(endpoint: Endpoint, over: Channel): Promise<Picture | null> {
    try {
      const answer = await over.ask(Math.min(parts.deadline, 1_000), ["CLUSTER", "SLOTS"])
      const found = readSlots(answer, endpoint)
      return found.owners.length > 0 ? found : null
    } catch (error) {
      if (error instanceof Error) failure = error
      return null
    }
  }

  function take(found: readonly SlotOwner[], servers: readonly Endpoint[]): void {
    const before = owners.map(nameOf).join(" ")
    slots.fill(undefined)
    owners = found
      .map((owner) => {
        const node = nodeAt(owner, owner.id)
        for (const [from, to] of owner.ranges) slots.fill(node, from, to + 1)
        return node
      })
      .sort((a, b) => (a.id < b.id ? -1 : 1))
    known = unique([...servers, ...seeds])
    dismiss()
    if (before !== owners.map(nameOf).join(" ")) for (const listener of listeners) listener()
  }

  /** A node that lost its slots may still owe answers, and one that is given its first is asked before it is in the picture. */
  function dismiss(): void {
    const now = performance.now()
    for (const [name, node] of nodes) {
      if (owners.includes(node)) node.leftAt = 0
      else if (node.leftAt === 0) node.leftAt = now
      else if (now - node.leftAt > REFRESH_MS) {
        nodes.delete(name)
        node.channel.close()
      }
    }
  }

  const nodeOn = ({ id, channel: { send: onward } }: Node): RedisNode => ({ id, send: onward })

  async function send(key: string, args: readonly string[], goingTo?: (node: RedisNode) => void): Promise<unknown> {
    const slot = slotOf(key)
    let node = slots[slot]
    let asks = false
    for (let redirections = 0; ; redirections++) {
      if (node === undefined) {
        refreshSoon()
        throw closed ? new RedisLinkError(false, "The connection is closed") : refusal()
      }
      try {
        goingTo?.(nodeOn(node))
        if (asks) node.channel.send(["ASKING"]).catch(ignore)
        return await node.channel.send(args)
      } catch (error) {
        if (!(error instanceof RedisReplyError)) throw error
        const [word, , to = ""] = error.message.split(" ")
        if (word === "CLUSTERDOWN" || word === "READONLY") refreshSoon()
        asks = word === "ASK"
        if ((!asks && word !== "MOVED") || redirections >= MAX_REDIRECTIONS) throw error
        node = redirected(to, node)
        if (!asks && node !== undefined) slots[slot] = node
        if (!asks) refreshSoon()
        // To a node that was not known until now there is no link yet.
        await node?.channel.ready(parts.deadline)
      }
    }
  }

  function redirected(to: string, from: Node): Node | undefined {
    const at = to.lastIndexOf(":")
    const port = Number(to.slice(at + 1))
    if (!(port > 0)) return undefined
    const node = nodeAt({ host: to.slice(0, at) || from.host, port })
    if (node.leftAt > 0) node.leftAt = performance.now()
    return node
  }

  function refusal(): RedisReplyError | RedisLinkError {
    if (failure instanceof RedisReplyError && /^(WRONGPASS|NOAUTH|NOPERM) /.test(failure.message)) return failure
    return new RedisLinkError(false, "No node of the cluster says who has the key", { cause: failure })
  }

  const isWhole = (): boolean => owners.length > 0 && owners.every(({ channel: { isUp } }) => isUp)

  function settle(): void {
    if (isWhole()) stands.ring()
  }

  void refresh()

  return {
    inOrder: true,
    send,
    async primaries() {
      if (owners.length === 0) throw refusal()
      return owners.map(nodeOn)
    },
    async ready(ms) {
      if (!isWhole()) await stands.wait(ms)
      // A cluster in trouble may have a primary that is down; what it can do without, we can.
      if (owners.length === 0) throw refusal()
    },
    places: () => owners.map(({ host, port }) => ({ host, port })),
    onMove: (listener) => void listeners.add(listener),
    async close() {
      closed = true
      clearTimeout(pause)
      stands.ring()
      for (const { channel: one } of nodes.values()) one.close()
      for (const one of passing) one.close()
    },
  }
}

/** The first answer that is one, of attempts that begin one behind the other; null when there is none. */
function firstOf<T>(attempts: readonly (() => Promise<T | null>)[]): Promise<T | null> {
  return new Promise((resolve) => {
    let begun = 0
    let failed = 0
    let next: NodeJS.Timeout | undefined

    function begin(): void {
      clearTimeout(next)
      const attempt = attempts[begun++]
      if (attempt !== undefined) {
        next = setTimeout(begin, NEXT_MS)
        void attempt().then(ended)
      } else if (failed === attempts.length) resolve(null)
    }

    function ended(found: T | null): void {
      if (found === null) {
        failed++
        begin()
        return
      }
      begun = attempts.length
      clearTimeout(next)
      resolve(found)
    }
    begin()
  })
}

function nameOf({ host, port }: Endpoint): string {
  return `${host}:${port}`
}

function unique(endpoints: readonly Endpoint[]): Endpoint[] {
  return [...new Map(endpoints.map((endpoint) => [nameOf(endpoint), endpoint])).values()]
}

/** In another order each time, so that not every process asks the same node. */
function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => [Math.random(), item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item)
}

function ignore(): void {
  // If ASKING failed, the command behind it says so.
}
