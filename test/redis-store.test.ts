// Sessions in a real Redis: what the server's files hold, what happens when somebody writes under the store's names, and how long Redis
// keeps what.

import { readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { createSessions, type Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import { redisStore } from "coatcheck/redis"
import { afterAll, expect, it } from "vitest"
import { startRedis, until } from "./support/redis.ts"

const SESSIONS = 1_000
const server = await startRedis({ config: { appendonly: "yes", appendfsync: "always", dbfilename: "dump.rdb" } })
const stores: Store[] = []
afterAll(() => Promise.all(stores.map((store) => store.close())))

async function open(options: Parameters<typeof redisStore>[1] = {}): Promise<Store> {
  const store = await redisStore(server.url, options)
  stores.push(store)
  return store
}

/** A visit without a server: what an adapter does. */
const visit = (cookie: string | null = null) => ({ cookie, secure: false, sent: false, attach() {} })

it("CRY-01, REG-35: no id of 1,000 sessions is in any byte of RDB and AOF, neither as text nor decoded", async () => {
  const sessions = createSessions<{ count: number }>({ store: await openStore(`${server.url}?prefix=rest`) })
  const ids: string[] = []
  const handles: string[] = []
  await Promise.all(
    Array.from({ length: SESSIONS }, async (_, n) => {
      const session = await sessions.open(visit())
      session.data.count = n
      const { setCookie } = await session.commit()
      ids.push(/^session=([^;]+)/.exec(setCookie ?? "")?.[1] ?? "")
      handles.push(session.handle ?? "")
      if (n % 3 === 0) await session.update((data) => void (data.count = -n))
    }),
  )
  await server.command("SAVE")
  const files = await Promise.all(
    (await readdir(server.folder, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile() && !entry.name.endsWith(".conf"))
      .map(async (entry) => ({ name: entry.name, bytes: await readFile(join(entry.parentPath, entry.name)) })),
  )
  const search = (needles: readonly (string | Buffer)[], name: RegExp): number => {
    const looked = files.filter((file) => name.test(file.name))
    expect(looked.length).toBeGreaterThan(0)
    return needles.filter((needle) => looked.some(({ bytes }) => bytes.includes(needle))).length
  }
  expect(new Set(ids).size).toBe(SESSIONS)
  // The search finds what is there: every handle is, in the snapshot and in the log.
  expect(search(handles, /^dump\.rdb$/)).toBe(SESSIONS)
  expect(search(handles, /\.aof$/)).toBe(SESSIONS)
  expect(search(ids, /./)).toBe(0)
  for (const form of ["hex", "base64"] as const) {
    expect(
      search(
        ids.map((id) => Buffer.from(id, "base64url").toString(form)),
        /./,
      ),
    ).toBe(0)
  }
  expect(
    search(
      ids.map((id) => Buffer.from(id, "base64url")),
      /./,
    ),
  ).toBe(0)
})

it("PRS-05: what somebody else wrote under a session's name is nobody's session, and fails no request", async () => {
  const damaged: string[] = []
  const store = await open({ prefix: "hostile", report: ({ kind }) => void damaged.push(kind) })
  const sessions = createSessions<{ count?: number; polluted?: boolean }>({ store })
  const end = Date.now() + 60_000
  const record = `{"v":1,"created":1,"ends":${end},"owner":null,"marks":{},"data":{"count":9`
  const hostile = [
    "",
    "\u0080\u0003}q.",
    "{}",
    '{"__proto__":{"polluted":true}}',
    `1 v1 ${end}\n`,
    `1 v1 ${end}\n{"__proto__":{"polluted":true}}`,
    `1 v1 ${end}\nnull`,
    `1 v1 ${end}\n${record}`,
    `1 v1 ${end}\n${record},"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}}`,
    `1 __proto__ ${end} __proto__\n[${'{"a":['.repeat(20_000)}`,
    `1 v1 ${"9".repeat(400)}\n${record}}}`,
  ]
  for (const [at, text] of hostile.entries()) {
    const first = await sessions.open(visit())
    first.data.count = 1
    const { setCookie } = await first.commit()
    const cookie = (setCookie ?? "").split(";")[0] as string // there is always a part before the first semicolon
    await server.command("SET", `hostile:entry:session:${first.handle}`, text)
    const session = await sessions.open(visit(cookie))
    expect(session.data.polluted).toBe(undefined)
    expect([undefined, 9]).toContain(session.data.count)
    session.data.count = at
    await session.commit()
    expect(({} as { polluted?: boolean }).polluted).toBe(undefined)
  }
  // A list where a record should be, and a record where a list should be.
  const last = await sessions.open(visit())
  last.data.count = 1
  await last.commit()
  await server.command("DEL", `hostile:entry:session:${last.handle}`)
  await server.command("RPUSH", `hostile:entry:session:${last.handle}`, "1 v1 -\n1")
  expect((await store.list()).entries.length).toBeGreaterThan(0)
  expect(damaged.filter((kind) => kind === "damaged").length).toBeGreaterThan(5)
})

it("M7, X3: Redis keeps a session for the seconds of its idle time, and forgets what has ended by itself", async () => {
  const store = await open({ prefix: "ttl" })
  const sessions = createSessions<{ count: number }>({ store, idle: "30m", absolute: "12h" })
  const session = await sessions.open(visit())
  session.data.count = 1
  const before = Date.now()
  await session.commit()
  const after = Date.now()
  // When Redis forgets it, by a clock that is this machine's too: 1,800 seconds after the write, and less than half a second.
  const forgets = Number(await server.command("PEXPIRETIME", `ttl:entry:session:${session.handle}`))
  expect(forgets).toBeGreaterThanOrEqual(before + 1_800_000)
  expect(forgets).toBeLessThan(after + 1_800_500)
  await store.set("short", "1", { expiresAt: Date.now() + 1_000, owner: "alice" })
  await until("its end has come", async () => (await store.get("short")) === null)
  expect((await store.list({ prefix: "short" })).entries).toEqual([])
  expect((await store.list({ owner: "alice" })).entries).toEqual([])
  await until("Redis has forgotten it", async () => (await server.command("EXISTS", "ttl:entry:short")) === "0")
})

it("watch tells what others change, by the store's own names", async () => {
  const mine = await open({ prefix: "watch" })
  const theirs = await open({ prefix: "watch" })
  const other = await open({ prefix: "watch-other" })
  const told: (string | null)[] = []
  const stop = mine.watch?.((key) => told.push(key))
  await until("the channel stands", () => told.includes(null))
  told.length = 0
  await other.set("a", "1")
  await theirs.set("session:x", "1", { owner: "alice" })
  await until("it is told", () => told.includes("session:x"))
  await theirs.touch("session:x", Date.now() + 60_000)
  await theirs.delete("session:x")
  await until("all three are told", () => told.length === 3)
  expect(new Set(told)).toEqual(new Set(["session:x"]))
  stop?.()
  await theirs.set("session:y", "1")
  await theirs.get("session:y")
  expect(told).toHaveLength(3)
})
