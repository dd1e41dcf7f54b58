import { describe, expect, it } from "vitest"
import { httpAddress } from "./address.ts"

describe("the URL of an http store", () => {
  it("says where the service is", () => {
    expect(httpAddress("http://localhost:5100", undefined)).toEqual({
      origin: "http://localhost:5100",
      secure: false,
      host: "localhost",
      port: 5100,
      base: "",
      wire: "strict",
      lossy: false,
      authorization: null,
    })
    expect(httpAddress("https://kv.example/", undefined)).toMatchObject({ secure: true, port: 443, base: "" })
    expect(httpAddress("http://kv.example", undefined)).toMatchObject({ port: 80 })
    expect(httpAddress("http://[::1]:5100", undefined)).toMatchObject({ host: "::1", origin: "http://[::1]:5100" })
    expect(httpAddress("http://proxy.example/kv/a/", undefined)).toMatchObject({ base: "/kv/a" })
  })

  it("D5: only ?wire=classic selects the classic wire", () => {
    expect(httpAddress("http://kv:1?wire=classic", undefined)).toMatchObject({ wire: "classic", lossy: false })
    expect(httpAddress("http://kv:1/?wire=classic&lossy=1", undefined)).toMatchObject({ wire: "classic", lossy: true })
    expect(httpAddress("http://kv:1?wire=strict", undefined)).toMatchObject({ wire: "strict" })
  })

  it("X1: a token is sent as Bearer; the one in the URL goes first, and as Basic on the classic wire", () => {
    const basic = `Basic ${Buffer.from("ann@x:t/k").toString("base64")}`
    expect(httpAddress("http://kv", "tk").authorization).toBe("Bearer tk")
    expect(httpAddress("http://ann:t%2Fk@kv", "other").authorization).toBe("Bearer t/k")
    expect(httpAddress("http://ann%40x:t%2Fk@kv?wire=classic", "other").authorization).toBe(basic)
    expect(httpAddress("http://kv?wire=classic", "tk").authorization).toBe("Bearer tk")
  })

  it("is refused when it can't be meant, without its token in the message", () => {
    const refused = [
      "",
      "localhost:5100",
      "redis://ann:s3cret@kv",
      "http://",
      "http://ann:s3cret@kv:99999",
      "http://ann:s3cret@kv#part",
      "http://s3cret@kv",
      "http://ann:s3cret%0d%0aHost:x@kv",
      "http://ann:s3cret%ff@kv",
      "http://ann:s3cret@kv?wire=old",
      "http://ann:s3cret@kv?lossy=1",
      "http://ann:s3cret@kv?wire=classic&lossy=true",
      "http://ann:s3cret@kv?timeout=5",
    ]
    for (const url of refused) {
      let error: unknown
      try {
        httpAddress(url, undefined)
      } catch (thrown) {
        error = thrown
      }
      expect(error, url).toBeInstanceOf(TypeError)
      expect(String(error)).not.toMatch(/s3cret/)
    }
    for (const token of ["", "two words", "né", "a\r\nHost: x"]) {
      expect(() => httpAddress("http://kv", token), token).toThrow("A token is printable ASCII")
    }
  })
})
