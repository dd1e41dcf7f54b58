import { describe, expect, it } from "vitest"
import { postgresAddress } from "./address.ts"

describe("a URL of Postgres", () => {
  it("is taken apart: what is the store's own, what is the driver's, and settings of connections", () => {
    const url =
      "postgresql://me:p%40ss%3F@db:5433/shop?table=t&sslmode=verify-full&deadline=2s&options=-c%20a%3Db&application_name=a%26b"
    expect(postgresAddress(url)).toEqual({
      connectionString: "postgresql://me:p%40ss%3F@db:5433/shop?sslmode=verify-full&application_name=a%26b",
      options: "-c a=b",
      parameters: { table: "t", deadline: "2s" },
    })
    expect(postgresAddress("postgres:///shop?host=/run/postgresql")).toEqual({
      connectionString: "postgres:///shop?host=%2Frun%2Fpostgresql",
      options: "",
      parameters: {},
    })
    expect(postgresAddress("postgres://localhost").connectionString).toBe("postgres://localhost")
  })

  it("is refused when it is none, or has a parameter that nobody knows; nothing of it is repeated", () => {
    const refused = [
      "",
      "postgres:",
      "postgres:shop",
      "http://localhost",
      "postgres://[",
      "postgres://me:hunter2@h/x?hunter2=1",
    ]
    for (const url of refused) {
      expect(() => postgresAddress(url)).toThrow(TypeError)
      expect(() => postgresAddress(url)).not.toThrow(/hunter2/)
    }
  })
})
