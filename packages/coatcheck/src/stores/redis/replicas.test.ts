import { expect, it } from "vitest"
import { type RedisConnection, RedisLinkError } from "./connection.ts"
import { replicasOf } from "./replicas.ts"

interface Wait {
  readonly key: string
  readonly args: readonly string[]
  readonly resolve: (count: number) => void
  readonly reject: (error: Error) => void
}

/** A connection whose answers are in our hands. Keys of one first letter live on one primary. */
function rig(): { connection: RedisConnection; waits: Wait[] } {
  const waits: Wait[] = []
  const connection: RedisConnection = {
    inOrder: true,
    send: (key, args) => new Promise((resolve, reject) => waits.push({ key, args, resolve, reject })),
    nodeOf: (key) => key.slice(0, 1),
    primaries: async () => [],
    close: async () => {},
  }
  return { connection, waits }
}

const turn = (): Promise<void> => new Promise(setImmediate)

/** How each of them ended, or "open". */
function outcomes(promises: readonly Promise<void>[]): string[] {
  const seen = promises.map(() => "open")
  for (const [at, promise] of promises.entries()) {
    promise.then(
      () => (seen[at] = "ok"),
      (error: unknown) => (seen[at] = (error as { code: string }).code),
    )
  }
  return seen
}

it("one WAIT is under way per primary, for all that was written before it was sent", async () => {
  const { connection, waits } = rig()
  const replicas = replicasOf(connection, 2, 400)
  const first = outcomes(["a1", "a2", "b1"].map((key) => replicas.follow(key)))
  expect(waits).toEqual([]) // writes of this tick go first
  await turn()
  expect(waits.map(({ key }) => key)).toEqual(["a1", "b1"])
  expect(waits[0]?.args).toEqual(["WAIT", "2", "400"])
  const second = outcomes(["a3", "a4"].map((key) => replicas.follow(key)))
  await turn()
  expect(waits).toHaveLength(2)
  waits[0]?.resolve(2)
  await turn()
  expect([first, second]).toEqual([
    ["ok", "ok", "open"],
    ["open", "open"],
  ])
  expect(waits.map(({ key }) => key)).toEqual(["a1", "b1", "a3"])
  waits[1]?.resolve(1)
  waits[2]?.resolve(3)
  await turn()
  expect([first, second]).toEqual([
    ["ok", "ok", "unknown-outcome"],
    ["ok", "ok"],
  ])
})

it("REL-04: with a lost connection goes what waits behind it, whose writes another connection's WAIT knows nothing of", async () => {
  const { connection, waits } = rig()
  const replicas = replicasOf(connection, 1, 400)
  const first = outcomes([replicas.follow("a1")])
  await turn()
  const second = outcomes([replicas.follow("a2")])
  waits[0]?.reject(new RedisLinkError(true, "the primary died"))
  await turn()
  expect([...first, ...second]).toEqual(["unknown-outcome", "unknown-outcome"])
  expect(waits).toHaveLength(1)
  const third = outcomes([replicas.follow("a3")])
  await turn()
  waits[1]?.resolve(1)
  await turn()
  expect(third).toEqual(["ok"])
})
