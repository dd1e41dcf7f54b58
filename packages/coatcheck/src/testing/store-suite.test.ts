import { readFileSync } from "node:fs"
import { join } from "node:path"
import {
  checkedStore,
  type Entry,
  isOther,
  isOver,
  limits,
  type Outcome,
  pageOfAll,
  refusal,
  type Store,
  written,
} from "coatcheck"
import { storeCases } from "coatcheck/testing"
import { describe, expect, it, vi } from "vitest"
import { checkKey, checkQuery } from "../core/contract.ts"
import type { StoreSetup } from "./store-case.ts"

/** A store as somebody else would write it, through the public doors. */
function mapStore(now: () => number = Date.now): Store {
  const map = new Map<string, Entry>()
  function get(key: string): Entry | null {
    const entry = map.get(key)
    return entry === undefined || isOver(entry.expiresAt, now()) ? null : entry
  }
  function put(entry: Entry): Outcome {
    map.set(entry.key, entry)
    return { ok: true, version: entry.version }
  }
  return checkedStore({
    info: { name: "map", ordered: true, shared: false, durable: false, atomic: true },
    get,
    set(key, value, options) {
      const current = get(key)
      return refusal(current, options) ?? put(written(current, key, value, options))
    },
    touch(key, expiresAt, version) {
      const current = get(key)
      if (current === null || isOther(current, version)) return { ok: false, current }
      return put({ ...current, expiresAt })
    },
    delete(key, version) {
      const current = get(key)
      if (current !== null && isOther(current, version)) return { ok: false, current }
      map.delete(key)
      return { ok: true, removed: current }
    },
    list: (query) => pageOfAll(map.values(), query, now()),
  })
}

const cases = storeCases({ open: ({ clock }) => mapStore(() => clock.now()) })

describe("S1: a custom store of a few lines passes the suite", () => {
  for (const { name, run } of cases) it(name, run)

  it("and the page of the contract shows this very store", () => {
    const body = /^(?:export )?(function mapStore\(.*?^}\n)/ms
    const page = readFileSync(join(import.meta.dirname, "../../../../docs/reference/store-contract.md"), "utf8")
    const here = body.exec(readFileSync(import.meta.filename, "utf8"))?.[1]
    expect(here).toContain("pageOfAll")
    expect(body.exec(page)?.[1]).toBe(here)
  })
})

