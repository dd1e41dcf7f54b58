import { describe, expect, it } from "vitest"
import { hastyClock, rejection, thenable } from "../../../../test/support/sessions.ts"
import { CoatcheckError } from "../errors.ts"
import { memoryStore } from "../stores/memory.ts"
import { fakeClock } from "../testing/fake-clock.ts"
import { faultyStore } from "../testing/faulty-store.ts"
import { updateEntry } from "./update-entry.ts"

const increment = (count: number | undefined): number => (count ?? 0) + 1

function codeOf(error: unknown): string {
  return error instanceof CoatcheckError ? error.code : String(error)
}

describe("S11: updateEntry", () => {
  it("creates what is absent, changes what is there, and answers with the value", async () => {
    const store = memoryStore()
    expect(await updateEntry(store, "visits", increment)).toBe(1)
    expect(await updateEntry(store, "visits", increment)).toBe(2)
    expect(await store.get("visits")).toMatchObject({ value: "2", expiresAt: null, owner: null })
  })

  it("100 at once are 100 more, in few calls, each told its own value", async () => {
    const { store, calls } = faultyStore(memoryStore())
    const values = await Promise.all(Array.from({ length: 100 }, () => updateEntry(store, "visits", increment)))
    expect(values.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
    expect((await store.get("visits"))?.value).toBe("100")
    expect(calls.set).toBeLessThanOrEqual(4)
  })

  it("also through two handles on the same data, as two processes have", async () => {
    const inner = memoryStore()
    const [here, there] = [faultyStore(inner).store, faultyStore(inner).store]
    const clock = hastyClock()
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => updateEntry(i % 2 === 0 ? here : there, "visits", increment, { clock })),
    )
    expect((await inner.get("visits"))?.value).toBe("100")
  })

  it("gives the change a copy: what it changes in place without returning it is not kept", async () => {
    const store = memoryStore()
    await updateEntry<{ list: number[] }>(store, "key", () => ({ list: [1] }))
    const result = await updateEntry<{ list: number[] }>(store, "key", (value) => {
      value!.list.push(2)
      return { list: [...value!.list, 3] }
    })
    expect(result).toEqual({ list: [1, 2, 3] })
    result.list.push(4)
    expect((await store.get("key"))?.value).toBe('{"list":[1,2,3]}')
  })

  it("answers with the value as it will be read", async () => {
    const store = memoryStore()
    expect(await updateEntry<unknown>(store, "key", () => ({ a: undefined, b: Number.NaN }))).toEqual({ b: null })
  })

  it("moves the end when it is told to, and leaves it alone otherwise", async () => {
    const clock = fakeClock()
    const store = memoryStore({ clock })
    await updateEntry(store, "visits", increment, { clock, expiresIn: "30s" })
    expect((await store.get("visits"))?.expiresAt).toBe(clock.now() + 30_000)
    clock.advance(29_000)
    await updateEntry(store, "visits", increment, { clock, expiresIn: "30s" })
    clock.advance(29_000)
    expect(await updateEntry(store, "visits", increment, { clock })).toBe(3)
    clock.advance(1_000)
    expect(await updateEntry(store, "visits", increment, { clock })).toBe(1)
    expect((await store.get("visits"))?.expiresAt).toBe(null)
  })

  it("is asked again when another process was faster, on what that one left", async () => {
    const inner = memoryStore()
    const faulty = faultyStore(inner)
    await inner.set("visits", "1")
    faulty.inject("held-request", { verb: "set" })
    const seen: (number | undefined)[] = []
    const updating = updateEntry<number>(
      faulty.store,
      "visits",
      (count) => {
        seen.push(count)
        return increment(count)
      },
      { clock: hastyClock() },
    )
    await faulty.whenHeld()
    await inner.set("visits", "41")
    await faulty.release()
    expect(await updating).toBe(42)
    expect(seen).toEqual([1, 41])
  })

  it("an unknown outcome is settled by a look", async () => {
    const faulty = faultyStore(memoryStore())
    for (const fault of ["lost-reply", "lost-request"] as const) {
      faulty.inject(fault, { verb: "set" })
      await updateEntry(faulty.store, "visits", increment)
    }
    expect(faulty.struck).toBe(2)
    expect((await faulty.store.get("visits"))?.value).toBe("2")
  })
})

describe("updateEntry refuses", () => {
  it("a function that is async: nothing is written, and its failure ends no process", async () => {
    const store = memoryStore()
    const changes = [
      async () => 1,
      () => Promise.reject(new Error("later")),
      () => thenable((_: unknown, failed: (error: Error) => void) => failed(new Error("later"))),
    ]
    for (const change of changes) {
      expect(await rejection(updateEntry<unknown>(store, "key", change))).toBeInstanceOf(TypeError)
    }
    expect(await store.get("key")).toBe(null)
  })

  it("a result that JSON does not know", async () => {
    const store = memoryStore()
    for (const result of [undefined, () => 1, Symbol.iterator]) {
      expect(await rejection(updateEntry<unknown>(store, "key", () => result))).toBeInstanceOf(TypeError)
    }
    expect(await store.get("key")).toBe(null)
  })

  it("an entry that holds no JSON, which it leaves as it is", async () => {
    const store = memoryStore()
    await store.set("key", "{not json")
    expect(codeOf(await rejection(updateEntry(store, "key", increment)))).toBe("corrupt")
    expect((await store.get("key"))?.value).toBe("{not json")
  })

  it("with what the change throws, and lets the others of its burst pass", async () => {
    const store = memoryStore()
    const results = await Promise.allSettled(
      [0, 1, 2, 3].map((i) =>
        updateEntry<number>(store, "key", (count) => {
          if (i === 2) throw new RangeError("no")
          return increment(count)
        }),
      ),
    )
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"])
    expect((await store.get("key"))?.value).toBe("3")
  })

  it("with what the store throws", async () => {
    const faulty = faultyStore(memoryStore())
    faulty.inject("refused", { verb: "set" })
    expect(codeOf(await rejection(updateEntry(faulty.store, "key", increment)))).toBe("unavailable")
    expect(codeOf(await rejection(updateEntry(faulty.store, "a\nb", increment)))).toBe("invalid")
  })

  it("durations that are none", async () => {
    const store = memoryStore()
    expect(await rejection(updateEntry(store, "key", increment, { expiresIn: "1 s" as never }))).toBeInstanceOf(
      TypeError,
    )
    expect(await rejection(updateEntry(store, "key", increment, { deadline: 0 }))).toBeInstanceOf(TypeError)
  })
})
