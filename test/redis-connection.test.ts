// The connection to one Redis server, below the store, with each driver that it can be made by: what is sent, what is not, and what
// happens when the server goes away, comes back, freezes or refuses.

import { readFileSync } from "node:fs"
import { faultProxy } from "coatcheck/testing"
import { afterEach, beforeAll, describe, expect, it } from "vitest"
import type { RedisConnection } from "../packages/coatcheck/src/stores/redis/connection.ts"
import { loadDriver } from "../packages/coatcheck/src/stores/redis/ioredis.ts"
import { dial, drivers, plainly } from "./support/redis-dial.ts"
import { makeCertificate, type RedisServer, startRedis, until } from "./support/redis.ts"

let server: RedisServer
beforeAll(async () => {
  server = await startRedis()
})

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function opened(...args: Parameters<typeof dial>): Promise<RedisConnection> {
  const connection = await dial(...args)
  closers.push(() => connection.close())
  return connection
}

async function behindProxy(driver?: (typeof drivers)[number][1]) {
  const proxy = await faultProxy({ target: server.port })
  closers.push(() => proxy.close())
  return { proxy, connection: await opened(`redis://127.0.0.1:${proxy.port}`, {}, driver) }
}

const notSent = { name: "RedisLinkError", sent: false }
const sent = { name: "RedisLinkError", sent: true }

describe.each(drivers)("a connection by %s", (_name, driver) => {
  it("sends what one tick has to say in one round trip, in order, and gives texts, numbers, lists and nil", async () => {
    const { proxy, connection } = await behindProxy(driver)
    const before = proxy.counts.roundTrips
    const replies = await Promise.all([
      connection.send("t", ["SET", "t", "é\u{1f9e5}"]),
      connection.send("t", ["GET", "t"]),
      connection.send("n", ["DEL", "n"]),
      connection.send("n", ["GET", "n"]),
      connection.send("n", ["INCR", "n"]),
      connection.send("l", ["EVAL", "return {'a', 2, {'b'}, false}", "0"]),
    ])
    expect(replies).toEqual(["OK", "é\u{1f9e5}", expect.any(Number), null, 1, ["a", 2, ["b"], null]])
    expect(proxy.counts.roundTrips - before).toBe(1)
  })

  it("passes a server's error on by its text, without the command", async () => {
    const connection = await opened(server.url, {}, driver)
    const error: unknown = await connection
      .send("k", ["SET", "k", "private", "NOSUCHOPTION"])
      .catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ name: "RedisReplyError", message: "ERR syntax error" })
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain("private")
  })

  it("REL-04: sends a command once, also when the connection is cut before its answer", async () => {
    const { proxy, connection } = await behindProxy(driver)
    await server.command("DEL", "once")
    proxy.cutReplies(0)
    await expect(connection.send("once", ["INCR", "once"])).rejects.toMatchObject(sent)
    await proxy.passThrough()
    await until("the connection stands again", () => connection.send("", ["PING"]))
    expect(await server.command("GET", "once")).toBe("1")
    expect(proxy.counts.cut).toBeGreaterThan(0)

    proxy.cutRequests(9)
    await expect(connection.send("once", ["INCR", "once"])).rejects.toMatchObject(sent)
    await proxy.passThrough()
    await until("the connection stands again", () => connection.send("", ["PING"]))
    expect(await server.command("GET", "once")).toBe("1")
  })

  it("REL-04: says of a command that has not left that it was not sent", async () => {
    const open = await driver()
    const options = { tls: null, username: undefined, password: undefined, db: 0, patience: 1_000 }
    let lost: Error | undefined
    const link = await open({ host: "127.0.0.1", port: server.port }, options, { lost: (cause) => (lost = cause) })
    await server.command("DEL", "never")
    const call = link.send(["INCR", "never"])
    link.cut(new Error("cut in the same tick"))
    await expect(call).rejects.toMatchObject({ ...notSent, cause: { message: "cut in the same tick" } })
    await expect(link.send(["INCR", "never"])).rejects.toMatchObject(notSent)
    await until("its owner is told", () => lost !== undefined)
    expect(link.owed).toBe(0)
    expect(await server.command("EXISTS", "never")).toBe("0")
  })

  it("F-RED-1: refuses calls at once while the server is away, and stands again by itself when it is back", async () => {
    const own = await startRedis()
    const connection = await opened(own.url, {}, driver)
    await own.kill()
    await until("the connection is known to be lost", async () => {
      const error: unknown = await connection.send("", ["PING"]).catch((thrown: unknown) => thrown)
      return (error as { sent?: boolean }).sent === false
    })
    // While it is away nothing can end a call but a refusal.
    await Promise.all(
      Array.from({ length: 100 }, () => expect(connection.send("", ["PING"])).rejects.toMatchObject(notSent)),
    )
    await own.start()
    const back = performance.now()
    await until("the connection stands again", () => connection.send("", ["PING"]))
    expect(performance.now() - back).toBeLessThan(5_000)
  })

  it("F-RED-2: cuts a link that owes answers and gives none for two deadlines, and goes on when the server does", async () => {
    const own = await startRedis()
    const connection = await opened(own.url, {}, driver)
    own.freeze()
    const began = performance.now()
    await expect(connection.send("k", ["SET", "k", "1"])).rejects.toMatchObject(sent)
    const waited = performance.now() - began
    expect(waited).toBeGreaterThan(300)
    expect(waited).toBeLessThan(5_000)
    await expect(connection.send("k", ["GET", "k"])).rejects.toMatchObject(notSent)
    own.thaw()
    await until("the connection stands again", () => connection.send("", ["PING"]))
  })

  it("tells what changes under a prefix, whoever changes it, and null whenever changes may have gone by", async () => {
    const own = await startRedis()
    const connection = await opened(own.url, {}, driver)
    const told: (string | null)[] = []
    const stop = connection.watch?.("s:", (key) => told.push(key))
    await until("the channel stands", () => told.length === 1)
    await connection.send("s:1", ["SET", "s:1", "1"])
    await until("a change of its own", () => told.length === 2)
    await own.command("SET", "other", "1")
    await own.command("SET", "s:a,é{b}", "1")
    await own.command("DEL", "s:1")
    await until("changes by others", () => told.length === 4)
    await own.command("FLUSHALL")
    await until("the server was flushed", () => told.length === 5)
    expect(told).toEqual([null, "s:1", "s:a,é{b}", "s:1", null])

    for (const [broken, mended] of [
      [() => own.kill(), () => own.start()],
      [() => own.freeze(), () => own.thaw()],
    ] as const) {
      told.length = 0
      await broken()
      await until("the channel broke, and it is told from time to time that it is", () => told.length >= 3)
      await mended()
      await until("the channel stands again", async () => {
        await connection.send("s:1", ["SET", "s:1", "2"])
        return told.includes("s:1")
      })
      expect(new Set(told.slice(0, told.indexOf("s:1")))).toEqual(new Set([null]))
    }

    stop?.()
    await until("the channel is gone", async () => !/ sub=1 /.test(await own.command("CLIENT", "LIST")))
    told.length = 0
    await connection.send("s:1", ["SET", "s:1", "2"])
    expect(told).toEqual([])
  })

  it("signs in as an ACL user over TLS, and takes no server that it can't trust", async () => {
    const tls = await makeCertificate()
    const own = await startRedis({ tls, users: ["ann on >s3cret ~* &* +@all", "default off"] })
    const ca = readFileSync(tls.cert)
    const connection = await opened(own.url, { tls: { ca }, username: "ann", password: "s3cret" }, driver)
    expect(await connection.send("", ["ACL", "WHOAMI"])).toBe("ann")
    const inUrl = await opened(
      own.url.replace("//", "//ann:s3cret@"),
      { tls: { ca }, password: "not this one" },
      driver,
    )
    expect(await inUrl.send("", ["ACL", "WHOAMI"])).toBe("ann")

    const began = performance.now()
    const refused = dial(own.url, { tls: { ca }, username: "ann", password: "wr0ng", deadline: 5_000 }, driver)
    await expect(refused).rejects.toThrow(/^WRONGPASS/)
    expect(performance.now() - began).toBeLessThan(4_000)
    await expect(dial(own.url, { tls: { ca } }, driver)).rejects.toThrow(/^NOAUTH/)
    const strange: unknown = await dial(own.url, { username: "ann", password: "s3cret" }, driver).catch(
      (thrown: unknown) => thrown,
    )
    expect(strange).toMatchObject({ ...notSent, cause: { code: "DEPTH_ZERO_SELF_SIGNED_CERT" } })
  })

  it("is never another user than the one that was named", async () => {
    const own = await startRedis({ users: ["ann on >s3cret ~* &* +@all", "bob on nopass ~* &* +@all"] })
    const bob = await opened(own.url.replace("//", "//bob@"), {}, driver)
    expect(await bob.send("", ["ACL", "WHOAMI"])).toBe("bob")
    await expect(dial(own.url, { username: "ann" }, driver)).rejects.toThrow(/^WRONGPASS/)
  })

  it("never lands in another database than the one that was asked for", async () => {
    const connection = await opened(`${server.url}/3`, {}, driver)
    await connection.send("k", ["SET", "third", "1"])
    expect(await server.command("-n", "3", "GET", "third")).toBe("1")
    await expect(dial(`${server.url}/999`, {}, driver)).rejects.toMatchObject({
      ...notSent,
      cause: { message: expect.stringContaining("DB index") as unknown },
    })
  })
})