/** What a store may get wrong: the map store with one mistake. */
const mistakes: Readonly<Record<string, (right: Store, setup: StoreSetup) => Partial<Store>>> = {
  "insert replaces": (right) => ({
    set: (key, value, options = {}) => right.set(key, value, without(options, "if")),
  }),
  "an update creates": (right) => ({
    async set(key, value, options) {
      const outcome = await right.set(key, value, options)
      return outcome.ok || outcome.current !== null ? outcome : right.set(key, value, { ...options, if: "absent" })
    },
  }),
  "a failed condition tells nothing": (right) => ({
    async set(key, value, options) {
      const outcome = await right.set(key, value, options)
      return outcome.ok ? outcome : { ok: false, current: null }
    },
  }),
  "reads, then writes": (right) => ({
    async set(key, value, options = {}) {
      const current = await right.get(key)
      await Promise.resolve()
      return refusal(current, options) ?? right.set(key, value, without(options, "if"))
    },
  }),
  "its own write is a conflict": (right) => ({
    async set(key, value, options = {}) {
      const current = await right.get(key)
      const again = options.if !== undefined && current !== null && current.version === options.version
      return again ? { ok: false, current } : right.set(key, value, options)
    },
  }),
  "its own write is written again": (right) => ({
    async set(key, value, options = {}) {
      const mine = (await right.get(key))?.version === options.version
      return right.set(key, value, mine ? without(options, "if") : options)
    },
  }),
  "what is left out is cleared": (right) => ({
    set: (key, value, options) => right.set(key, value, { expiresAt: null, owner: null, ...options }),
  }),
  "null keeps": (right) => ({
    set: (key, value, { owner, ...options } = {}) => right.set(key, value, { ...options, ...(owner && { owner }) }),
  }),
  "versions count from one": (right) => ({
    async set(key, value, options) {
      const version = String(Number((await right.get(key))?.version ?? 0) + 1)
      return right.set(key, value, { version, ...options })
    },
  }),
  "touch creates": (right) => ({
    async touch(key, expiresAt, options) {
      const outcome = await right.touch(key, expiresAt, options)
      return outcome.ok || outcome.current !== null ? outcome : right.set(key, "null", { expiresAt })
    },
  }),
  "touch is a write": (right) => ({
    async touch(key, expiresAt, options) {
      const outcome = await right.touch(key, expiresAt, options)
      const entry = outcome.ok ? await right.get(key) : null
      return entry === null ? outcome : right.set(key, entry.value)
    },
  }),
  "touch asks for no version": (right) => ({ touch: (key, expiresAt) => right.touch(key, expiresAt) }),
  "delete asks for no version": (right) => ({ delete: (key) => right.delete(key) }),
  "delete tells nothing": (right) => ({
    async delete(key, options) {
      const outcome = await right.delete(key, options)
      return outcome.ok ? { ok: true, removed: null } : outcome
    },
  }),
  "an entry lives a millisecond too long": (right, { clock }) => mapStore(() => clock.now() - 1),
  "an entry ends a millisecond early": (right, { clock }) => mapStore(() => clock.now() + 1),
  "keys know no case": (right) => ({
    get: (key) => right.get(typeof key === "string" ? key.toLowerCase() : key),
    set: (key, value, options) => right.set(typeof key === "string" ? key.toLowerCase() : key, value, options),
  }),
  "keys are normalised": (right) => ({
    get: (key) => right.get(typeof key === "string" ? key.normalize() : key),
    set: (key, value, options) => right.set(typeof key === "string" ? key.normalize() : key, value, options),
  }),
  "values are parsed": (right) => ({
    set: (key, value, options) => right.set(key, parsed(value), options),
  }),
  "anything is a key": (right) => ({ get: (key) => right.get(`${key}`) }),
  "bad arguments throw in the caller's face": (right) => ({
    get(key) {
      checkKey(key)
      return right.get(key)
    },
  }),
  "any value will do": (right) => ({
    set: (key, value, options) => right.set(key, value === "" ? "null" : value, options),
  }),
  "a prefix is a pattern": (right) => ({
    async list(query) {
      const pattern = new RegExp(`^${(query?.prefix ?? "").replace(/[*%]/g, ".*").replace(/[[\\?]/g, "\\$&")}`)
      const page = await right.list(without(query ?? {}, "prefix"))
      return { ...page, entries: page.entries.filter(({ key }) => pattern.test(key)) }
    },
  }),
  "an owner is a prefix": (right) => ({
    async list(query) {
      if (query?.owner === undefined) return right.list(query)
      const { owner, ...rest } = query
      const page = await right.list(rest)
      return { ...page, entries: page.entries.filter((entry) => entry.owner?.startsWith(owner)) }
    },
  }),
  "a cursor is an offset": (right) => ({
    async list({ cursor, limit = limits.defaultPage, ...query } = {}) {
      checkQuery({ ...query, limit, ...(cursor !== undefined && { cursor }) })
      const { entries } = await right.list({ ...query, limit: limits.page })
      const from = Number(cursor ?? 0)
      const more = entries.length > from + limit
      return { entries: entries.slice(from, from + limit), cursor: more ? String(from + limit) : null }
    },
  }),
  "the last page is forgotten": (right) => ({
    async list(query) {
      return { ...(await right.list(query)), cursor: null }
    },
  }),
  "it calls itself ordered and is not": (right) => ({
    async list(query) {
      const page = await right.list(query)
      return { ...page, entries: page.entries.toReversed() }
    },
  }),
  "its order is that of UTF-16": (right) => ({
    async list(query) {
      const page = await right.list(query)
      return { ...page, entries: page.entries.toSorted((a, b) => (a.key < b.key ? -1 : 1)) }
    },
  }),
  "values come although they were not asked for": (right) => ({
    list: (query = {}) => right.list(without(query, "values")),
  }),
  "it works on after it was closed": () => ({ close: async () => {} }),
  "it promises no conditions": (right) => ({ info: { ...right.info, atomic: false } }),
}

describe("the suite finds what a store gets wrong", () => {
  for (const [mistake, change] of Object.entries(mistakes)) {
    it(mistake, async () => {
      const open = (setup: StoreSetup): Store => {
        const right = mapStore(() => setup.clock.now())
        return { ...right, ...change(right, setup) }
      }
      const results = await Promise.allSettled(storeCases({ open }).map(({ run }) => run()))
      expect(results.some(({ status }) => status === "rejected")).toBe(true)
    })
  }

  it("REL-01: the model finds a mistake by itself", async () => {
    const open = ({ clock }: StoreSetup): Store => {
      const right = mapStore(() => clock.now())
      return { ...right, touch: (key, expiresAt) => right.touch(key, expiresAt) }
    }
    const model = storeCases({ open }).at(-1)
    await expect(model?.run()).rejects.toThrow(/Counterexample/)
  })

  it("the model says what to install when fast-check is missing", async () => {
    vi.doMock("fast-check", () => {
      throw new Error("Cannot find package")
    })
    await expect(cases.at(-1)?.run()).rejects.toThrow(/npm install --save-dev fast-check/)
    vi.doUnmock("fast-check")
  })
})

function without<Options extends object, Name extends keyof Options>(
  options: Options,
  name: Name,
): Omit<Options, Name> {
  const { [name]: _, ...rest } = options
  return rest
}

function parsed(value: string): string {
  try {
    return JSON.stringify(JSON.parse(value))
  } catch {
    return value
  }
}
