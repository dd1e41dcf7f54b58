// A suite that can't fail proves nothing: stores with one mistake each are caught, by the case that is there for it.

import { createService } from "@coatcheck/server"
import { CoatcheckError, type Store } from "coatcheck"
import { httpStore } from "coatcheck/http"
import { memoryStore } from "coatcheck/memory"
import { type FailureSetup, failureCases } from "coatcheck/testing"
import { afterAll, describe, expect, it } from "vitest"

const engine = memoryStore()
const service = createService(engine, { allowHosts: ["127.0.0.1"] })
const { port: target } = await service.listen({ port: 0 })
afterAll(() => service.close({ deadline: 1 }))

const open = ({ port, deadline, report }: FailureSetup): Store =>
  httpStore(`http://127.0.0.1:${port}`, { deadline, report })
const look = (): Store => ({ ...engine, close: async () => {} })

type Verb = "get" | "set" | "touch" | "delete" | "list"

/** The store with each of its calls led through a function. */
function around(right: Store, lead: <T>(call: () => Promise<T>, verb: Verb, args: unknown[]) => Promise<T>): Store {
  return {
    ...right,
    get: (...args) => lead(() => right.get(...args), "get", args),
    set: (...args) => lead(() => right.set(...args), "set", args),
    touch: (...args) => lead(() => right.touch(...args), "touch", args),
    delete: (...args) => lead(() => right.delete(...args), "delete", args),
    list: (...args) => lead(() => right.list(...args), "list", args),
  }
}

const isUnknown = (error: unknown): boolean => error instanceof CoatcheckError && error.code === "unknown-outcome"

interface Mistake {
  readonly caughtBy: RegExp
  readonly as: RegExp
  make(right: Store, setup: FailureSetup): Store
}

