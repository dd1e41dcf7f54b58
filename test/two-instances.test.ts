// One session, two instances of the application as processes of their own, many clients each: nothing acknowledged may be lost, nothing
// ended may come back. Run for every engine that instances can share, opened by its URL as an application does.

import { createService } from "@coatcheck/server"
import type { Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest"
import { type Engine, sharedEngines } from "./support/engines.ts"
import { type Instance, newVisitor, twoInstances } from "./support/instances.ts"
import { command, runSource } from "./support/processes.ts"

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
      const increments = { how, cookie, times: 160, clients: 32 }
      const tallies = await Promise.all(both.map((instance) => instance.increment(increments)))
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

  it("X3: a key past its end is absent from reads and lists of every process, and from a dump", async () => {
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
    const isGone = async (one: Store): Promise<boolean> => {
      const [entry, page] = await Promise.all([one.get("lapses"), one.list({ owner: "ann" })])
      const keys = page.entries.map(({ key }) => key)
      expect(keys).toContain("stays")
      return entry === null && !keys.includes("lapses")
    }
    expect(await isGone(second)).toBe(false)
    let early = 0
    while (!((await isGone(store)) && (await isGone(second)))) early = Date.now()
    // Where what is left of an end travels, the way there and back may add to it.
    expect(early).toBeGreaterThan(end - 500)
    expect(Date.now()).toBeLessThan(end + 1_000)
    const dumped = await runSource(command, ["dump", `http://localhost:${port}`])
    expect(dumped.stdout).toContain("{'stays': 1}")
    expect(dumped.stdout).not.toContain("lapses")
  })
})
