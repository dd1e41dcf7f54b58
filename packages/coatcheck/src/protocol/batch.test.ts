import fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { DeleteOutcome, Entry, Outcome, SetOptions } from "../core/store.ts"
import { CoatcheckError } from "../errors.ts"
import {
  batchLimits,
  formatBatch,
  formatDeleteOutcome,
  formatFailure,
  formatGet,
  formatOperation,
  formatOutcome,
  formatResults,
  type Operation,
  parseBatch,
  parseResults,
} from "./batch.ts"
import { formatEntry, formatPage, parsePage, readEntry } from "./entry.ts"

const NOW = 1_763_600_000_000
const SKEW = 86_400_000
const text = fc.string({ unit: "grapheme", minLength: 1 })
const version = fc.stringMatching(/^[\w-]{1,64}$/)
const value = fc.oneof(
  fc.json(),
  fc.constantFrom(
    ' { "padded" : [] } ',
    "\n1",
    "12345678901234567890",
    "1e21",
    "-0.0",
    "null",
    '{ "a" : [1 , 2] }',
    '"\\u00e9\\/"',
  ),
)
const end = fc.option(fc.integer({ min: NOW, max: NOW + 1e11 }))

const setOptions: fc.Arbitrary<SetOptions> = fc.record(
  {
    if: fc.oneof(fc.constant("absent" as const), fc.record({ version })),
    version,
    expiresAt: end,
    owner: fc.option(text),
  },
  { requiredKeys: [] },
)
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ op: fc.constant("get" as const), key: text }),
  fc.record({ op: fc.constant("get" as const), key: text, fresh: fc.constant(true) }),
  fc.record({ op: fc.constant("set" as const), key: text, value, options: setOptions }),
  fc.record({
    op: fc.constant("touch" as const),
    key: text,
    expiresAt: end,
    version: fc.option(version, { nil: undefined }),
  }),
  fc.record({ op: fc.constant("delete" as const), key: text, version: fc.option(version, { nil: undefined }) }),
)
const entry: fc.Arbitrary<Entry> = fc.record({ key: text, value, version, expiresAt: end, owner: fc.option(text) })

/** The same moment, as a clock that is a day ahead tells it. */
function shifted<T>(item: T): T {
  return JSON.parse(JSON.stringify(item), (name, field: unknown) =>
    name === "expiresAt" && typeof field === "number" ? field + SKEW : field,
  ) as T
}

function refused(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  return expect.unreachable("it was taken")
}

