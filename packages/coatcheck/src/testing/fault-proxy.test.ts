import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { beforeEach, describe, expect, it, onTestFinished } from "vitest"
import { type FakeClock, fakeClock } from "./fake-clock.ts"
import { type FaultProxy, faultProxy } from "./fault-proxy.ts"

/** A server that answers each piece with "re:" before it, and keeps what it was told. */
let server: { readonly port: number; readonly heard: string[]; readonly whenHeard: (count: number) => Promise<void> }
let clock: FakeClock
let proxy: FaultProxy

beforeEach(async () => {
  const heard: string[] = []
  const sockets = new Set<Socket>()
  let onHeard = (): void => {}
  const listening = createServer((socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
    socket.on("data", (bytes) => {
      heard.push(bytes.toString())
      onHeard()
      socket.write(`re:${bytes.toString()}`)
    })
  })
  listening.listen(0, "127.0.0.1")
  await once(listening, "listening")
  clock = fakeClock()
  server = {
    port: (listening.address() as AddressInfo).port,
    heard,
    whenHeard: (count) =>
      new Promise((resolve) => {
        onHeard = () => heard.length >= count && resolve()
        onHeard()
      }),
  }
  proxy = await faultProxy({ target: server.port, clock })
  onTestFinished(async () => {
    await proxy.close()
    for (const socket of sockets) socket.destroy()
    listening.close()
    await once(listening, "close")
  })
})

interface Client {
  readonly socket: Socket
  /** Says something and gives the next piece that comes. */
  ask(text: string): Promise<string>
  /** All that came. */
  readonly said: () => string
  /** Resolves with how the connection ended. */
  readonly ended: Promise<"closed" | "reset">
}

async function client(): Promise<Client> {
  const socket = connect(proxy.port, "127.0.0.1")
  onTestFinished(() => void socket.destroy())
  let said = ""
  let isReset = false
  socket.on("data", (bytes) => (said += bytes.toString()))
  socket.on("error", ({ code }: NodeJS.ErrnoException) => (isReset = code === "ECONNRESET"))
  const ended = new Promise<"closed" | "reset">((resolve) => {
    socket.on("close", () => resolve(isReset ? "reset" : "closed"))
  })
  await once(socket, "connect")
  return {
    socket,
    said: () => said,
    ended,
    async ask(text) {
      const answer = once(socket, "data")
      socket.write(text)
      return String((await answer)[0])
    },
  }
}

