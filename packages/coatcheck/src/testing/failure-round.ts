// One round of calls, one of each kind, made at once while something fails, and the judgement of them: what a call said of itself is
// held against what really happened. `ok` happened, `unavailable` did not, and never will, however late; `unknown-outcome` may say
// either, and for a conditional write the very same call tells which.

import assert from "node:assert/strict"
import type { SetOptions } from "../core/store.ts"
import type { ErrorCode } from "../errors.ts"
import type { Ending, FailureBench } from "./failure-case.ts"

/** One call of a round. */
export interface Made extends Ending<unknown> {
  readonly verb: string
  readonly writes: boolean
  /** Whether its change stands in the store; for a read, whether it told the truth. */
  happened(): Promise<boolean>
}

/** A round that is over. */
export interface Round {
  readonly calls: readonly Made[]
  /** Conditional writes whose outcome nobody knows, to be made once more. */
  readonly open: readonly { again(): Promise<void> }[]
  /** A conditional write of this round has lost against another writer, whatever became of it, and stays so. */
  overtaken(): Promise<void>
}

/** What reads may say when they fail. */
const readFailures: readonly string[] = ["unavailable", "corrupt"]
/** What writes may say when they fail. */
const writeFailures: readonly string[] = ["unavailable", "unknown-outcome"]

/** Prepares keys past the proxy, makes one call of each kind at once, and asserts that each ended as it may. */
export async function playRound(bench: FailureBench): Promise<Round> {
  const { store, look, timed, unique } = bench
  const end = Date.now() + 3_600_000
  const keys = {
    get: unique("get"),
    update: unique("update"),
    contested: unique("contested"),
    insert: unique("insert"),
    plain: unique("plain"),
    touch: unique("touch"),
    delete: unique("delete"),
  }
  const base = version(unique("base"))
  for (const key of [keys.get, keys.update, keys.contested, keys.plain, keys.touch, keys.delete]) {
    await look.set(key, "0", { version: base })
  }
  const conditional = (key: string, options: SetOptions): Conditional => ({
    key,
    options: { ...options, version: version(key) },
  })
  const update = conditional(keys.update, { if: { version: base } })
  const contested = conditional(keys.contested, { if: { version: base } })
  const insert = conditional(keys.insert, { if: "absent" })
  const stands = (key: string, value: string) => async () => (await look.get(key))?.value === value

  const write = async (
    verb: string,
    call: () => Promise<unknown>,
    happened: () => Promise<boolean>,
  ): Promise<Made> => ({
    ...(await timed(call)),
    verb,
    writes: true,
    happened,
  })
  const calls = await Promise.all([
    timed(() => store.get(keys.get)).then((ending) => ({
      ...ending,
      verb: "get",
      writes: false,
      happened: async () => ending.answer?.value === "0",
    })),
    timed(() => store.list({ prefix: keys.get })).then((ending) => ({
      ...ending,
      verb: "list",
      writes: false,
      // A page may be short and still have a cursor.
      happened: async () => {
        const { entries = [], cursor = null } = ending.answer ?? {}
        return cursor !== null || entries.some(({ key }) => key === keys.get)
      },
    })),
    write("update", () => store.set(keys.update, "1", update.options), stands(keys.update, "1")),
    write("contested", () => store.set(keys.contested, "1", contested.options), stands(keys.contested, "1")),
    write("insert", () => store.set(keys.insert, "1", insert.options), stands(keys.insert, "1")),
    write("set", () => store.set(keys.plain, "1"), stands(keys.plain, "1")),
    write(
      "touch",
      () => store.touch(keys.touch, end),
      async () => (await look.get(keys.touch))?.expiresAt !== null,
    ),
    write(
      "delete",
      () => store.delete(keys.delete),
      async () => (await look.get(keys.delete)) === null,
    ),
  ])
  for (const { verb, code, writes: isWrite } of calls) {
    const allowed = isWrite ? writeFailures : readFailures
    assert.ok(code === "ok" || allowed.includes(code), `${verb} ended with ${code}`)
  }
  const unknown = (verb: string): boolean => calls.some((call) => call.verb === verb && call.code === "unknown-outcome")
  return {
    calls,
    open: [update, insert].flatMap((one) =>
      unknown(one === update ? "update" : "insert") ? [{ again: () => sameAgain(bench, one) }] : [],
    ),
    async overtaken() {
      const other = version(unique("other"))
      await look.set(keys.contested, "2", { version: other })
      // From now on only an overwrite could make it look as if it had happened.
      const made = calls.find(({ verb }) => verb === "contested") as Made // it is one of them
      calls.splice(calls.indexOf(made), 1, {
        ...made,
        code: "unknown-outcome",
        happened: async () => {
          assert.equal((await look.get(keys.contested))?.version, other, "a conditional write overwrote another's")
          return false
        },
      })
    },
  }
}

interface Conditional {
  readonly key: string
  readonly options: SetOptions
}

/** The same conditional call may be sent again: it lands, or has landed, and the store says the same as what stands past the proxy. */
async function sameAgain({ store, look, surely }: FailureBench, { key, options }: Conditional): Promise<void> {
  const seen = await surely(() => store.get(key))
  assert.ok(seen === null || ["0", "1"].includes(seen.value), "what stands there is neither the old nor the new")
  const outcome = await surely(() => store.set(key, "1", options))
  assert.ok(outcome.ok && outcome.version === options.version, "the same conditional call was refused")
  const stands = await look.get(key)
  assert.deepEqual([stands?.value, stands?.version], ["1", options.version])
}

/** Holds what each call said of itself against what really happened. */
export async function judge(calls: readonly Made[]): Promise<void> {
  for (const { verb, code, writes, happened } of calls) {
    const did = await happened()
    if (code === "ok") assert.ok(did, `${verb} was acknowledged and did not happen`)
    if (code === "unavailable" && writes) assert.ok(!did, `${verb} was called undone and happened`)
  }
}

/** The codes of a round's calls, one each. */
export function codes(calls: readonly Made[], writes?: boolean): Set<"ok" | ErrorCode> {
  return new Set(calls.filter((call) => writes === undefined || call.writes === writes).map(({ code }) => code))
}

function version(unique: string): string {
  return unique.replaceAll(/[^\w-]/g, "_")
}