const mistakes: Readonly<Record<string, Mistake>> = {
  "calls what nobody knows undone": {
    caughtBy: /replies are cut at every place/,
    as: /was called undone and happened/,
    make: (right) =>
      around(right, (call) =>
        call().catch((error: unknown) => {
          throw isUnknown(error) ? new CoatcheckError("unavailable", "try again") : error
        }),
      ),
  },
  "calls what happens later undone": {
    caughtBy: /after the deadline/,
    as: /was called undone and happened/,
    make: (right) =>
      around(right, (call) =>
        call().catch((error: unknown) => {
          throw isUnknown(error) ? new CoatcheckError("unavailable", "try again") : error
        }),
      ),
  },
  "calls what surely did not happen unknown": {
    caughtBy: /server is away/,
    as: /unknown-outcome/,
    make: (right) =>
      around(right, (call, verb) =>
        call().catch((error: unknown) => {
          throw verb === "set" ? new CoatcheckError("unknown-outcome", "look") : error
        }),
      ),
  },
  "lets the driver's own error through": {
    caughtBy: /resets each connection/,
    as: /expected a CoatcheckError/,
    make: (right) =>
      around(right, (call) => call().catch((error: unknown) => Promise.reject((error as Error).cause as Error))),
  },
  "has no deadline": {
    caughtBy: /is frozen/,
    as: /did not end within/,
    make: (_, setup) => open({ ...setup, deadline: 60_000 }),
  },
  "acknowledges what is not written yet": {
    caughtBy: /is frozen/,
    as: /went well while the server was out of reach/,
    make: (right) => ({
      ...right,
      async set(key, value, options) {
        right.set(key, value, options).catch(() => {})
        return { ok: true, version: options?.version ?? "v" }
      },
    }),
  },
  "sends a conditional write again without its condition": {
    caughtBy: /is frozen/,
    as: /overwrote another's/,
    make: (right) => {
      const again = async (key: string, value: string): Promise<void> => {
        for (;;) {
          try {
            return void (await right.set(key, value))
          } catch (error) {
            if (error instanceof CoatcheckError && error.code === "closed") return
          }
        }
      }
      return {
        ...right,
        set: (key, value, options) =>
          right.set(key, value, options).catch((error: unknown) => {
            if (isUnknown(error) && key.endsWith("contested")) void again(key, value)
            throw error
          }),
      }
    },
  },
  "refuses the same conditional call when it has landed": {
    caughtBy: /replies are cut at every place/,
    as: /was refused/,
    make: (right) => ({
      ...right,
      async set(key, value, options) {
        const { version: _own, ...rest } = options ?? {}
        return right.set(key, value, rest)
      },
    }),
  },
  "counts a lost increment as done": {
    caughtBy: /counter under cuts/,
    as: /were acknowledged|the fault never happened/,
    make: (right) => ({
      ...right,
      set: (key, value, options) =>
        right.set(key, value, options).catch((error: unknown) => {
          if (error instanceof CoatcheckError && error.code !== "closed") return { ok: true, version: "v" }
          throw error
        }),
    }),
  },
  "gives the key away": {
    caughtBy: /answers rubbish/,
    as: /gives a key, a version or a value away/,
    make: (right) =>
      around(right, (call, _, args) =>
        call().catch((error: unknown) => {
          throw new CoatcheckError((error as CoatcheckError).code, `no answer for ${JSON.stringify(args)}`)
        }),
      ),
  },
  "does not come back": {
    caughtBy: /resets each connection/,
    as: /no recovery within/,
    make: (right) => {
      let broken = false
      return around(right, (call) =>
        broken
          ? Promise.reject(new CoatcheckError("unavailable", "it was down once"))
          : call().catch((error: unknown) => {
              broken = true
              throw error
            }),
      )
    },
  },
  "closes when the server allows it": {
    caughtBy: /is frozen/,
    as: /did not end within/,
    make: (right) => ({ ...right, close: async () => void (await new Promise(() => {})) }),
  },
  "leaves a connection behind": {
    caughtBy: /answers rubbish/,
    as: /a connection is open although/,
    make: (right, setup) => {
      void open(setup)
        .get("k")
        .catch(() => {})
      return right
    },
  },
  "keeps what has ended": {
    caughtBy: /thousands of calls/,
    as: /are kept of calls that have ended/,
    make: (right) => {
      const kept: unknown[] = []
      return around(right, (call, _, args) => {
        kept.push(args)
        return call()
      })
    },
  },
  "opens a connection a call": {
    caughtBy: /thousands of calls/,
    as: /connections for one store/,
    make: (right, setup) => {
      const others: Store[] = []
      let calls = 0
      return {
        ...right,
        set(key, value, options) {
          if (calls++ % 50 === 0) others.push(open(setup))
          return (others.at(-1) ?? right).set(key, value, options)
        },
        close: async () => void (await Promise.all([right, ...others].map((store) => store.close()))),
      }
    },
  },
  "is faster than its server": {
    caughtBy: /late but within the deadline/,
    as: /faster than the network/,
    make: (right) => ({ ...right, get: async (key) => engine.get(key) }),
  },
}

describe("a store with a mistake is caught", () => {
  it.concurrent.each(Object.entries(mistakes))("that %s", async (_, { caughtBy, as, make }) => {
    const cases = failureCases({ target, open: (setup) => make(open(setup), setup), look })
    const [found, ...more] = cases.filter(({ name }) => caughtBy.test(name))
    expect(more).toEqual([])
    await expect(found?.run()).rejects.toThrow(as)
  })

  it("that leaves a rejection that nobody sees", async () => {
    const make = (right: Store): Store =>
      around(right, (call) => {
        const made = call()
        void made.then(() => {})
        return made
      })
    const [first] = failureCases({ target, open: (setup) => make(open(setup)), look })
    await expect(first?.run()).rejects.toThrow(/nobody was there to see it/)
  })

  it.concurrent("that has room where there is none", async () => {
    const cases = failureCases({ target, open, look, fill: async () => async () => {} })
    await expect(cases.at(-1)?.run()).rejects.toThrow(/full/)
  })
})
