// Clients that the caller made: node-redis (client, pool, cluster, sentinel), ioredis and iovalkey (client, cluster), known by their methods
// and not by their package, so that a wrapper around one will do. The caller connects and closes them; how they reconnect, queue and time
// out is their own, and the deadline of each call is the store's all the same.
//
// Two things are held to the rules here. A command that the client would only queue, because it has no connection, is refused at once,
// as not sent. And only the message of an error is passed on: some drivers' errors carry the command with its arguments, which are data.

import { type RedisConnection, RedisLinkError, type RedisNode, RedisReplyError } from "./connection.ts"

interface Listening {
  on?(event: string, listener: (cause: Error) => void): unknown
}

/** A client, a pool of clients or a sentinel client of node-redis. */
export interface NodeRedisClient extends Listening {
  readonly isOpen: boolean
  readonly isReady?: boolean
  readonly options?: object
  /** With `(args, options)`; of a sentinel client with `(isReadonly, args, options)`. */
  sendCommand: (...args: never[]) => Promise<unknown>
}

/** A cluster client of node-redis. */
export interface NodeRedisCluster extends Listening {
  readonly isOpen: boolean
  readonly masters: readonly { readonly id: string }[]
  /** With `(firstKey, isReadonly, args, options)`. */
  sendCommand: (...args: never[]) => Promise<unknown>
  nodeClient: (...args: never[]) => Promise<unknown>
}

/** A client of ioredis or iovalkey. */
export interface IoredisClient extends Listening {
  readonly status: string
  readonly options?: object
  call: (...args: never[]) => Promise<unknown>
}

/** A cluster client of ioredis or iovalkey. */
export interface IoredisCluster extends IoredisClient {
  nodes: (...args: never[]) => unknown
}

/** Any client that `redisStore` takes. */
export type RedisClient = NodeRedisClient | NodeRedisCluster | IoredisClient | IoredisCluster

/** A client in use. */
export interface Adopted {
  readonly connection: RedisConnection
  /** What its settings promise less of than the store's own connection would. */
  readonly warnings: readonly string[]
}

/** What the methods above are called with; the public types leave it open, so that every version's own types fit. */
type Send = (...args: unknown[]) => Promise<unknown>

/** Clients whose errors are listened for: once for all stores on a client, and for as long as it lives. */
const heard = new WeakSet<RedisClient>()

/** Blob strings as strings, whatever the caller has set for calls of his own. */
const asText = { typeMapping: {} }

/**
 * Makes a connection of a client. Closing it leaves the client open.
 *
 * @throws TypeError when it is no client that we know, or one whose settings contradict what the store needs.
 */
export function adopt(client: RedisClient): Adopted {
  if (!has(client, "call") && !has(client, "sendCommand")) {
    throw new TypeError("redisStore takes a URL, or a client of @redis/client, ioredis or iovalkey")
  }
  const { keyPrefix, scaleReads } = settingsOf(client)
  if (typeof keyPrefix === "string" && keyPrefix !== "") {
    throw new TypeError("A client with a keyPrefix can't be listed by: give the prefix to the store instead")
  }
  if (scaleReads !== undefined && scaleReads !== "master") {
    throw new TypeError('A client that reads from replicas reads the past: set scaleReads to "master"')
  }
  // An error event without a listener ends the process. What it says, the calls say too.
  if (!heard.has(client)) client.on?.("error", ignore)
  heard.add(client)
  if ("call" in client) return adoptIoredis(client)
  return { connection: "masters" in client ? nodeRedisCluster(client) : nodeRedis(client), warnings: [] }
}

/** Whether a stranger, of whatever type, has a method. */
function has(client: unknown, method: string): boolean {
  return typeof (client as Record<string, unknown> | null | undefined)?.[method] === "function"
}

function settingsOf(client: RedisClient): Readonly<Record<string, unknown>> {
  return { ...("options" in client ? client.options : undefined) }
}

