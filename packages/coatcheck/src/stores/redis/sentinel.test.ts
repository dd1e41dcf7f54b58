import { describe, expect, it, onTestFinished } from "vitest"
import { systemClock } from "../../core/clock.ts"
import { RedisReplyError } from "./connection.ts"
import type { Link, LinkOptions, OpenLink } from "./link.ts"
import { checkPrimary, type Sentinels, sentinels } from "./sentinel.ts"

/** What a sentinel answers: the address of the primary and its epoch; "silent": nothing; null: it knows no such name. */
type Answer = readonly [port: number, epoch: number] | "silent" | null

const options: LinkOptions = { tls: null, username: undefined, password: undefined, db: 0, patience: 1_000 }

/** Sentinels that answer as the list says, which a test may change. */
function openTo(answers: Answer[]): { found: Sentinels; moves: () => number } {
  const open: OpenLink = async ({ port: number }) => ({
    owed: 0,
    answered: 0,
    cut() {},
    send([, question = ""]) {
      const answer = answers[number] ?? null
      if (answer === "silent") return new Promise(() => {})
      if (answer === null) return Promise.reject(new RedisReplyError("ERR No such master with that name"))
      const [port, epoch] = answer
      // The state still names the old one, as it does while a failover is under way.
      const state = ["name", "main", "ip", "10.0.0.1", "port", "1", "config-epoch", String(epoch), "quorum", "2"]
      return Promise.resolve(question === "MASTER" ? state : ["10.0.0.1", String(port)])
    },
  })
  let moves = 0
  const found = sentinels({
    open,
    options,
    clock: systemClock,
    deadline: 400,
    name: "main",
    sentinels: answers.map((_, port) => ({ host: "s", port })),
    moved: () => moves++,
  })
  onTestFinished(() => found.close())
  return { found, moves: () => moves }
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

  it("is asked for again all the time, and told when it is another", async () => {
    const answers: Answer[] = [
      [7001, 1],
      [7001, 1],
    ]
    const { found, moves } = openTo(answers)
    await found.locate()
    answers[1] = [7002, 2]
    const began = performance.now()
    while (moves() === 0 && performance.now() - began < 5_000) await new Promise(setImmediate)
    expect(moves()).toBe(1)
    expect(await found.locate()).toMatchObject({ port: 7002 })
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
