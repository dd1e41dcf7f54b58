import { expect, it } from "vitest"
import { RedisLinkError, type RedisNode } from "./connection.ts"
import { replicasOf } from "./replicas.ts"

interface Wait {
  readonly node: string
  readonly args: readonly string[]
  readonly resolve: (count: number) => void
  readonly reject: (error: Error) => void
}

/** Primaries whose answers are in our hands. */
function rig(): { to: (id: string) => RedisNode; waits: Wait[] } {
  const waits: Wait[] = []
  const to = (node: string): RedisNode => ({
    id: node,
    send: (args) => new Promise((resolve, reject) => waits.push({ node, args, resolve, reject })),
  })
  return { to, waits }
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
  const { to, waits } = rig()
  const replicas = replicasOf(2, 400)
  const first = outcomes(["a", "a", "b"].map((id) => replicas.follow(to(id))))
  expect(waits).toEqual([]) // writes of this tick go first
  await turn()
  expect(waits.map(({ node }) => node)).toEqual(["a", "b"])
  expect(waits[0]?.args).toEqual(["WAIT", "2", "400"])
  const second = outcomes(["a", "a"].map((id) => replicas.follow(to(id))))
  await turn()
  expect(waits).toHaveLength(2)
  waits[0]?.resolve(2)
  await turn()
  expect([first, second]).toEqual([
    ["ok", "ok", "open"],
    ["open", "open"],
  ])
  expect(waits.map(({ node }) => node)).toEqual(["a", "b", "a"])
  waits[1]?.resolve(1)
  waits[2]?.resolve(3)
  await turn()
  expect([first, second]).toEqual([
    ["ok", "ok", "unknown-outcome"],
    ["ok", "ok"],
  ])
})

it("REL-04: with a lost connection goes what waits behind it, whose writes another connection's WAIT knows nothing of", async () => {
  const { to, waits } = rig()
  const replicas = replicasOf(1, 400)
  const first = outcomes([replicas.follow(to("a"))])
  await turn()
  const second = outcomes([replicas.follow(to("a"))])
  waits[0]?.reject(new RedisLinkError(true, "the primary died"))
  await turn()
  expect([...first, ...second]).toEqual(["unknown-outcome", "unknown-outcome"])
  expect(waits).toHaveLength(1)
  const third = outcomes([replicas.follow(to("a"))])
  await turn()
  waits[1]?.resolve(1)
  await turn()
  expect(third).toEqual(["ok"])
})
