// What users feel when the engine behind an application fails: a real node:http application with the node adapter, over a store opened
// by URL, its engine a real server that is stopped, frozen, refusing, half-open or slow. Run for each engine by a file of its own, so
// that they run beside each other.
//
// Times are looked at as little as can be: a reply must come within the store's deadline and a slack, and pages that open no session are
// compared with such a page of a process that has no store, asked for at the same time: what a busy machine does, it does to both.

import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { Agent, createServer, request, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as pause } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { createSessions, type Store } from "coatcheck"
import { nodeAdapter } from "coatcheck/node"
import { openStore } from "coatcheck/open"
import { type FaultProxy, faultProxy } from "coatcheck/testing"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import { freezeFor, serverEngines, type ServerEngine } from "./engines.ts"
import { sourceFlags } from "./processes.ts"
import { until } from "./redis.ts"

const DEADLINE_MS = 800
const SLACK_MS = 700
/** Below half a deadline: a look that had a deadline of its own would not be over. */
const FIRST_VISIT_SLACK_MS = 200
const RECOVERY_MS = 5_000
/** How much longer the application's plain pages may take, all together, than those of a process that does nothing else. */
const MORE = 3
const SPARE_MS = 2
const PLAIN_PAGES = 100
const EVERY_MS = 10
/** What a delayed page may take beside the delay and what it took before. */
const QUICK_MS = 40

interface Page {
  readonly status: number
  readonly type: string
  readonly headers: NodeJS.Dict<string | string[]>
  readonly text: string
  readonly ms: number
}

/** The application and its visitors. */
interface Application {
  get(path: string): Promise<Page>
  /** As somebody who was never here. */
  visit(path: string): Promise<Page>
  close(): Promise<void>
}

async function startApplication(store: Store): Promise<Application> {
  const sessions = createSessions<{ count: number }>({ store, rules: { count: "add" } })
  const handler = nodeAdapter(sessions, { onError() {} })(async (asked, reply) => {
    if (asked.url === "/plain") {
      reply.end("plain")
      return
    }
    const session = await sessions.open(asked)
    if (asked.url === "/count") session.data.count = (session.data.count ?? 0) + 1
    reply.setHeader("X-Page", "ours")
    reply.end(`Count: ${session.data.count ?? 0}`)
  })
  const server: Server = createServer(handler)
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo // a TCP server has one
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  let cookie = ""
  const fetch = (path: string, headers: { cookie?: string }) =>
    new Promise<Page>((resolve, reject) => {
      const began = performance.now()
      const asked = request({ host: "127.0.0.1", port, path, agent, headers }, (reply) => {
        let text = ""
        reply.setEncoding("utf8").on("data", (part: string) => (text += part))
        reply.on("end", () => {
          const { "content-type": type = "", ...rest } = reply.headers
          resolve({ status: reply.statusCode ?? 0, type, headers: rest, text, ms: performance.now() - began })
        })
      })
      asked.on("error", reject)
      asked.end()
    })
  return {
    async get(path) {
      const page = await fetch(path, cookie === "" ? {} : { cookie })
      cookie = page.headers["set-cookie"]?.[0]?.split(";")[0] ?? cookie
      return page
    },
    visit: (path) => fetch(path, {}),
    async close() {
      agent.destroy()
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    },
  }
}

const countOf = ({ text }: Page): number => Number(/^Count: (\d+)$/.exec(text)?.[1])
const median = (pages: readonly Page[]): number =>
  pages.map(({ ms }) => ms).toSorted((a, b) => a - b)[Math.floor(pages.length / 2)] ?? 0

/** A process whose only page is plain; see ./plain-page.ts. */
async function startPlainPage(): Promise<{ ask(count: number): Promise<number[]>; stop(): Promise<void> }> {
  const path = fileURLToPath(new URL("plain-page.ts", import.meta.url))
  const child: ChildProcess = fork(path, { execArgv: [...sourceFlags] })
  const answer = async (): Promise<unknown> => (await once(child, "message"))[0]
  await answer()
  return {
    async ask(count) {
      child.send(count)
      return (await answer()) as number[] // that is what it answers with
    },
    async stop() {
      const ended = once(child, "exit")
      child.kill()
      await ended
    },
  }
}

const sum = (times: readonly number[]): number => times.reduce((all, ms) => all + ms, 0)

/** So many times, one behind the other, each so long after the last one. */
async function many(count: number, get: () => Promise<Page>, everyMs = 0): Promise<Page[]> {
  const pages: Page[] = []
  for (; pages.length < count; await pause(everyMs)) pages.push(await get())
  return pages
}

