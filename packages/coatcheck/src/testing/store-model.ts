// The store against the simplest thing that could be right: a map and a page of code. fast-check makes up sequences of calls over a
// few keys, owners and versions, with the clock moving in between, and shrinks the first one on which the two disagree.
//
// Calls are made one after another here: what happens at once is for the races, where more than one answer is right.

import assert from "node:assert/strict"
import type { DeleteOutcome, Entry, Outcome, SetOptions } from "../core/store.ts"
import type { FakeClock } from "./fake-clock.ts"
import type { Bench, StoreHarness } from "./store-case.ts"
import { inByteOrder, listAll, runCheck } from "./store-case.ts"

/** How often the model is run: each run opens a store of its own. */
const RUNS = 40
const LONGEST_RUN = 60

/** Which version a conditional call asks for. */
type Base = "current" | "stale" | "unknown" | "none"

type Command =
  | { readonly do: "get"; readonly key: string }
  | { readonly do: "insert"; readonly key: string }
  | { readonly do: "delete"; readonly key: string; readonly base: Base }
  | { readonly do: "touch"; readonly key: string; readonly base: Base; readonly ms: number | null }
  | {
      readonly do: "set"
      readonly key: string
      readonly base: Base
      readonly again: boolean
      readonly ms: number | null | undefined
      readonly owner: string | null | undefined
    }
  | { readonly do: "list"; readonly prefix: string; readonly owner: string | null; readonly limit: number }
  | { readonly do: "wait"; readonly ms: number }

const keys = ["a", "a/b", "ab", "\u{1f511}", "\uffee"]
const owners = ["alice", "bob"]

/**
 * Runs the store and the model side by side over random sequences of calls.
 *
 * @throws Error when fast-check is not installed.
 */
export async function runModel(harness: StoreHarness): Promise<void> {
  const fc = await loadFastCheck()
  const key = fc.constantFrom(...keys)
  const base = fc.constantFrom<Base>("current", "stale", "unknown", "none")
  const ms = fc.constantFrom(null, -1, 0, 1, 1_000, 5_000)
  const left = fc.constant(undefined)
  const owner = fc.constantFrom(null, ...owners)
  const command: import("fast-check").Arbitrary<Command> = fc.oneof(
    fc.record({ do: fc.constant("get" as const), key }),
    fc.record({ do: fc.constant("insert" as const), key }),
    fc.record({ do: fc.constant("delete" as const), key, base }),
    fc.record({ do: fc.constant("touch" as const), key, base, ms }),
    fc.record({
      do: fc.constant("set" as const),
      key,
      base,
      again: fc.boolean(),
      ms: fc.oneof(left, ms),
      owner: fc.oneof(left, owner),
    }),
    fc.record({
      do: fc.constant("list" as const),
      prefix: fc.constantFrom("", "a", "a/", "\uffee"),
      owner,
      limit: fc.integer({ min: 1, max: 6 }),
    }),
    fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(1, 999, 4_000) }),
  )
  const commands = fc.array(command, { maxLength: LONGEST_RUN, size: "max" })
  const property = fc.asyncProperty(commands, (sequence) => runCheck(harness, (bench) => compare(bench, sequence)))
  await fc.assert(property, { numRuns: RUNS })
}