function nodeRedis(client: NodeRedisClient): RedisConnection {
  const isSentinel = "getMasterNode" in client
  const isPool = "totalClients" in client || isSentinel
  const sendCommand = client.sendCommand.bind(client) as Send // see `Send`
  const send = (args: readonly string[]): Promise<unknown> => {
    if (!(client.isReady ?? client.isOpen)) return Promise.reject(offline())
    return settled(isSentinel ? sendCommand(false, args, asText) : sendCommand(args, asText))
  }
  return whole(
    !isPool,
    (_key, args) => send(args),
    async () => [{ id: "0", send }],
  )
}

function nodeRedisCluster(client: NodeRedisCluster): RedisConnection {
  const sendCommand = client.sendCommand.bind(client) as Send // see `Send`
  const nodeClient = client.nodeClient.bind(client) as Send // see `Send`
  return whole(
    true,
    (key, args) => (client.isOpen ? settled(sendCommand(key, false, args, asText)) : Promise.reject(offline())),
    async () =>
      client.masters.map((master) => ({
        id: master.id,
        async send(args) {
          const node = (await settled(nodeClient(master))) as NodeRedisClient // that is what it is for
          return nodeRedis(node).send("", args)
        },
      })),
  )
}

function adoptIoredis(client: IoredisClient | IoredisCluster): Adopted {
  const send = sendBy(client)
  const { autoResendUnfulfilledCommands, retryDelayOnFailover } = settingsOf(client)
  if ("nodes" in client) {
    const nodes = client.nodes.bind(client) as (role: string) => readonly IoredisClient[] // see `Send`
    const primaries = async (): Promise<RedisNode[]> =>
      nodes("master").map((node) => ({ id: idOf(node), send: sendBy(node) }))
    return {
      connection: whole(true, (_key, args) => send(args), primaries),
      warnings: retryDelayOnFailover === 0 ? [] : [resends("retryDelayOnFailover: 0")],
    }
  }
  return {
    connection: whole(
      true,
      (_key, args) => send(args),
      async () => [{ id: "0", send }],
    ),
    warnings: autoResendUnfulfilledCommands === false ? [] : [resends("autoResendUnfulfilledCommands: false")],
  }
}

function resends(setting: string): string {
  return `This client sends commands a second time when their connection broke, writes too: set ${setting}, or give the store a URL`
}

function sendBy(client: IoredisClient): RedisNode["send"] {
  const call = client.call.bind(client) as Send // see `Send`
  return ([command = "", ...args]) => {
    if (client.status === "wait") void (client as unknown as { connect(): Promise<void> }).connect().catch(ignore) // lazyConnect
    if (client.status !== "ready") return Promise.reject(offline())
    // In lower case, because iovalkey finds a command's keys, and with them its node, by that alone.
    return settled(call(command.toLowerCase(), ...args))
  }
}

function idOf(node: IoredisClient): string {
  const { host, port } = settingsOf(node)
  return `${String(host)}:${String(port)}`
}

function whole(
  inOrder: boolean,
  send: RedisConnection["send"],
  primaries: () => Promise<RedisNode[]>,
): RedisConnection {
  return {
    inOrder,
    send,
    async primaries() {
      const nodes = await primaries()
      if (nodes.length === 0) throw offline()
      return nodes.sort((a, b) => (a.id < b.id ? -1 : 1))
    },
    close: async () => {},
  }
}

async function settled(reply: Promise<unknown>): Promise<unknown> {
  try {
    return await reply
  } catch (error) {
    throw verdict(error)
  }
}

/** What these drivers say of a command that they refused to take. Everything else may have left. */
const notTaken =
  /^The client is (closed|offline)|^The queue is full|enableOfflineQueue options is false|startup nodes is available|^All the root nodes/

function verdict(error: unknown): Error {
  const message = error instanceof Error ? error.message : "The client failed"
  if (error instanceof RedisLinkError) return error
  // A server's error begins with its code in capitals, which no driver's own message does.
  if (/^[A-Z][A-Z0-9]+ /.test(message)) return new RedisReplyError(message)
  return new RedisLinkError(!notTaken.test(message), `The client says: ${message}`)
}

function offline(): RedisLinkError {
  return new RedisLinkError(false, "The client is not connected")
}

function ignore(): void {
  // A call that fails for this reason says so.
}
