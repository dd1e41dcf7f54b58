// One session, two instances of the application, many clients each: nothing acknowledged may be lost. Run for every store that
// instances can share.

import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createService } from "@coatcheck/server"
import { createSessions, type Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import { afterEach, describe, expect, it } from "vitest"
import { type Instance, startInstance } from "./support/instances.ts"

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A SQLite file, by itself or behind a service; the URL is what the instances open. */
async function shared(kind: "SQLite" | "the service"): Promise<{ url: string; store: Store }> {
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-two-"))
  cleanups.push(() => rm(folder, { recursive: true, force: true }))
  const file = `sqlite:${join(folder, "sessions.db")}`
  const store = await openStore(file)
  cleanups.push(() => store.close())
  if (kind === "SQLite") return { url: file, store }
  const service = createService(store)
  const { port } = await service.listen({ port: 0 })
  cleanups.push(() => service.close({ deadline: 1_000 }))
  return { url: `http://127.0.0.1:${port}`, store }
}

async function newSession(store: Store): Promise<{ cookie: string; count(): Promise<number> }> {
  const sessions = createSessions<{ count: number }>({ store })
  const session = await sessions.open({ cookie: null, secure: false, sent: false, attach() {} })
  session.data.count = 0
  const { setCookie } = await session.commit()
  const { key } = session
  return {
    cookie: setCookie?.split(";")[0] ?? "",
    async count() {
      const entry = await store.get(key ?? "")
      return (JSON.parse(entry?.value ?? "null") as { data: { count: number } }).data.count
    },
  }
}

async function twoInstances(url: string): Promise<[Instance, Instance]> {
  const both = await Promise.all([startInstance(url), startInstance(url)])
  cleanups.push(() => Promise.all(both.map((instance) => instance.close())))
  return both
}

describe.each(["SQLite", "the service"] as const)("two instances over %s", (kind) => {
  it.each(["update", "assign"] as const)("S11: 2 x 100 parallel increments by %s are exactly 200 more", async (how) => {
    const { url, store } = await shared(kind)
    const session = await newSession(store)
    const instances = await twoInstances(url)
    const command = { how, cookie: session.cookie, times: 100, clients: 100 }
    const tallies = await Promise.all(instances.map((instance) => instance.increment(command)))
    expect(tallies.map(({ acknowledged, codes }) => ({ acknowledged, codes }))).toEqual([
      { acknowledged: 100, codes: [] },
      { acknowledged: 100, codes: [] },
    ])
    expect(await session.count()).toBe(200)
  })

  it("S11: 100 parallel increments on one instance are exactly 100 more", async () => {
    const { url, store } = await shared(kind)
    const session = await newSession(store)
    const instance = await startInstance(url)
    cleanups.push(() => instance.close())
    const tally = await instance.increment({ how: "assign", cookie: session.cookie, times: 100, clients: 100 })
    expect(tally).toMatchObject({ acknowledged: 100, unknown: 0, failed: 0 })
    expect(await session.count()).toBe(100)
  })

  it("F-CONC-3: an instance that was stopped between its read and its write meets a conflict and overwrites nothing", async () => {
    const { url, store } = await shared(kind)
    const session = await newSession(store)
    const [sleeper, other] = await twoInstances(url)
    await sleeper.read(session.cookie)
    sleeper.child.kill("SIGSTOP")
    const written = await other.increment({ how: "update", cookie: session.cookie, times: 8, clients: 8 })
    sleeper.child.kill("SIGCONT")
    const late = await sleeper.write()
    expect(written).toMatchObject({ acknowledged: 8, codes: [] })
    expect(late).toMatchObject({ acknowledged: 1, conflicts: 1 })
    expect(await session.count()).toBe(9)
  })
})
