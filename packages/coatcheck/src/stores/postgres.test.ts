import { afterEach, describe, expect, it, vi } from "vitest"
import { postgresStore, type PostgresPool, type PostgresStoreOptions } from "./postgres.ts"

const nowhere = "postgres://127.0.0.1:1/x"

const rejection = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => expect.fail("it should have been refused"),
    (error: unknown) => error,
  )

describe("postgresStore", () => {
  afterEach(() => vi.doUnmock("pg"))

  it("P4: without the driver, one line says what to install", async () => {
    vi.doMock("pg", () => {
      throw new Error("Cannot find package")
    })
    await expect(postgresStore(nowhere)).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(/npm install pg$/),
    })
  })

  const refused: [PostgresStoreOptions, RegExp][] = [
    [{ tabel: "t" } as PostgresStoreOptions, /knows no setting "tabel"/],
    [{ deadline: "soon" as "1s" }, /deadline must be a duration/],
    [{ maxValueBytes: 0 }, /maxValueBytes must be a positive whole number/],
    [{ connections: 1.5 }, /connections must be a positive whole number/],
    [{ maxQueued: -1 }, /maxQueued must be a positive whole number/],
    [{ notify: "yes" as unknown as boolean }, /notify must be true or false/],
    [{ prepare: 1 as unknown as boolean }, /prepare must be true or false/],
    [{ table: 7 as unknown as string }, /table must be a name/],
  ]
  it.each(refused)("refuses settings that make no sense: %j", async (options, message) => {
    await expect(postgresStore(nowhere, options)).rejects.toThrow(TypeError)
    await expect(postgresStore(nowhere, options)).rejects.toThrow(message)
  })

  it.each([null, undefined, 7, {}, { connect() {} }])("refuses what is neither URL nor pool: %j", async (pool) => {
    await expect(postgresStore(pool as unknown as PostgresPool)).rejects.toThrow(
      /needs a URL such as .* or a pool of pg/,
    )
  })

  describe("a server that does not answer at the start", () => {
    const released: unknown[] = []
    const silent = () => new Promise<never>(() => {})
    const client = { query: silent, release: (broken?: unknown) => released.push(broken), on() {}, removeListener() {} }
    const pool = { on() {}, removeListener() {}, end: silent }

    it.each([
      ["takes no connection", [], silent],
      ["answers nothing on one, which is closed", [true], async () => client],
    ] as const)("REL-03: that %s: says so after 15 s", async (_, closed, connect) => {
      vi.useFakeTimers()
      try {
        released.length = 0
        const opening = rejection(postgresStore({ ...pool, connect }))
        await vi.advanceTimersByTimeAsync(15_000)
        expect(await opening).toMatchObject({ code: "unavailable", message: expect.stringMatching(/opened in time/) })
        expect(released).toEqual(closed)
      } finally {
        vi.useRealTimers()
      }
    })

    it("REL-03: that gives a connection too late: has it back", async () => {
      vi.useFakeTimers()
      try {
        released.length = 0
        let give = (_given: typeof client): void => {}
        const connect = () => new Promise<typeof client>((resolve) => (give = resolve))
        const opening = rejection(postgresStore({ ...pool, connect }))
        await vi.advanceTimersByTimeAsync(15_000)
        expect(await opening).toMatchObject({ code: "unavailable", message: expect.stringMatching(/opened in time/) })
        give(client)
        await vi.advanceTimersByTimeAsync(1)
        expect(released).toEqual([undefined])
      } finally {
        vi.useRealTimers()
      }
    })
  })
})
