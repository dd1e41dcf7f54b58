import { describe, expect, it, onTestFinished } from "vitest"
import { systemClock } from "../../core/clock.ts"
import { redisAddress } from "./address.ts"
import { connectTo } from "./connect.ts"
import { RedisReplyError } from "./connection.ts"
import type { Link, LinkOptions, OpenLink } from "./link.ts"
import { checkPrimary, type Sentinels, sentinels } from "./sentinel.ts"

/** What a sentinel answers: the address of the primary and its epoch; "silent": nothing; null: it knows no such name. */
type Answer = readonly [port: number, epoch: number] | "silent" | null

const options: LinkOptions = { tls: null, username: undefined, password: undefined, db: 0, patience: 1_000 }

/** A link to the sentinel that answers as the list says at that place. */
function sentinelAt(answers: readonly Answer[], place: number): Link {
  return {
    owed: 0,
    answered: 0,
    cut() {},
    send([, question = ""]) {
      const answer = answers[place] ?? null
      if (answer === "silent") return new Promise(() => {})
      if (answer === null) return Promise.reject(new RedisReplyError("ERR No such master with that name"))
      const [port, epoch] = answer
      // The state still names the old one, as it does while a failover is under way.
      const state = ["name", "main", "ip", "10.0.0.1", "port", "1", "config-epoch", String(epoch), "quorum", "2"]
      return Promise.resolve(question === "MASTER" ? state : ["10.0.0.1", String(port)])
    },
  }
}

async function until(condition: () => unknown): Promise<void> {
  const end = performance.now() + 5_000
  while (!(await condition())) {
    if (performance.now() > end) throw new Error("not within 5 s")
    await new Promise(setImmediate)
  }
}

/** Sentinels that answer as the list says, which a test may change. */
function openTo(answers: Answer[]): { found: Sentinels; named: number[] } {
  const open: OpenLink = async ({ port }) => sentinelAt(answers, port)
  const named: number[] = []
  const found = sentinels({
    open,
    options,
    clock: systemClock,
    deadline: 400,
    name: "main",
    sentinels: answers.map((_, port) => ({ host: "s", port })),
    named: ({ port }) => named.push(port),
  })
  onTestFinished(() => found.close())
  return { found, named }
}

describe("the primary by the sentinels", () => {
  it("F-SEN-2: is whom the one with the highest epoch names, whoever answers first", async () => {
    for (const answers of [
      [
        [7001, 3],
        [7002, 4],
        [7001, 3],
      ],
      [
        [7002, 4],
        [7001, 3],
        [7001, 3],
      ],
      [
        [7001, 3],
        [7001, 3],
        [7002, 4],
      ],
    ] as const) {
      const place = await openTo([...answers]).found.locate()
      expect(place).toMatchObject({ host: "10.0.0.1", port: 7002 })
    }
  })

  it("is known although some are silent or do not know the name", async () => {
    expect(await openTo(["silent", [7001, 1], null]).found.locate()).toMatchObject({ port: 7001 })
  })

  it("is unknown when none answers with an address", async () => {
    const { found } = openTo(["silent", null, [0, 1]])
    await expect(found.locate()).rejects.toThrow("No sentinel names the primary")
  })

  it("is asked for again all the time, and told", async () => {
    const answers: Answer[] = [
      [7001, 1],
      [7001, 1],
    ]
    const { found, named } = openTo(answers)
    await until(() => named.length > 0)
    answers[1] = [7002, 2]
    await until(() => named.includes(7002))
    expect(new Set(named)).toEqual(new Set([7001, 7002]))
    expect(await found.locate()).toMatchObject({ port: 7002 })
  })

  it("F-SEN-2: is where every channel goes, also when another channel was led there before", async () => {
    const answers: Answer[] = [
      [7001, 1],
      [7001, 1],
    ]
    const cuts: (() => void)[] = []
    const open: OpenLink = async (to, settings, events) => {
      if (to.port < 7_000) return sentinelAt(answers, to.port)
      const cut = (cause: Error): void => events.lost(cause)
      cuts.push(() => cut(new Error("reset")))
      const send = async ([word]: readonly string[]): Promise<unknown> =>
        word === "ROLE" ? ["master", 0, []] : to.port
      return { owed: 0, answered: 0, cut, send }
    }
    const nobody = {
      username: undefined,
      password: undefined,
      sentinelUsername: undefined,
      sentinelPassword: undefined,
    }
    const settings = { clock: systemClock, deadline: 400, tls: false, ...nobody }
    const address = {
      ...redisAddress("redis+sentinel://s:1,s:2/main"),
      endpoints: [0, 1].map((port) => ({ host: "s", port })),
    }
    const connection = await connectTo(address, settings, async () => open)
    onTestFinished(() => connection.close())
    let told = 0
    connection.watch?.("", () => told++)
    await until(() => told === 1)
    expect(await connection.send("k", ["GET", "k"])).toBe(7001)
    answers[1] = [7002, 2]
    cuts.at(-1)?.() // the watch's, which asks at once
    await until(async () => (await connection.send("k", ["GET", "k"]).catch(() => 0)) === 7002)
  })
})

describe("a server that is said to be the primary", () => {
  const saying = (answer: Promise<unknown>): Link => ({ owed: 0, answered: 0, cut() {}, send: () => answer })

  it("must say so itself, where it may be asked", async () => {
    await checkPrimary(saying(Promise.resolve(["master", 0, []])))
    await checkPrimary(saying(Promise.reject(new RedisReplyError("NOPERM no permissions to run the 'role' command"))))
    await expect(checkPrimary(saying(Promise.resolve(["slave", "10.0.0.1", 1])))).rejects.toThrow("is no primary")
    await expect(checkPrimary(saying(Promise.reject(new Error("lost"))))).rejects.toThrow("lost")
  })
})
