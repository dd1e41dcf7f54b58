import { describe, it } from "vitest"
import { storeCases } from "../testing/store-suite.ts"
import { memoryStore } from "./memory.ts"

describe("the memory store keeps the contract", () => {
  for (const { name, run } of storeCases({ open: memoryStore })) it(name, run)
})
