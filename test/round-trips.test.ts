// What a request costs, counted and not guessed: a proxy before the engine counts how often the application speaks to it and waits. The
// engines are real, the stores are opened by URL as an application does.

import { createSessions, type Exchange, type Session, type Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import { type FaultProxy, faultProxy } from "coatcheck/testing"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { serverEngines, type ServerEngine } from "./support/engines.ts"

interface Data {
  count: number
}

const addOne = (data: { count?: number }): void => {
  data.count = (data.count ?? 0) + 1
}

describe.each(Object.entries(serverEngines))("over %s", (_, start) => {
  let engine: ServerEngine
  let proxy: FaultProxy
  let store: Store
  let cookie: string
  let visit: (handler?: (session: Session<Data>) => unknown) => Promise<string | null>

  beforeAll(async () => {
    engine = await start()
    proxy = await faultProxy({ target: engine.port })
    store = await openStore(engine.through(proxy.port), { deadline: "10s", report: () => {} })
    const sessions = createSessions<Data>({ store, idle: "30m" })
    visit = async (handler) => {
      const exchange: Exchange = { cookie, secure: false, sent: false, attach() {} }
      if (handler === undefined) return null
      const session = await sessions.open(exchange)
      await handler(session)
      return (await session.commit()).setCookie
    }
    const session = await sessions.open({ cookie: null, secure: false, sent: false, attach() {} })
    session.data.count = 0
    cookie = (await session.commit()).setCookie?.split(";")[0] ?? ""
    // Connections are made and statements are known, as in an application that has run for a minute.
    await Promise.all(Array.from({ length: 64 }, () => visit(({ data }) => data.count)))
    await visit((one) => void (one.data.count = 1))
    await visit((one) => one.update(addOne))
    for (const owner of [null, "ben"]) {
      await store.set("warm", "1", { owner, expiresAt: Date.now() + 60_000 })
      await store.touch("warm", Date.now() + 90_000)
      await store.delete("warm")
    }
  })
  afterAll(async () => {
    await store.close()
    await proxy.close()
    await engine.close()
  })

  async function roundTrips(work: () => Promise<unknown>): Promise<number> {
    const { roundTrips: before } = proxy.counts
    await work()
    return proxy.counts.roundTrips - before
  }

  it("S3 S4: a request that opens no session costs no round trip, a read one, a read and a write two", async () => {
    expect(await roundTrips(() => visit())).toBe(0)
    expect(await roundTrips(() => visit(({ data }) => expect(data.count).toBeDefined()))).toBe(1)
    expect(await roundTrips(() => visit((session) => void (session.data.count = 7)))).toBe(2)
    expect(await roundTrips(() => visit((session) => session.update(addOne)))).toBe(2)
  })

  it("S9 S10: a cookie that is no id costs none", async () => {
    const known = cookie
    for (const strange of ["session=attacker", "session=../../x", `session=${"a".repeat(10_000)}`, "session="]) {
      cookie = strange
      expect(await roundTrips(() => visit(({ isNew }) => expect(isNew).toBe(true)))).toBe(0)
    }
    cookie = known
  })

  it("each verb costs one, the owner's index included", async () => {
    const end = Date.now() + 60_000
    expect(await roundTrips(() => store.set("k", "1", { owner: "ann", expiresAt: end }))).toBe(1)
    const entry = await store.get("k")
    expect(await roundTrips(() => store.get("k"))).toBe(1)
    expect(await roundTrips(() => store.set("k", "2", { if: { version: entry?.version ?? "" } }))).toBe(1)
    expect(await roundTrips(() => store.touch("k", end + 1_000))).toBe(1)
    expect(await roundTrips(() => store.delete("k"))).toBe(1)
    expect(await roundTrips(() => store.set("n", "1", { if: "absent" }))).toBe(1)
  })

  it("S11: a burst of 200 updates on one process costs 20 at most, and loses none", async () => {
    const count = async (): Promise<number> => {
      let seen = 0
      await visit(({ data }) => void (seen = data.count ?? 0))
      return seen
    }
    const before = await count()
    const visits = await roundTrips(() =>
      Promise.all(Array.from({ length: 200 }, () => visit((session) => session.update(addOne)))),
    )
    expect(await count()).toBe(before + 200)
    expect(visits).toBeLessThanOrEqual(20)
  })
})
