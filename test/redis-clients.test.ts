// Clients of the caller's own, real ones of each package and kind: what the store sends through them, what it refuses to leave in their
// queues, and that they stay the caller's.

import { createClient, createClientPool, createCluster, createSentinel } from "@redis/client"
import { Cluster as IoredisCluster, Redis as Ioredis } from "ioredis"
import { Cluster as IovalkeyCluster, Redis as Iovalkey } from "iovalkey"
import { afterEach, beforeAll, describe, expect, it } from "vitest"
import { adopt, type RedisClient } from "../packages/coatcheck/src/stores/redis/clients.ts"
import { type RedisCluster, type RedisServer, type SentinelSet } from "./support/redis.ts"
import { startCluster, startRedis, startSentinel, until } from "./support/redis.ts"

let server: RedisServer
let sentinel: SentinelSet
let cluster: RedisCluster
beforeAll(async () => {
  ;[server, sentinel, cluster] = await Promise.all([startRedis(), startSentinel(), startCluster()])
}, 60_000)

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

interface Kind {
  readonly name: string
  readonly warns: boolean
  readonly inOrder: boolean
  readonly primaries: number
  make(): Promise<{ client: RedisClient; isOpen(): boolean; end(): unknown }>
}

const at = (one: RedisServer) => ({ host: "127.0.0.1", port: one.port })
const single = { warns: false, inOrder: true, primaries: 1 }

const kinds: readonly Kind[] = [
  {
    name: "@redis/client",
    ...single,
    async make() {
      const client = await createClient({ socket: at(server) }).connect()
      return { client, isOpen: () => client.isOpen, end: () => client.destroy() }
    },
  },
  {
    name: "@redis/client with replies as bytes",
    ...single,
    async make() {
      const client = await createClient({
        socket: at(server),
        commandOptions: { typeMapping: { 36: Buffer } },
      }).connect()
      return { client, isOpen: () => client.isOpen, end: () => client.destroy() }
    },
  },
  {
    name: "a pool of @redis/client",
    ...single,
    inOrder: false,
    async make() {
      const client = createClientPool({ socket: at(server) })
      await client.connect()
      return { client, isOpen: () => client.isOpen, end: () => client.destroy() }
    },
  },
  {
    name: "a sentinel client of @redis/client",
    ...single,
    inOrder: false,
    async make() {
      const client = await createSentinel({
        name: sentinel.name,
        sentinelRootNodes: sentinel.sentinels.map(at),
      }).connect()
      return { client, isOpen: () => client.isOpen, end: () => client.destroy() }
    },
  },
  {
    name: "a cluster client of @redis/client",
    ...single,
    primaries: 3,
    async make() {
      const client = await createCluster({ rootNodes: cluster.nodes.map(({ url }) => ({ url })) }).connect()
      return { client, isOpen: () => client.isOpen, end: () => client.destroy() }
    },
  },
  ...["ioredis", "iovalkey"].map((name) => ({
    name,
    ...single,
    warns: true,
    async make() {
      const client = name === "ioredis" ? new Ioredis(at(server)) : new Iovalkey(at(server))
      await until("it is connected", () => client.status === "ready")
      return { client, isOpen: () => client.status === "ready", end: () => client.disconnect() }
    },
  })),
  {
    name: "ioredis by sentinels, which connects when it is needed and sends nothing twice",
    ...single,
    async make() {
      const client = new Ioredis({
        name: sentinel.name,
        sentinels: sentinel.sentinels.map(at),
        lazyConnect: true,
        autoResendUnfulfilledCommands: false,
      })
      return { client, isOpen: () => client.status === "ready", end: () => client.disconnect() }
    },
  },
  ...["ioredis", "iovalkey"].map((name) => ({
    name: `a cluster client of ${name}`,
    ...single,
    warns: true,
    primaries: 3,
    async make() {
      const nodes = cluster.nodes.map(at)
      const client = name === "ioredis" ? new IoredisCluster(nodes) : new IovalkeyCluster(nodes)
      await until("it is connected", () => client.status === "ready")
      return { client, isOpen: () => client.status === "ready", end: () => client.disconnect() }
    },
  })),
]