/** Takes one sequence to the store and to a model. */
async function compare({ store, clock }: Bench, sequence: readonly Command[]): Promise<void> {
  const model = modelStore(clock)
  const spent = new Map<string, string>() // per key, a version that it had once
  let writes = 0

  function condition(key: string, base: Base): { version: string } | undefined {
    if (base === "none") return undefined
    if (base === "unknown") return { version: "unknown" }
    const version = base === "current" ? model.get(key)?.version : spent.get(key)
    return { version: version ?? "unknown" }
  }

  async function set(key: string, options: SetOptions): Promise<void> {
    const old = model.get(key)?.version
    if (old !== undefined) spent.set(key, old)
    const value = String(writes)
    const wasAbsent = model.get(key) === null
    const outcome = await store.set(key, value, options)
    const tells = options.if === undefined && outcome.ok && outcome.created !== undefined
    assert.deepEqual(outcome, { ...model.set(key, value, options), ...(tells && { created: wasAbsent }) })
  }

  async function step(command: Command): Promise<void> {
    writes += 1
    switch (command.do) {
      case "wait":
        return clock.advance(command.ms)
      case "get":
        return assert.deepEqual(await store.get(command.key), model.get(command.key))
      case "insert":
        return set(command.key, { if: "absent", version: `v${writes}` })
      case "delete": {
        const { key, base } = command
        const options = condition(key, base)
        return assert.deepEqual(await store.delete(key, options), model.delete(key, options?.version))
      }
      case "touch": {
        const { key, base, ms } = command
        const options = condition(key, base)
        const expiresAt = ms === null ? null : clock.now() + ms
        return assert.deepEqual(
          await store.touch(key, expiresAt, options),
          model.touch(key, expiresAt, options?.version),
        )
      }
      case "set": {
        const { key, base, again, ms, owner } = command
        const asked = condition(key, base)
        const options: SetOptions = {
          version: `v${writes}`,
          ...(asked !== undefined && { if: asked }),
          ...(ms !== undefined && { expiresAt: ms === null ? null : clock.now() + ms }),
          ...(owner !== undefined && { owner }),
        }
        await set(key, options)
        if (again && asked !== undefined) await set(key, options)
        return
      }
      case "list": {
        const { prefix, owner, limit } = command
        const listed = await listAll(store, owner === null ? { prefix, limit } : { prefix, owner, limit })
        assert.deepEqual(store.info.ordered ? listed : sorted(listed), model.list(prefix, owner))
      }
    }
  }

  for (const command of sequence) await step(command)
  assert.deepEqual(sorted(await listAll(store)), model.list("", null))
}

/** The contract as plainly as it can be written. */
function modelStore(clock: FakeClock): {
  get(key: string): Entry | null
  set(key: string, value: string, options: SetOptions): Outcome
  touch(key: string, expiresAt: number | null, version: string | undefined): Outcome
  delete(key: string, version: string | undefined): DeleteOutcome
  list(prefix: string, owner: string | null): Entry[]
} {
  const entries = new Map<string, Entry>()

  function get(key: string): Entry | null {
    const entry = entries.get(key)
    return entry === undefined || (entry.expiresAt !== null && entry.expiresAt <= clock.now()) ? null : entry
  }

  return {
    get,
    set(key, value, options) {
      const current = get(key)
      const version = options.version as string // every command names the version that it writes
      if (options.if !== undefined) {
        if (current?.version === version) return { ok: true, version }
        const holds = options.if === "absent" ? current === null : current?.version === options.if.version
        if (!holds) return { ok: false, current }
      }
      const { expiresAt = current?.expiresAt ?? null, owner = current?.owner ?? null } = options
      entries.set(key, { key, value, version, expiresAt, owner })
      return { ok: true, version }
    },
    touch(key, expiresAt, version) {
      const current = get(key)
      if (current === null || (version !== undefined && version !== current.version)) return { ok: false, current }
      entries.set(key, { ...current, expiresAt })
      return { ok: true, version: current.version }
    },
    delete(key, version) {
      const current = get(key)
      if (current !== null && version !== undefined && version !== current.version) return { ok: false, current }
      entries.delete(key)
      return { ok: true, removed: current }
    },
    list(prefix, owner) {
      const listed = [...entries.keys()].filter((key) => key.startsWith(prefix)).map(get)
      return sorted(listed.filter((entry) => entry !== null && (owner === null || entry.owner === owner)) as Entry[]) // no null is left
    },
  }
}

/** In byte order, each key once: what an unordered store may repeat is the same entry. */
function sorted(entries: readonly Entry[]): Entry[] {
  const byKey = new Map(entries.map((entry) => [entry.key, entry]))
  return inByteOrder([...byKey.keys()]).map((key) => byKey.get(key) as Entry) // the map's own keys
}

async function loadFastCheck(): Promise<typeof import("fast-check")> {
  try {
    return await import("fast-check")
  } catch (cause) {
    throw new Error("The model run of the store suite needs fast-check: npm install --save-dev fast-check", { cause })
  }
}
