import { describe, expect, it } from "vitest"
import { redisAddress } from "./address.ts"

const plain = { name: "", db: 0, username: undefined, password: undefined, secure: false, parameters: {} }

describe("the URL of a redis store", () => {
  it("names one node", () => {
    expect(redisAddress("redis://localhost")).toEqual({
      ...plain,
      kind: "node",
      endpoints: [{ host: "localhost", port: 6379 }],
    })
    expect(redisAddress("rediss://kv.example:6380/2?wait=1&prefix=a%20b")).toEqual({
      ...plain,
      kind: "node",
      endpoints: [{ host: "kv.example", port: 6380 }],
      db: 2,
      secure: true,
      parameters: { wait: "1", prefix: "a b" },
    })
    expect(redisAddress("redis://[::1]:6379/").endpoints).toEqual([{ host: "::1", port: 6379 }])
    expect(redisAddress("REDIS://h?x=1").endpoints).toEqual([{ host: "h", port: 6379 }])
  })

  it("names sentinels, the primary and its database", () => {
    expect(redisAddress("redis+sentinel://a:1,[fe80::1]:2,c/my%2Fprimary/3")).toEqual({
      ...plain,
      kind: "sentinel",
      endpoints: [
        { host: "a", port: 1 },
        { host: "fe80::1", port: 2 },
        { host: "c", port: 26379 },
      ],
      name: "my/primary",
      db: 3,
    })
  })

  it("names nodes of a cluster", () => {
    expect(redisAddress("redis+cluster://a:1,b:2")).toEqual({
      ...plain,
      kind: "cluster",
      endpoints: [
        { host: "a", port: 1 },
        { host: "b", port: 2 },
      ],
    })
    expect(redisAddress("rediss+cluster://a").secure).toBe(true)
  })

  it("may hold user and password, percent-encoded", () => {
    const user = (url: string) => {
      const { username, password } = redisAddress(url)
      return [username, password]
    }
    expect(user("redis://ann:s%3Acret%40@h")).toEqual(["ann", "s:cret@"])
    expect(user("redis://:secret@h")).toEqual([undefined, "secret"])
    expect(user("redis+cluster://ann:a@b@h:1,i:2")).toEqual(["ann", "a@b"])
  })

  it("is refused when it can't be meant, and no message repeats any of it", () => {
    const refused = [
      "",
      "localhost:6379",
      "http://ann:s3cret@kv",
      "redis+other://ann:s3cret@kv",
      "redis://",
      "redis:/ann:s3cret@kv",
      "redis://ann:s3cret@kv:0",
      "redis://ann:s3cret@kv:99999",
      "redis://ann:s3cret@kv,",
      "redis://ann:s3cret@kv:1,kv:2",
      "redis://ann:s3cret@kv/s3cret",
      "redis://ann:s3cret@kv/1/2",
      "redis://ann:s3cret%ff@kv",
      "redis://ann:s3cret@kv#part",
      "redis+sentinel://ann:s3cret@kv",
      "redis+sentinel://ann:s3cret@kv/",
      "redis+sentinel://ann:s3cret@kv/s3cret/x",
      "redis+cluster://ann:s3cret@kv/0",
      "redis+cluster://ann:s3cret@kv,,kw",
    ]
    for (const url of refused) {
      let error: unknown
      try {
        redisAddress(url)
      } catch (thrown) {
        error = thrown
      }
      expect(error, url).toBeInstanceOf(TypeError)
      expect(String(error)).not.toMatch(/s3cret/)
    }
  })
})
