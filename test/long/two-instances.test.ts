// Two instances on one session for as long as it takes: under steady load without any fault, and under a seeded nemesis that cuts, resets,
// freezes, kills and stops whatever it finds, the server and the instances themselves. Counters are the cheapest checker there is: what
// was acknowledged is there, and nothing is there that nobody asked for. Another nemesis: SIM_SEED=7 npm run test:long two-instances

import type { Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import { type FaultProxy, faultProxy, seededRandom } from "coatcheck/testing"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Engine, serverEngines, type ServerEngine, sharedEngines } from "../support/engines.ts"
import { type Instance, newVisitor, startInstance, twoInstances } from "../support/instances.ts"
import type { Tally } from "../support/session-worker.ts"

const STEADY_MS = 20_000
const NEMESIS_MS = 40_000
const seed = Number(process.env.SIM_SEED ?? 20_261_120)

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const sum = (tallies: readonly Tally[], field: "acknowledged" | "unknown" | "failed" | "conflicts"): number =>
  tallies.reduce((all, tally) => all + tally[field], 0)

function say(what: string, tallies: readonly Tally[], count: number, more = ""): void {
  const longest = Math.max(...tallies.map(({ longestMs }) => longestMs))
  const parts = (["acknowledged", "unknown", "failed", "conflicts"] as const).map(
    (field) => `${field} ${sum(tallies, field)}`,
  )
  console.log(`${what}: count ${count}, ${parts.join(", ")}, longest wait ${Math.round(longest)} ms${more}`)
}

describe.each(Object.entries(sharedEngines))("two instances over %s", (name, start) => {
  let engine: Engine
  let store: Store
  let both: [Instance, Instance]
  beforeAll(async () => {
    engine = await start()
    store = await openStore(engine.url, { deadline: "10s", report: () => {} })
    both = await twoInstances(engine.url)
  })
  afterAll(async () => {
    await Promise.all(both.map((instance) => instance.close()))
    await store.close()
    await engine.close()
  })

  it.each(["update", "assign"] as const)(
    "F-CONC-1: 2 x 32 clients for 20 s by %s: exact, and nobody starves",
    async (how) => {
      const { cookie, count } = await newVisitor(store)
      const increments = { how, cookie, times: { ms: STEADY_MS }, clients: 32 }
      const tallies = await Promise.all(both.map((instance) => instance.increment(increments)))
      say(`${name}, by ${how}`, tallies, await count())
      expect(sum(tallies, "unknown") + sum(tallies, "failed")).toBe(0)
      expect(await count()).toBe(sum(tallies, "acknowledged"))
      for (const { longestMs } of tallies) expect(longestMs).toBeLessThan(2_000)
    },
  )
})

describe.each(Object.entries(serverEngines))("two instances over %s and a nemesis", (name, start) => {
  let engine: ServerEngine
  let store: Store
  let proxy: FaultProxy
  let both: Instance[]
  beforeAll(async () => {
    engine = await start()
    store = await openStore(engine.url, { deadline: "10s", report: () => {} })
    proxy = await faultProxy({ target: engine.port })
    both = await Promise.all([0, 1].map(() => startInstance(engine.through(proxy.port), "500ms")))
  })
  afterAll(async () => {
    await Promise.all(both.map((instance) => instance.close()))
    await proxy.close()
    await store.close()
    await engine.close()
  })

  it(`F-CONC-2: 2 x 32 clients for 40 s: acknowledged <= count <= acknowledged + unknown (SIM_SEED=${seed})`, async () => {
    const random = seededRandom(seed)
    const { cookie, count } = await newVisitor(store)
    const struck = new Map<string, number>()
    const upTo = (most: number): number => Math.floor(random() * most)
    const held = (): Promise<void> => pause(100 + upTo(1_500))

    const faults: Readonly<Record<string, () => Promise<void>>> = {
      async "cut replies"() {
        proxy.cutReplies(upTo(400))
        await held()
      },
      async "cut requests"() {
        proxy.cutRequests(upTo(400))
        await held()
      },
      async "late requests"() {
        proxy.delay(300, { of: "requests", jitter: 600, seed: upTo(1_000) })
        await held()
      },
      async "half-open"() {
        proxy.halfOpen()
        await held()
      },
      async reset() {
        proxy.reset()
      },
      async refused() {
        proxy.refuse()
        await held()
      },
      async "frozen connections"() {
        proxy.freeze()
        await held()
      },
      async "frozen server"() {
        engine.freeze()
        await held()
        engine.thaw()
      },
      async "killed server"() {
        await engine.kill()
        await pause(upTo(300))
        await engine.start()
      },
      async "stopped instance"() {
        const { child } = both[upTo(2)] as Instance // there are two
        child.kill("SIGSTOP")
        await held()
        child.kill("SIGCONT")
      },
    }

    let isOver = false
    async function nemesis(): Promise<void> {
      const names = Object.keys(faults)
      while (!isOver) {
        const fault = names[upTo(names.length)] as keyof typeof faults // within bounds
        await faults[fault]?.()
        await proxy.passThrough()
        struck.set(fault, (struck.get(fault) ?? 0) + 1)
        await pause(upTo(1_500)) // time to come back, or not quite
      }
    }

    const increments = { how: "update", cookie, times: { ms: NEMESIS_MS }, clients: 32 } as const
    const assigned = { ...increments, how: "assign" } as const
    const [tallies] = await Promise.all([
      Promise.all([both[0]?.increment(increments), both[1]?.increment(assigned)]).finally(() => (isOver = true)),
      nemesis(),
    ])
    const done = tallies.filter((tally) => tally !== undefined)
    const final = await count()
    say(name, done, final, `; ${[...struck].map(([fault, times]) => `${fault} ${times}`).join(", ")}`)
    expect(final).toBeGreaterThanOrEqual(sum(done, "acknowledged"))
    expect(final).toBeLessThanOrEqual(sum(done, "acknowledged") + sum(done, "unknown"))
    expect(sum(done, "acknowledged")).toBeGreaterThan(500)
    expect(struck.size).toBeGreaterThan(5)

    // I8: when all is over both are at work again within 5 s, without a restart.
    const began = performance.now()
    for (const instance of both) {
      const again = (): Promise<Tally> => instance.increment({ how: "update", cookie, times: 1, clients: 1 })
      let tally = await again()
      for (; tally.acknowledged === 0; tally = await again()) {
        expect(performance.now() - began).toBeLessThan(5_000)
        await pause(50)
      }
    }
  })
})
