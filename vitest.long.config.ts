import { defineConfig } from "vitest/config"
import base from "./vitest.config.ts"

// The night tier, `npm run test:long`: what takes minutes by its nature (crash rounds by the dozen, a million records, long model
// runs). One file at a time, because such tests measure.
export default defineConfig({
  ...base,
  test: {
    ...base.test,
    include: ["test/long/**/*.test.ts"],
    exclude: ["**/node_modules/**"],
    testTimeout: 1_800_000,
    hookTimeout: 120_000,
    fileParallelism: false,
    passWithNoTests: true,
  },
})
