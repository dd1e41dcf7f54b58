import { defineConfig } from "vitest/config"

// Packages find each other's sources by the export condition, so tests need no build. The time limits are for a busy machine of
// two cores: a test that needs them has gone wrong, and no test waits for a fixed time. Under CI the results also go into a
// file, from which .ci/run takes its last line. `npm run test:long` has a configuration of its own.
const conditions = ["@coatcheck/source"]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["packages/**/src/**/*.test.ts", "examples/**/*.test.ts", "test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**", "test/long/**"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: process.env.CI ? ["default", ["json", { outputFile: "var/test-results.json" }]] : ["default"],
    coverage: { include: ["packages/*/src/**/*.ts"], exclude: ["**/*.test.ts"], reporter: ["text-summary", "html"] },
  },
})
