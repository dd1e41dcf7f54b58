import { describe, expect, it, onTestFinished } from "vitest"
import { systemClock } from "../../core/clock.ts"
import { type ClusterConnection, clusterConnection } from "./cluster.ts"
import { RedisLinkError, type RedisNode, RedisReplyError } from "./connection.ts"
import type { LinkOptions, OpenLink } from "./link.ts"
import { slotOf, SLOTS } from "./slots.ts"

const options: LinkOptions = { tls: null, username: undefined, password: undefined, db: 0, patience: 1_000 }

interface FakeNode {
  /** What it says of the cluster: first slot, last slot, port of the primary. */
  slots: readonly (readonly [number, number, number])[]
  down: boolean
  /** Commands that it was sent besides the question for its picture. */
  readonly sent: string[]
  asked: number
  /** What it answers to the commands. */
  answer: (args: readonly string[]) => unknown
  readonly cuts: Set<(cause: Error) => void>
}

/** Nodes that exist only here; a test decides what each says. */
function fakeCluster(ports: readonly number[], slots: FakeNode["slots"]) {
  const nodes = new Map<number, FakeNode>()
  for (const port of ports) {
    nodes.set(port, { slots, down: false, sent: [], asked: 0, answer: () => `from ${port}`, cuts: new Set() })
  }
  const at = (port: number): FakeNode => nodes.get(port) as FakeNode // the test names no other
  const open: OpenLink = async ({ port }, _options, events) => {
    const node = nodes.get(port)
    if (node === undefined || node.down) throw new Error("connection refused")
    let dead = false
    const cut = (cause: Error): void => {
      if (dead) return
      dead = true
      node.cuts.delete(cut)
      events.lost(cause)
    }
    node.cuts.add(cut)
    return {
      owed: 0,
      answered: 0,
      cut,
      async send(args) {
        if (dead) throw new RedisLinkError(false, "There is no connection to the server")
        if (args[0] === "CLUSTER") {
          node.asked++
          return node.slots.map(([from, to, primary]) => [from, to, ["127.0.0.1", primary, `id-${primary}`]])
        }
        node.sent.push(args.join(" "))
        return node.answer(args)
      },
    }
  }
  return {
    at,
    kill(port: number) {
      at(port).down = true
      for (const cut of at(port).cuts) cut(new Error("reset"))
    },
    async connect(seeds: readonly number[] = ports): Promise<ClusterConnection> {
      const connection = clusterConnection({
        open,
        options,
        clock: systemClock,
        deadline: 400,
        seeds: seeds.map((port) => ({ host: "127.0.0.1", port })),
      })
      onTestFinished(() => connection.close())
      await connection.ready(400)
      return connection
    },
  }
}

const halves = [
  [0, 8_191, 1],
  [8_192, SLOTS - 1, 2],
] as const
const low = "a1"
const high = "a2"

async function until(condition: () => unknown): Promise<void> {
  const end = performance.now() + 5_000
  while (!(await condition())) {
    if (performance.now() > end) throw new Error("not within 5 s")
    await new Promise(setImmediate)
  }
}

it("has a key in each half", () => {
  expect(slotOf(low) < 8_192).not.toBe(slotOf(high) < 8_192)
})