describe("a batch", () => {
  it("K12: any operation makes the round trip, values to the character, ends by the reader's clock", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 8 }), (operations) => {
        const body = formatBatch(operations.map((one) => formatOperation(one, NOW)))
        expect(() => JSON.parse(body)).not.toThrow()
        expect(JSON.stringify(parseBatch(body, NOW + SKEW))).toBe(JSON.stringify(operations.map(sorted).map(shifted)))
      }),
    )
  })

  it("is what the documentation shows", () => {
    const operations: Operation[] = [
      { op: "get", key: "a" },
      {
        op: "set",
        key: "b",
        value: '{"n":1}',
        options: { if: { version: "x" }, version: "y", expiresAt: NOW + 60_000, owner: "alice" },
      },
      { op: "touch", key: "b", expiresAt: null, version: undefined },
      { op: "delete", key: "a", version: "z" },
    ]
    expect(formatBatch(operations.map((one) => formatOperation(one, NOW)))).toBe(
      '{"ops":[{"op":"get","key":"a"},' +
        '{"op":"set","key":"b","value":{"n":1},"if":{"version":"x"},"version":"y","ttl":60000,"owner":"alice"},' +
        '{"op":"touch","key":"b","ttl":null},{"op":"delete","key":"a","version":"z"}]}',
    )
  })

  it("a value is its text without the white space around it, unless it travels as a string", () => {
    const values = ['"value": 1', '"value" :\n1 ', '"text":"1"', '"text":" 1"'].map(
      (member) => parseBatch(`{"ops":[{"op":"set","key":"a",${member}}]}`, NOW)[0],
    )
    expect(values.map((one) => one?.op === "set" && one.value)).toEqual(["1", "1", "1", " 1"])
  })

  it("refuses what it does not know: a mistyped condition must not make a write unconditional", () => {
    const bad = [
      "",
      "[]",
      "{}",
      '{"ops":{}}',
      '{"ops":[],"more":1}',
      '{"ops":[],"ops":[]}',
      '{"ops":[]} x',
      '{"ops":[1]}',
      '{"ops":[{"op":"get"}]}',
      '{"ops":[{"key":"a"}]}',
      '{"ops":[{"op":"get","key":1}]}',
      '{"ops":[{"op":"GET","key":"a"}]}',
      '{"ops":[{"op":"get","key":"a","version":"x"}]}',
      '{"ops":[{"op":"get","key":"a","fresh":1}]}',
      '{"ops":[{"op":"delete","key":"a","fresh":true}]}',
      '{"ops":[{"op":"set","key":"a"}]}',
      '{"ops":[{"op":"set","key":"a","value":1,"If":"absent"}]}',
      '{"ops":[{"op":"set","key":"a","value":1,"if":"present"}]}',
      '{"ops":[{"op":"set","key":"a","value":1,"if":{}}]}',
      '{"ops":[{"op":"set","key":"a","value":1,"if":{"version":"x","more":1}}]}',
      '{"ops":[{"op":"set","key":"a","value":1,"if":{"version":1}}]}',
      '{"ops":[{"op":"set","key":"a","value":1,"expiresAt":5}]}',
      '{"ops":[{"op":"set","key":"a","value":1,"ttl":-1}]}',
      '{"ops":[{"op":"set","key":"a","value":1,"ttl":1.5}]}',
      '{"ops":[{"op":"set","key":"a","value":1,"owner":7}]}',
      '{"ops":[{"op":"set","key":"a","value":oops}]}',
      '{"ops":[{"op":"set","key":"a","text":"oops"}]}',
      '{"ops":[{"op":"set","key":"a","text":1}]}',
      '{"ops":[{"op":"touch","key":"a"}]}',
      '{"ops":[{"op":"touch","key":"a","ttl":5,"value":1}]}',
      '{"ops":[{"op":"delete","key":"a","ttl":5}]}',
    ]
    for (const body of bad) {
      expect(
        refused(() => parseBatch(body, NOW)),
        body,
      ).toMatchObject({ name: "CoatcheckError", code: "invalid" })
    }
  })

  it("is bounded in operations", () => {
    const body = formatBatch(Array.from({ length: batchLimits.ops + 1 }, () => '{"op":"get","key":"a"}'))
    expect(refused(() => parseBatch(body, NOW))).toMatchObject({ code: "too-large" })
    expect(parseBatch(formatBatch(['{"op":"get","key":"a"}']), NOW, 1)).toHaveLength(1)
  })
})

