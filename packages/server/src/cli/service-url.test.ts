import { describe, expect, it } from "vitest"
import { UsageError } from "./fail.ts"
import { parseServiceUrl } from "./service-url.ts"

describe("parseServiceUrl", () => {
  it.each([
    ["http://localhost:5100", "http://localhost:5100", "localhost", 5100, ""],
    ["http://localhost:5100/", "http://localhost:5100", "localhost", 5100, ""],
    ["localhost:5100", "http://localhost:5100", "localhost", 5100, ""],
    ["localhost:5100/", "http://localhost:5100", "localhost", 5100, ""],
    [":5100", "http://localhost:5100", "localhost", 5100, ""],
    ["kv.example", "http://kv.example", "kv.example", 80, ""],
    ["127.0.0.1:80", "http://127.0.0.1", "127.0.0.1", 80, ""],
    ["[::1]:5100", "http://[::1]:5100", "::1", 5100, ""],
    ["https://kv.example/base//", "https://kv.example/base", "kv.example", 443, "/base"],
    ["HTTP://Kv.Example:5100/a", "http://kv.example:5100/a", "kv.example", 5100, "/a"],
    [" localhost:5100\n", "http://localhost:5100", "localhost", 5100, ""],
  ])("D3: reads %j", (text, name, host, port, base) => {
    expect(parseServiceUrl(text)).toMatchObject({ name, host, port, base, authorization: null, secretInUrl: false })
  })

  it("D3: keeps credentials out of the name", () => {
    for (const text of ["http://ann:t%40ken@localhost:5100/", "ann:t%40ken@localhost:5100"]) {
      const service = parseServiceUrl(text, "other")
      expect(service).toMatchObject({ name: "http://localhost:5100", host: "localhost", port: 5100, secretInUrl: true })
      expect(service.authorization).toBe(`Basic ${Buffer.from("ann:t@ken").toString("base64")}`)
    }
  })

  it("ADM-05: takes the token beside the URL as Bearer", () => {
    expect(parseServiceUrl("localhost:5100", "abc")).toMatchObject({ authorization: "Bearer abc", secretInUrl: false })
    expect(parseServiceUrl("localhost:5100", "").authorization).toBeNull()
  })

  it("knows ?wire=classic", () => {
    expect(parseServiceUrl("localhost:5100?wire=classic&lossy=1").classic).toBe(true)
    expect(parseServiceUrl("localhost:5100").classic).toBe(false)
  })

  it.each([
    ["sqlite:./s3cr3t.db", /must be that of a service/],
    ["redis://u:s3cr3t@h:6379", /must be that of a service/],
    ["file:s3cr3t", /must be that of a service/],
    ["http://", /can't be read/],
    ["http://h:99999", /can't be read/],
    ["", /can't be read/],
    ["http://h/?prefix=s3cr3t", /there is --prefix/],
    ["http://s3cr3t@h", /written name:token@host/],
    ["http://a:%E0s3cr3t@h", /not percent-encoded/],
  ])("D3: refuses %j without repeating it", (text, message) => {
    expect(() => parseServiceUrl(text)).toThrow(UsageError)
    expect(() => parseServiceUrl(text)).toThrow(message)
    expect(() => parseServiceUrl(text)).not.toThrow(/s3cr3t/)
  })

  it("refuses a token that can't stand in a header", () => {
    expect(() => parseServiceUrl("localhost", "a b")).toThrow(/COATCHECK_TOKEN must be/)
  })
})
