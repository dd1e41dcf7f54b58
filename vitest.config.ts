import { defineConfig } from "vitest/config"

// Packages find each other's sources by the export condition, so tests need no build.
const conditions = ["@coatcheck/source"]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: { include: ["packages/**/src/**/*.test.ts", "test/**/*.test.ts"] },
})
