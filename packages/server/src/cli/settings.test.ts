import { describe, expect, it } from "vitest"
import { UsageError } from "./fail.ts"
import { isLoopback, type ServeFlags, serveSettings } from "./settings.ts"

describe("serveSettings", () => {
  it("P2: has the documented defaults", () => {
    expect(serveSettings({}, {})).toEqual({
      store: "sqlite:./var/coatcheck.db",
      storeFrom: null,
      port: 5100,
      host: null,
      tokenFile: null,
      allowHosts: [],
      logLevel: "info",
      logFormat: "auto",
    })
  })

  const env = {
    STORE_URL: "memory:",
    PORT: "6000",
    HOST: "::1",
    TOKEN_FILE: "a.txt",
    ALLOW_HOSTS: "kv.example, B.example:8080",
    LOG_LEVEL: "debug",
    LOG_FORMAT: "json",
  }

  it("P2: takes each setting from the environment", () => {
    expect(serveSettings({}, env)).toEqual({
      store: "memory:",
      storeFrom: "STORE_URL",
      port: 6000,
      host: "::1",
      tokenFile: "a.txt",
      allowHosts: ["kv.example", "b.example:8080"],
      logLevel: "debug",
      logFormat: "json",
    })
  })

  it("P2: lets a flag go before its variable", () => {
    const flags = {
      store: "sqlite:./x.db",
      port: "0",
      host: "[::]",
      tokenFile: "b.txt",
      allowHost: ["c.example", "[::1]:80,d"],
      logLevel: "silent",
      logFormat: "plain",
    }
    expect(serveSettings(flags, env)).toEqual({
      store: "sqlite:./x.db",
      storeFrom: "--store",
      port: 0,
      host: "::",
      tokenFile: "b.txt",
      allowHosts: ["c.example", "[::1]:80", "d"],
      logLevel: "silent",
      logFormat: "plain",
    })
  })

  it("counts an empty variable as not set", () => {
    const empty = Object.fromEntries(Object.keys(env).map((name) => [name, ""]))
    expect(serveSettings({}, empty)).toEqual(serveSettings({}, {}))
  })

  const mistakes: [ServeFlags, Record<string, string>, RegExp][] = [
    [{ port: "70000" }, {}, /^--port must be a port/],
    [{ port: "80a" }, {}, /^--port/],
    [{ port: "-1" }, {}, /^--port/],
    [{ port: "" }, {}, /^--port/],
    [{}, { PORT: "1e3" }, /^PORT must be a port/],
    [{ host: "http://x" }, {}, /^--host must be an address/],
    [{ host: "localhost:80" }, {}, /^--host.*without a port/],
    [{}, { HOST: "-x" }, /^HOST/],
    [{ store: "" }, {}, /^--store must be a store's URL/],
    [{ tokenFile: "" }, {}, /^--token-file must name a file/],
    [{ allowHost: ["https://kv.example"] }, {}, /^--allow-host must be host names/],
    [{ allowHost: ["kv.example/path"] }, {}, /^--allow-host/],
    [{ allowHost: ["kv.example:99999"] }, {}, /^--allow-host/],
    [{}, { ALLOW_HOSTS: "a b" }, /^ALLOW_HOSTS/],
    [{ logLevel: "loud" }, {}, /^--log-level must be one of fatal/],
    [{}, { LOG_FORMAT: "xml" }, /^LOG_FORMAT must be one of auto/],
  ]
  it.each(mistakes)("P4: names the setting that is wrong: %j %j", (flags, variables, message) => {
    expect(() => serveSettings(flags, variables)).toThrow(UsageError)
    expect(() => serveSettings(flags, variables)).toThrow(message)
  })
})

describe("isLoopback", () => {
  it.each([null, "localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"])("P5: %s is", (host) => {
    expect(isLoopback(host)).toBe(true)
  })
  it.each(["0.0.0.0", "::", "192.168.1.1", "127.0.0.1.evil.example", "localhost.evil.example", "1270.0.1"])(
    "P5: %s is not",
    (host) => {
      expect(isLoopback(host)).toBe(false)
    },
  )
})