/** What an application does when its engine fails; see the head of the file. */
export function describeOutages(name: keyof typeof serverEngines): void {
  describe(`an application over ${name}`, () => {
    let engine: ServerEngine
    let proxy: FaultProxy
    let store: Store
    let application: Application
    let plainPage: Awaited<ReturnType<typeof startPlainPage>>
    beforeAll(async () => {
      plainPage = await startPlainPage()
      engine = await serverEngines[name]()
      proxy = await faultProxy({ target: engine.port })
      store = await openStore(engine.through(proxy.port), { deadline: DEADLINE_MS, report: () => {} })
      application = await startApplication(store)
      await application.get("/count")
    })
    afterAll(async () => {
      await plainPage.stop()
      await application.close()
      await store.close()
      await proxy.close()
      await engine.close()
    })
    afterEach(() => proxy.passThrough())

    /** The session's page answers again, and the count has neither lost an answered click nor gained one from nowhere. */
    async function recovers(before: number, clicks: number): Promise<void> {
      const began = performance.now()
      let page = await application.get("/count")
      for (; page.status !== 200; page = await application.get("/count")) {
        clicks++
        expect(page.status).toBe(503)
        expect(performance.now() - began).toBeLessThan(RECOVERY_MS)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      expect(countOf(page)).toBeGreaterThan(before)
      expect(countOf(page)).toBeLessThanOrEqual(before + clicks + 1)
    }

    /** Pages of a failing store: within the deadline, and nothing of the application's. */
    function areOutages(pages: readonly Page[]): void {
      for (const { status, type, headers, text, ms } of pages) {
        expect([status, type]).toEqual([503, "application/problem+json"])
        expect(ms).toBeLessThan(DEADLINE_MS + SLACK_MS)
        expect(headers["retry-after"]).toMatch(/^[1-9]\d*$/)
        expect([headers["set-cookie"], headers["x-page"]]).toEqual([undefined, undefined])
        expect(text).not.toMatch(/Count|ECONN|redis|postgres|127\.0\.0\.1|\n|\.ts/i)
      }
    }

    /** Visitors come to both kinds of pages while the engine fails. */
    async function outage(strike: () => void | Promise<void>, mend: () => void | Promise<void>): Promise<void> {
      await until("the page answers", async () => (await application.get("/read")).status === 200) // after a test that failed
      const healthy = await Promise.all(Array.from({ length: 8 }, () => application.get("/read")))
      expect(healthy.every(({ status }) => status === 200)).toBe(true)
      const before = countOf(await application.get("/count"))
      let clicks = 0
      const visitor = async (): Promise<Page[]> => {
        clicks += 2
        return many(2, () => application.get("/count"))
      }
      await strike()
      try {
        const [pages, plain, elsewhere] = await Promise.all([
          Promise.all(Array.from({ length: 8 }, visitor)),
          many(PLAIN_PAGES, () => application.get("/plain"), EVERY_MS),
          plainPage.ask(PLAIN_PAGES),
        ])
        areOutages(pages.flat())
        areOutages([await application.get("/read")])
        expect(plain.every(({ status, text }) => status === 200 && text === "plain")).toBe(true)
        expect(sum(plain.map(({ ms }) => ms))).toBeLessThan(MORE * sum(elsewhere) + PLAIN_PAGES * SPARE_MS)
      } finally {
        await mend()
      }
      await recovers(before, clicks)
    }

    it("S14 F-RED-1: its server is stopped: 503 within the deadline, other pages as ever, and it recovers by itself", async () => {
      await outage(
        () => engine.stop(),
        () => engine.start(),
      )
    })

    it("S14 F-RED-2: its server is frozen: the same", async () => {
      await outage(
        () => freezeFor(engine),
        () => engine.thaw(),
      )
    })

    it("S14 F-RED-2: its server is frozen: who was never here waits no longer, though a record was on its way", async () => {
      const before = countOf(await application.get("/count"))
      freezeFor(engine)
      const page = await application.visit("/count")
      engine.thaw()
      areOutages([page])
      expect(page.ms).toBeLessThan(DEADLINE_MS * 1.25 + FIRST_VISIT_SLACK_MS)
      await recovers(before, 0)
    })

    it("S14: its server refuses connections: the same", async () => {
      await outage(
        () => proxy.refuse(),
        () => proxy.passThrough(),
      )
      expect(proxy.counts.reset).toBeGreaterThan(0)
    })

    it("F-SLOW-3: connections that went silent are found out by the deadline, and new ones are used", async () => {
      const before = countOf(await application.get("/count"))
      proxy.halfOpen()
      areOutages(await Promise.all([application.get("/count"), application.get("/count")]))
      await recovers(before, 2)
      expect(proxy.counts.lost).toBeGreaterThan(0)
    })

    it.each([50, 500])("F-SLOW-1: %i ms more on the way to the store are as much on the page", async (delay) => {
      const usual = median(await many(9, () => application.get("/read")))
      proxy.delay(delay)
      const pages = await many(5, () => application.get("/read")) // a first one may need a connection, and wait for more than one answer
      expect(pages.every(({ status }) => status === 200)).toBe(true)
      for (const { ms } of pages) expect(ms).toBeGreaterThanOrEqual(delay - 2)
      expect(median(pages)).toBeLessThan(usual + delay + QUICK_MS)
      expect(proxy.counts.delayed).toBeGreaterThan(0)
    })

    it("F-SLOW-1: over the deadline the page is a 503, in time, and it recovers by itself", async () => {
      const before = countOf(await application.get("/count"))
      proxy.delay(5_000, { jitter: 500 })
      areOutages(await Promise.all([application.get("/count"), application.get("/read")]))
      await proxy.passThrough()
      await recovers(before, 1)
    })

    it("F-SLOW-1: at 1 KiB a second pages come or fail within the deadline, and it recovers by itself", async () => {
      const before = countOf(await application.get("/count"))
      proxy.limit(1_024)
      const { delayed } = proxy.counts
      const pages = await Promise.all(Array.from({ length: 8 }, () => application.get("/read")))
      areOutages(pages.filter(({ status }) => status !== 200))
      for (const { ms } of pages) expect(ms).toBeLessThan(DEADLINE_MS + SLACK_MS)
      expect(proxy.counts.delayed).toBeGreaterThan(delayed)
      await proxy.passThrough()
      await recovers(before, 0)
    })

    it("REL-03: when all is over, no connection is left", async () => {
      await store.close()
      await until("the last connection is closed", () => proxy.counts.open === 0)
    })
  })
}