/** Resolves when the condition holds; looks after each turn of the event loop. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}

describe("the fault proxy", () => {
  it("passes everything through, and counts round trips by who speaks", async () => {
    const { ask, socket } = await client()
    expect(await ask("a")).toBe("re:a")
    expect(await ask("b")).toBe("re:b")
    expect(proxy.counts).toMatchObject({ connections: 1, open: 1, roundTrips: 2, requestBytes: 2, replyBytes: 8 })
    socket.destroy()
    await until(() => proxy.counts.open === 0)
  })

  it("counts what a client says in one go as one round trip", async () => {
    proxy.freezeReplies()
    const one = await client()
    one.socket.write("a")
    await server.whenHeard(1)
    one.socket.write("b")
    await server.whenHeard(2)
    await until(() => proxy.counts.replyBytes === 8)
    expect(proxy.counts.roundTrips).toBe(2) // it was answered, though the answer did not arrive
    await proxy.passThrough()
    await until(() => one.said() === "re:are:b")
    expect(await one.ask("c")).toBe("re:c")
    expect(proxy.counts.roundTrips).toBe(3)
  })

  it("delays replies, each by as much, in order, with jitter from a seed", async () => {
    const one = await client()
    proxy.delay(50, { jitter: 20, seed: 7 })
    one.socket.write("a")
    await until(() => clock.sleeping === 1)
    clock.advance(49)
    one.socket.write("b")
    await until(() => proxy.counts.replyBytes === 8)
    expect(one.said()).toBe("")
    clock.advance(21)
    await until(() => one.said() === "re:a")
    await until(() => clock.sleeping === 1)
    clock.advance(70)
    await until(() => one.said() === "re:are:b")
    expect(proxy.counts.delayed).toBe(8)
  })

  it("delays requests, and delivers them to the target after their sender has gone", async () => {
    const { socket } = await client()
    proxy.delay(500, { of: "requests" })
    socket.write("late")
    await until(() => clock.sleeping === 1)
    socket.destroy()
    await until(() => proxy.counts.open === 0)
    expect(server.heard).toEqual([])
    clock.advance(500)
    await server.whenHeard(1)
    expect(server.heard).toEqual(["late"])
  })

  it("limits the bytes a second", async () => {
    const one = await client()
    proxy.limit(100)
    one.socket.write("x".repeat(97)) // the reply is 100 bytes, two a piece
    for (let passed = 2; passed <= 100; passed += 2) {
      await until(() => one.said().length === passed && (passed === 100 || clock.sleeping === 1))
      clock.advance(20)
    }
    expect(one.said()).toBe(`re:${"x".repeat(97)}`)
    expect(proxy.counts.delayed).toBe(100)
  })

  it.each([0, 1, 3, 4])("cuts replies after %i bytes", async (bytes) => {
    const one = await client()
    proxy.cutReplies(bytes)
    one.socket.write("a")
    expect(await one.ended).toBe("closed")
    expect(one.said()).toBe("re:a".slice(0, bytes))
    expect(server.heard).toEqual(["a"])
    expect(proxy.counts.cut).toBe(1)
  })

  it.each([0, 1, 4])("cuts requests after %i bytes", async (bytes) => {
    const one = await client()
    proxy.cutRequests(bytes)
    one.socket.write("four")
    expect(await one.ended).toBe("closed")
    if (bytes > 0) await server.whenHeard(1)
    expect(server.heard.join("")).toBe("four".slice(0, bytes))
    expect(one.said()).toBe("")
    expect(proxy.counts.cut).toBe(1)
  })

  it("counts a cut from the order, and lets shorter replies pass", async () => {
    const { ask } = await client()
    expect(await ask("abc")).toBe("re:abc")
    proxy.cutReplies(7)
    expect(await ask("abc")).toBe("re:abc")
    expect(await ask("abc")).toBe("r")
  })

  it("freezes old and new connections, and delivers what it held, for those too who gave up", async () => {
    const [one, other] = [await client(), await client()]
    proxy.freeze()
    const late = await client()
    one.socket.write("a")
    other.socket.write("b")
    late.socket.write("c")
    await until(() => proxy.counts.held === 3)
    other.socket.destroy()
    await until(() => proxy.counts.open === 2)
    expect(server.heard).toEqual([])
    await proxy.passThrough()
    await server.whenHeard(3)
    expect(server.heard.toSorted()).toEqual(["a", "b", "c"])
    await until(() => one.said() === "re:a" && late.said() === "re:c")
  })

  it("turns open connections into black holes and lets new ones pass", async () => {
    const [one, other] = [await client(), await client()]
    proxy.halfOpen()
    one.socket.write("a")
    await until(() => proxy.counts.lost === 1)
    expect(await (await client()).ask("b")).toBe("re:b")
    other.socket.destroy()
    await until(() => proxy.counts.open === 2)
    await proxy.passThrough()
    await one.ended
    expect(server.heard).toEqual(["b"])
  })

  it("refuses, resets, goes down, and comes back at the same port", async () => {
    const one = await client()
    proxy.refuse()
    expect(await one.ended).toBe("reset")
    const refused = connect(proxy.port, "127.0.0.1")
    const error = await new Promise((resolve) => refused.on("error", resolve)) // before it knows that it is connected, or after
    expect(error).toMatchObject({ code: "ECONNRESET" })
    expect(proxy.counts.reset).toBe(2)
    await proxy.passThrough()
    const two = await client()
    proxy.reset()
    expect(await two.ended).toBe("reset")
    const three = await client()
    expect(await three.ask("a")).toBe("re:a")
    await proxy.down()
    expect(await three.ended).toBe("closed")
    await expect(client()).rejects.toMatchObject({ code: "ECONNREFUSED" })
    await proxy.passThrough()
    expect(await (await client()).ask("b")).toBe("re:b")
    expect(proxy.counts).toMatchObject({ reset: 3, open: 1 })
  })

  it("speaks nonsense in place of the target, which is asked", async () => {
    const { ask } = await client()
    proxy.rubbish(Buffer.from("#!"))
    expect(await ask("a")).toBe("#!")
    expect(server.heard).toEqual(["a"])
    expect(proxy.counts.rubbish).toBe(1)
  })

  it("closes connections politely, and a target that is not there is told by a closed connection", async () => {
    const one = await client()
    await proxy.hangUp()
    expect(await one.ended).toBe("closed")
    const nowhere = await faultProxy({ target: { host: "127.0.0.1", port: 1 } })
    onTestFinished(() => nowhere.close())
    const socket = connect(nowhere.port, "127.0.0.1")
    await once(socket, "close")
    expect(nowhere.counts.connections).toBe(1)
  })

  it("stops a sender whose bytes nobody takes", async () => {
    const { socket } = await client()
    proxy.freeze()
    const piece = Buffer.alloc(65_536)
    let sent = 0
    // The kernel takes some, the proxy a megabyte; then the sender's own buffer fills.
    while (socket.writableLength < 262_144 && sent < 100_000_000) {
      socket.write(piece)
      sent += piece.length
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(sent).toBeLessThan(100_000_000)
    expect(proxy.counts.held).toBeLessThan(4_194_304)
  })
})
