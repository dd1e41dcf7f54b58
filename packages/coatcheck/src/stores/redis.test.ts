import { describe, it } from "vitest"
import { startRedis } from "../../../../test/support/redis.ts"
import { storeCases } from "../testing/store-suite.ts"
import { redisStore } from "./redis.ts"

const server = await startRedis()
let stores = 0

describe("the redis store keeps the contract", () => {
  // Redis's clock runs while the suite's stands still: the grace keeps records that a slow machine would lose meanwhile.
  const open = (setup: object) => redisStore(server.url, { ...setup, prefix: `suite-${stores}`, grace: "1m" })
  const harness = {
    open: (setup: object) => {
      stores += 1
      return open(setup)
    },
    openSecond: open,
  }
  for (const { name, run } of storeCases(harness)) it(name, run)
})