describe("the results of a batch", () => {
  const current = fc.option(entry)
  const outcome: fc.Arbitrary<Outcome> = fc.oneof(
    version.map((made) => ({ ok: true as const, version: made })),
    current.map((standing) => ({ ok: false as const, current: standing })),
  )
  const deleted: fc.Arbitrary<DeleteOutcome> = fc.oneof(
    current.map((removed) => ({ ok: true as const, removed })),
    entry.map((standing) => ({ ok: false as const, current: standing })),
  )

  it("make the round trip", () => {
    fc.assert(
      fc.property(current, outcome, outcome, deleted, (got, set, touched, removed) => {
        const body = formatResults([
          formatGet(got, NOW),
          formatOutcome("set", set, NOW),
          formatOutcome("touch", touched, NOW),
          formatDeleteOutcome(removed, NOW),
        ])
        const results = parseResults(body, 4, NOW + SKEW)
        expect(results[0]).toMatchObject({ status: got ? 200 : 404, ok: undefined })
        expect(results[0]?.entry).toEqual(shifted(got))
        for (const [index, told] of [set, touched].entries()) {
          const result = results[index + 1]
          expect(result?.ok).toBe(told.ok)
          if (told.ok) expect(result).toMatchObject({ status: 200, version: told.version, entry: undefined })
          else {
            expect(result?.entry).toEqual(shifted(told.current))
            expect(result?.status).toBe(told.current === null && index === 1 ? 404 : 412)
          }
        }
        expect(results[3]?.ok).toBe(removed.ok)
        expect(results[3]?.entry).toEqual(shifted(removed.ok ? removed.removed : removed.current))
      }),
    )
  })

  it("carry an error in its place", () => {
    const body = formatResults([formatGet(null, NOW), formatFailure(new CoatcheckError("full", "Make room"))])
    const [, failed] = parseResults(body, 2, NOW)
    expect(failed).toMatchObject({
      status: 507,
      ok: undefined,
      error: { type: "urn:coatcheck:error:full", detail: "Make room" },
    })
  })

  it("are refused unless they are as many as the operations, and whole", () => {
    const body = formatResults([formatGet(null, NOW), formatGet(null, NOW)])
    for (const count of [0, 1, 3])
      expect(refused(() => parseResults(body, count, NOW))).toMatchObject({ code: "invalid" })
    for (let cut = 0; cut < body.length; cut++) {
      expect(
        refused(() => parseResults(body.slice(0, cut), 2, NOW)),
        `cut at ${cut}`,
      ).toMatchObject({ code: "invalid" })
    }
    for (const odd of [
      '{"results":[{"ok":1}]}',
      '{"results":[{"entry":{"key":"a"}}]}',
      '{"results":[{"entry":5}]}',
      "<html>",
    ]) {
      expect(
        refused(() => parseResults(odd, 1, NOW)),
        odd,
      ).toMatchObject({ code: "invalid" })
    }
  })

  it("may tell more than is understood", () => {
    expect(parseResults('{"took":3,"results":[{"status":404,"entry":null,"more":[1]}]}', 1, NOW)).toHaveLength(1)
  })
})

describe("an entry and a page", () => {
  it("make the round trip, ends by the reader's clock", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 5 }), fc.option(text), (entries, cursor) => {
        expect(parsePage(formatPage({ entries, cursor }, NOW), NOW + SKEW)).toEqual({
          entries: entries.map(shifted),
          cursor,
        })
      }),
    )
  })

  it("a listing without values has none", () => {
    const bare: Entry = { key: "a", value: "", version: "v", expiresAt: null, owner: null }
    expect(formatEntry(bare, NOW)).toBe('{"key":"a","version":"v","ttl":null,"owner":null}')
    expect(readEntry({ text: formatEntry(bare, NOW), at: 0 }, NOW)).toEqual(bare)
  })

  it("an entry never lives longer for its reader than for its writer", () => {
    fc.assert(
      fc.property(fc.nat(1e9), fc.nat(1_000), fc.nat(1_000), (left, there, back) => {
        const sentAt = NOW
        const answeredAt = NOW + there
        const bare: Entry = { key: "a", value: "1", version: "v", expiresAt: answeredAt + left, owner: null }
        const read = readEntry({ text: formatEntry(bare, answeredAt), at: 0 }, sentAt)
        const early = answeredAt + left - (read?.expiresAt ?? 0)
        expect(early).toBeGreaterThanOrEqual(0)
        expect(early).toBeLessThanOrEqual(there + back) // by no more than the request took
      }),
    )
  })

  it("refuses a page that is none", () => {
    for (const body of [
      "{}",
      '{"entries":[]}',
      '{"entries":[null],"cursor":null}',
      '{"entries":[],"cursor":5}',
      '{"entries":[],"cursor":null}x',
    ]) {
      expect(
        refused(() => parsePage(body, NOW)),
        body,
      ).toMatchObject({ code: "invalid" })
    }
  })
})

/** Options in the order in which they travel. */
function sorted(one: Operation): Operation {
  if (one.op !== "set") return one
  const { if: condition, version: chosen, expiresAt, owner } = one.options
  const options = {
    ...(condition === undefined ? {} : { if: condition }),
    ...(chosen === undefined ? {} : { version: chosen }),
    ...(owner === undefined ? {} : { owner }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
  return { ...one, options }
}
