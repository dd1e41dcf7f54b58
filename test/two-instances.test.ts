// One session, two instances of the application as processes of their own, many clients each: nothing acknowledged may be lost, nothing
// ended may come back. Run for every engine that instances can share, opened by its URL as an application does.

import { createService } from "@coatcheck/server"
import { createSessions, type Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import { type FaultProxy, faultProxy, seededRandom } from "coatcheck/testing"
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest"
import { type Engine, serverEngines, type ServerEngine, sharedEngines } from "./support/engines.ts"
import { type Instance, startInstance } from "./support/instances.ts"
import { until } from "./support/redis.ts"
import { ask } from "./support/service.ts"
import type { Tally } from "./support/session-worker.ts"

interface Visitor {
  readonly cookie: string
  /** Where its record is. */
  readonly key: string
  count(): Promise<number>
}

/** A session of its own with a count of 0. */
async function newVisitor(store: Store): Promise<Visitor> {
  const sessions = createSessions<{ count: number }>({ store })
  const session = await sessions.open({ cookie: null, secure: false, sent: false, attach() {} })
  session.data.count = 0
  const { setCookie } = await session.commit()
  const key = session.key ?? ""
  return {
    cookie: setCookie?.split(";")[0] ?? "",
    key,
    async count() {
      const entry = await store.get(key)
      return (JSON.parse(entry?.value ?? "null") as { data: { count: number } }).data.count
    },
  }
}

async function twoInstances(url: string): Promise<[Instance, Instance]> {
  return Promise.all([startInstance(url), startInstance(url)])
}

/** Cuts every connection in the middle of its next reply, lets some round trips pass, and does it again at another place. */
async function cutNowAndThen(proxy: FaultProxy, isOver: () => boolean): Promise<void> {
  const random = seededRandom(12)
  while (!isOver()) {
    const { cut, roundTrips } = proxy.counts
    proxy.cutReplies(Math.floor(random() * 300))
    await until("a reply was cut", () => proxy.counts.cut > cut || isOver())
    await proxy.passThrough()
    await until("some round trips passed", () => proxy.counts.roundTrips > roundTrips + 10 || isOver())
  }
}

const sum = (tallies: readonly Tally[], field: "acknowledged" | "unknown" | "failed" | "conflicts"): number =>
  tallies.reduce((all, tally) => all + tally[field], 0)

describe.each(Object.entries(sharedEngines))("two instances over %s", (_, start) => {
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
    "S11 F-CONC-1: 2 x 32 clients increment by %s: the count is what was acknowledged, exactly",
    async (how) => {
      const { cookie, count } = await newVisitor(store)
      const command = { how, cookie, times: 160, clients: 32 }
      const tallies = await Promise.all(both.map((instance) => instance.increment(command)))
      expect(tallies.map(({ acknowledged, codes }) => ({ acknowledged, codes }))).toEqual([
        { acknowledged: 160, codes: [] },
        { acknowledged: 160, codes: [] },
      ])
      expect(await count()).toBe(320)
      // Nobody starves behind others, on a machine as busy as this one may be.
      expect(Math.max(...tallies.map(({ longestMs }) => longestMs))).toBeLessThan(10_000)
    },
  )

  it("S11: 100 parallel increments on one instance are exactly 100 more", async () => {
    const { cookie, count } = await newVisitor(store)
    const tally = await both[0].increment({ how: "assign", cookie, times: 100, clients: 100 })
    expect(tally).toMatchObject({ acknowledged: 100, unknown: 0, failed: 0 })
    expect(await count()).toBe(100)
  })

  it.each(["update", "assign"] as const)(
    "S12: a request that writes by %s when the other instance has reset its session brings nothing back",
    async (how) => {
      const { cookie, key } = await newVisitor(store)
      const [slow, other] = both
      await slow.read(cookie)
      await other.reset(cookie)
      expect(await store.get(key)).toBe(null)
      const { tally, setCookie } = await slow.write(how)
      expect(tally.codes).toEqual(how === "update" ? ["ended"] : [])
      expect(setCookie).toBe(null)
      expect(await store.get(key)).toBe(null)
      expect((await store.list({ prefix: key })).entries).toEqual([])
    },
  )

  it("F-CONC-3: an instance that was stopped between its read and its write meets a conflict and overwrites nothing", async () => {
    const { cookie, count } = await newVisitor(store)
    const [sleeper, other] = both
    await sleeper.read(cookie)
    sleeper.child.kill("SIGSTOP")
    const written = await other.increment({ how: "update", cookie, times: 8, clients: 8 })
    sleeper.child.kill("SIGCONT")
    const { tally } = await sleeper.write("assign")
    expect(written).toMatchObject({ acknowledged: 8, codes: [] })
    expect(tally).toMatchObject({ acknowledged: 1 })
    expect(tally.conflicts).toBeGreaterThan(0)
    expect(await count()).toBe(9)
  })

  it("X3: a key past its end is absent from reads and lists of every process, and from the service's dump", async () => {
    const end = Date.now() + 1_000
    await store.set("lapses", "1", { expiresAt: end, owner: "ann" })
    await store.set("stays", "1", { owner: "ann" })
    const second = await openStore(engine.url, { deadline: "10s", report: () => {} })
    const service = createService(second)
    onTestFinished(async () => {
      await service.close({ deadline: 1_000 })
      await second.close()
    })
    const { port } = await service.listen({ port: 0 })
    let seen = 0
    for (let entry = await second.get("lapses"); entry !== null; entry = await second.get("lapses")) {
      expect(Date.now()).toBeLessThan(end + 1_000)
      seen++
    }
    expect(Date.now()).toBeGreaterThanOrEqual(end - 250) // where the time that is left travels, the way takes a little of it
    expect(seen).toBeGreaterThan(0)
    while (Date.now() < end) await store.get("stays")
    for (const one of [store, second]) {
      expect(await one.get("lapses")).toBe(null)
      expect((await one.list({ owner: "ann" })).entries.map(({ key }) => key)).toEqual(["stays"])
    }
    const listed = (await ask(port, "GET", "/")).json as { keys: string[] }
    expect(listed.keys).toContain("stays")
    expect(listed.keys).not.toContain("lapses")
  })
})