describe("the way of a command through a cluster", () => {
  const [first, second] = slotOf(low) < 8_192 ? [1, 2] : [2, 1]

  it("leads to the primary of its key, whichever node was named", async () => {
    const fake = fakeCluster([1, 2], halves)
    const connection = await fake.connect([2])
    expect(await connection.send(low, ["GET", low])).toBe(`from ${first}`)
    expect(await connection.send(high, ["GET", high])).toBe(`from ${second}`)
    expect((await connection.primaries()).map(({ id }) => id)).toEqual(["id-1", "id-2"])
  })

  it("goes where MOVED says, also to a node that was not known, and stays there", async () => {
    const fake = fakeCluster([1, 2, 3], halves)
    const connection = await fake.connect([1, 2])
    fake.at(first).answer = () => {
      throw new RedisReplyError(`MOVED ${slotOf(low)} 127.0.0.1:3`)
    }
    expect(await connection.send(low, ["SET", low])).toBe("from 3")
    expect(await connection.send(low, ["SET", low])).toBe("from 3")
    expect(fake.at(first).sent).toHaveLength(1)
  })

  it("goes where ASK says behind ASKING, and back the next time", async () => {
    const fake = fakeCluster([1, 2, 3], halves)
    const connection = await fake.connect([1, 2])
    fake.at(first).answer = () => {
      throw new RedisReplyError(`ASK ${slotOf(low)} 127.0.0.1:3`)
    }
    expect(await connection.send(low, ["SET", low])).toBe("from 3")
    expect(await connection.send(low, ["SET", low])).toBe("from 3")
    expect(fake.at(3).sent).toEqual(["ASKING", "SET a1", "ASKING", "SET a1"])
    expect(fake.at(first).sent).toHaveLength(2)
  })

  it("is told before each step of it, so that what has to follow a command goes to whoever took it", async () => {
    const fake = fakeCluster([1, 2, 3], halves)
    const connection = await fake.connect([1, 2])
    const turns = [`ASK ${slotOf(low)} 127.0.0.1:3`, `MOVED ${slotOf(low)} 127.0.0.1:${second}`]
    fake.at(first).answer = () => {
      throw new RedisReplyError(turns.shift() ?? "ERR asked too often")
    }
    for (const last of [3, second]) {
      const told: RedisNode[] = []
      await connection.send(low, ["SET", low], (node) => told.push(node))
      expect(told).toHaveLength(2)
      expect(told[0]?.id).toBe(`id-${first}`)
      expect(await told[1]?.send(["WAIT"])).toBe(`from ${last}`)
    }
  })

  it("ends where the connection broke: nothing is sent again", async () => {
    const fake = fakeCluster([1, 2], halves)
    const connection = await fake.connect()
    fake.at(first).answer = () => {
      throw new RedisLinkError(true, "The connection broke before the answer came")
    }
    await expect(connection.send(low, ["SET", low])).rejects.toMatchObject({ sent: true })
    expect(fake.at(first).sent).toHaveLength(1)
    fake.kill(first)
    await expect(connection.send(low, ["SET", low])).rejects.toMatchObject({ sent: false })
    await connection.close()
    await expect(connection.send(high, ["SET", high])).rejects.toMatchObject({ sent: false })
  })
})

describe("the picture of a cluster", () => {
  const [first, second] = slotOf(low) < 8_192 ? [1, 2] : [2, 1]

  it("is asked for again as soon as a primary is lost, of those that live, and not all the time", async () => {
    const fake = fakeCluster([1, 2, 3], halves)
    const connection = await fake.connect([1, 2])
    let moves = 0
    connection.onMove(() => moves++)
    // While the first links are being made it is asked for a second time; then it is taken for whole.
    await until(() => fake.at(1).asked + fake.at(2).asked >= 2)
    await new Promise(setImmediate)
    const asked = fake.at(second).asked
    fake.kill(first)
    fake.at(second).slots = [[0, SLOTS - 1, 3]]
    const began = performance.now()
    await until(async () => (await connection.send(low, ["GET", low]).catch(() => "")) === "from 3")
    expect(performance.now() - began).toBeLessThan(1_500)
    expect(fake.at(second).asked - asked).toBeLessThan(10)
    expect(moves).toBe(1)
    expect(connection.places()).toEqual([{ host: "127.0.0.1", port: 3 }])
  })

  it("comes from whoever answers, however many do not", async () => {
    const fake = fakeCluster([1, 2], halves)
    const connection = await fake.connect([7, 8, 9, 2])
    expect(await connection.send(low, ["GET", low])).toBe(`from ${first}`)
  })

  it("is missed within the time that was given", async () => {
    const fake = fakeCluster([1], [])
    const began = performance.now()
    await expect(fake.connect([1, 9])).rejects.toMatchObject({ name: "RedisLinkError", sent: false })
    expect(performance.now() - began).toBeLessThan(2_000)
  })
})