describe.each(kinds)("$name", ({ warns, inOrder, primaries, make }) => {
  it("takes the store's commands and stays the caller's", async () => {
    const { client, isOpen, end } = await make()
    closers.push(end)
    const { connection, warnings } = adopt(client)
    expect(warnings.length > 0).toBe(warns)
    expect(connection.inOrder).toBe(inOrder)
    await until("it is connected", () => connection.send("", ["PING"]))

    const keys = Array.from({ length: 20 }, (_, n) => `own-${n}`)
    const script = "redis.call('SET', KEYS[1], ARGV[1]) return {1, ARGV[1]}"
    const replies = keys.map((key) => connection.send(key, ["EVAL", script, "1", key, `é ${key}`]))
    expect(await Promise.all(replies)).toEqual(keys.map((key) => [1, `é ${key}`]))
    expect(await Promise.all(keys.map((key) => connection.send(key, ["GET", key])))).toEqual(
      keys.map((key) => `é ${key}`),
    )
    expect(await connection.send("none", ["GET", "none"])).toBe(null)

    const nodes = await connection.primaries()
    expect(new Set(nodes.map(({ id }) => id)).size).toBe(primaries)
    const found = await Promise.all(nodes.map((node) => node.send(["SCAN", "0", "MATCH", "own-*", "COUNT", "1000"])))
    const listed = found.flatMap((reply) => (reply as [string, string[]])[1])
    expect(listed.sort()).toEqual(keys.sort())

    const error: unknown = await connection
      .send("own-1", ["SET", "own-1", "private", "NOSUCH"])
      .catch((e: unknown) => e)
    expect(error).toMatchObject({ name: "RedisReplyError", message: "ERR syntax error" })
    expect(Object.values(error as object).join()).not.toContain("private")

    await connection.close()
    expect(isOpen()).toBe(true)
    await end()
    await until("it has ended", () => !isOpen())
    await expect(connection.send("own-1", ["GET", "own-1"])).rejects.toMatchObject({
      name: "RedisLinkError",
      sent: false,
    })
  })
})

describe("a client that has lost its server", () => {
  it.each(["@redis/client", "ioredis"])("is left no command to keep: %s", async (name) => {
    const own = await startRedis()
    const node = createClient({ socket: at(own) })
    const io = new Ioredis({ ...at(own), lazyConnect: true })
    closers.push(
      () => (node.isOpen ? node.destroy() : undefined),
      () => io.disconnect(),
    )
    if (name === "ioredis") await io.connect()
    else await node.connect()
    const { connection } = adopt(name === "ioredis" ? io : node)
    own.freeze()
    const underWay = connection.send("n", ["INCR", "n"]).catch((error: unknown) => error)
    await own.kill()
    const lost = name === "ioredis" ? await until("it is lost", () => io.status !== "ready") : await underWay
    if (name !== "ioredis") expect(lost).toMatchObject({ name: "RedisLinkError", sent: true })
    await expect(connection.send("n", ["INCR", "n"])).rejects.toMatchObject({ name: "RedisLinkError", sent: false })
    await own.start()
    await until("it is back", () => connection.send("", ["PING"]))
    // ioredis sends the one that was under way again, which is what the warning is about; the one that was refused, nobody.
    expect(await own.command("GET", "n")).toBe(name === "ioredis" ? "1" : "")
  })
})

describe("a client that several stores are made on", () => {
  it("is listened to once", async () => {
    const client = new Ioredis({ ...at(server), lazyConnect: true })
    closers.push(() => client.disconnect())
    const before = client.listenerCount("error")
    for (let stores = 0; stores < 20; stores++) await adopt(client).connection.close()
    expect(client.listenerCount("error")).toBe(before + 1)
  })
})

describe("what can't be adopted", () => {
  it("is a TypeError that says what would do", async () => {
    for (const stranger of [null, {}, 7, { isOpen: true }]) {
      expect(() => adopt(stranger as unknown as RedisClient)).toThrow("redisStore takes a URL, or a client of")
    }
    const prefixed = new Ioredis({ ...at(server), keyPrefix: "app:", lazyConnect: true })
    expect(() => adopt(prefixed)).toThrow("keyPrefix")
    const replicas = new IoredisCluster(cluster.nodes.map(at), { scaleReads: "slave", lazyConnect: true })
    expect(() => adopt(replicas)).toThrow("scaleReads")
  })
})