describe.each(Object.entries(serverEngines))("two instances over %s, with replies that are cut", (_, start) => {
  let engine: ServerEngine
  let store: Store
  beforeAll(async () => {
    engine = await start()
    store = await openStore(engine.url, { deadline: "10s", report: () => {} })
  })
  afterAll(async () => {
    await store.close()
    await engine.close()
  })

  it.each(["update", "assign"] as const)(
    "S11 F-SLOW-2: by %s: the count is between what was acknowledged, and that plus what is unknown",
    async (how) => {
      const proxy = await faultProxy({ target: engine.port })
      const both = await twoInstances(engine.through(proxy.port))
      onTestFinished(async () => {
        await proxy.passThrough()
        await Promise.all(both.map((instance) => instance.close()))
        await proxy.close()
      })
      const { cookie, count } = await newVisitor(store)
      const command = { how, cookie, times: 640, clients: 32 }
      let isOver = false
      const [tallies] = await Promise.all([
        Promise.all(both.map((instance) => instance.increment(command))).finally(() => (isOver = true)),
        cutNowAndThen(proxy, () => isOver),
      ])
      await proxy.passThrough()
      const [acknowledged, unknown] = [sum(tallies, "acknowledged"), sum(tallies, "unknown")]
      expect(acknowledged + unknown + sum(tallies, "failed")).toBe(1_280)
      expect(await count()).toBeGreaterThanOrEqual(acknowledged)
      expect(await count()).toBeLessThanOrEqual(acknowledged + unknown)
      expect(acknowledged).toBeGreaterThan(100)
      expect(proxy.counts.cut).toBeGreaterThan(3)
    },
  )
})
