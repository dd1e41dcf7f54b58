// The failure suite over the http store, bare and as `openStore` hands it out: a real service, the network before it failing in every
// way that the proxy knows.

import { createService } from "@coatcheck/server"
import { httpStore } from "coatcheck/http"
import { memoryStore } from "coatcheck/memory"
import { openStore } from "coatcheck/open"
import { failureCases } from "coatcheck/testing"
import { afterAll, describe, expect, it, onTestFinished } from "vitest"

const engine = memoryStore()
const service = createService(engine, { allowHosts: ["127.0.0.1"] }) // the proxy is asked under a port of its own
const { port: target } = await service.listen({ port: 0 })
afterAll(() => service.close({ deadline: 1 }))

const look = () => ({ ...engine, close: async () => {} }) // each case closes what it opens, and all share this one

describe("the http store keeps the contract while the network fails", () => {
  const cases = failureCases({
    target,
    open: ({ port, deadline, report }) => httpStore(`http://127.0.0.1:${port}`, { deadline, report }),
    look,
    cuts: 40,
  })
  for (const { name, run } of cases) it.concurrent(name, run)
})

describe("so it does behind the guard of openStore", () => {
  const cases = failureCases({
    target,
    open: ({ port, deadline, report }) => openStore(`http://127.0.0.1:${port}`, { deadline, report }),
    look,
    cuts: 4,
  })
  for (const { name, run } of cases) it.concurrent(name, run)
})

describe("a service whose store has no room", () => {
  it("REL-03: refuses writes as full, and goes on when there is room", async () => {
    const small = memoryStore({ maxEntries: 40 })
    const crowded = createService(small, { allowHosts: ["127.0.0.1"] })
    onTestFinished(() => crowded.close({ deadline: 1 }))
    const { port: there } = await crowded.listen({ port: 0 })
    const fillers = Array.from({ length: 40 }, (_, at) => `filler${at}`)
    const [last] = failureCases({
      target: there,
      open: ({ port, deadline, report }) => openStore(`http://127.0.0.1:${port}`, { deadline, report }),
      look: () => ({ ...small, close: async () => {} }),
      async fill() {
        const writes = await Promise.allSettled(fillers.map((key) => small.set(key, "1")))
        expect(writes.some(({ status }) => status === "rejected")).toBe(true)
        return async () => void (await Promise.all(fillers.map((key) => small.delete(key))))
      },
    }).slice(-1)
    await last?.run()
  })
})