describe("opening a connection", () => {
  it("F-RED-1: is given up within the deadline when the server is down, frozen or no Redis", async () => {
    const own = await startRedis()
    own.freeze()
    const proxy = await faultProxy({ target: server.port })
    closers.push(() => proxy.close())
    proxy.rubbish()
    const began = performance.now()
    const attempts = [own.url, "redis://127.0.0.1:1", `redis://127.0.0.1:${proxy.port}`].map((url) => dial(url))
    for (const attempt of attempts) await expect(attempt).rejects.toMatchObject({ name: "RedisLinkError", sent: false })
    expect(performance.now() - began).toBeLessThan(plainly.deadline * 5)
    expect(proxy.counts.rubbish).toBeGreaterThan(0)
    own.thaw()
  })

  it("says what to install when no driver is", async () => {
    const missing = (): Promise<never> => Promise.reject(new Error("ERR_MODULE_NOT_FOUND"))
    await expect(loadDriver([missing, missing])).rejects.toMatchObject({
      name: "CoatcheckError",
      code: "unsupported",
      message: "The redis store needs a driver: npm install ioredis",
    })
  })

  it("leaves nothing behind when the connection is closed", async () => {
    const clients = async (): Promise<number> => (await server.command("CLIENT", "LIST")).split("\n").length
    const before = await clients()
    const connection = await dial(server.url)
    connection.watch?.("x", () => {})
    await until("both connections stand", async () => (await clients()) === before + 2)
    const last = connection.send("", ["PING"])
    await connection.close()
    await expect(last).rejects.toMatchObject(notSent)
    await expect(connection.send("", ["PING"])).rejects.toMatchObject(notSent)
    await until("both are gone", async () => (await clients()) === before)
  })
})
