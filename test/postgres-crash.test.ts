// What a Postgres that keeps its promises keeps: everything that was acknowledged, whoever is killed, and no id, in whichever of its
// files. The server syncs here as it does by default.

import { readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { createSessions, type Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import { afterEach, beforeAll, describe, expect, it } from "vitest"
import { type PostgresServer, startPostgres, until } from "./support/postgres.ts"

let server: PostgresServer
const closers: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  server = await startPostgres({ durable: true })
})
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function open(table: string): Promise<Store> {
  const store = await openStore(`${server.url}?table=${table}`, { report: () => {} })
  closers.push(() => store.close())
  return store
}

interface Writing {
  readonly acknowledged: Set<string>
  readonly unknown: Set<string>
  /** Lets the clients finish, and resolves when they have. */
  stop(): Promise<void>
}

/** Sixteen clients that insert, one key after the other. */
function writing(store: Store, prefix: string): Writing {
  const acknowledged = new Set<string>()
  const unknown = new Set<string>()
  let next = 0
  let over = false
  async function client(): Promise<void> {
    while (!over) {
      const key = `${prefix}-${next++}`
      try {
        await store.set(key, `"${key}"`, { if: "absent" })
        acknowledged.add(key)
      } catch (error) {
        const { code } = error as { code?: string }
        if (code === "unknown-outcome") unknown.add(key)
        else expect(code).toBe("unavailable")
        await new Promise(setImmediate) // refusals come at once
      }
    }
  }
  const clients = Array.from({ length: 16 }, client)
  return {
    acknowledged,
    unknown,
    async stop() {
      over = true
      await Promise.all(clients)
    },
  }
}

async function keysOf(table: string): Promise<Set<string>> {
  const rows = await server.sql(`SELECT key FROM ${table} WHERE value::text = '"' || key || '"'`)
  return new Set(rows.map(({ key }) => String(key)))
}

function expectKept(there: ReadonlySet<string>, { acknowledged, unknown }: Writing): void {
  const lost = [...acknowledged].filter((key) => !there.has(key))
  const strange = [...there].filter((key) => !acknowledged.has(key) && !unknown.has(key))
  expect({ lost, strange }).toEqual({ lost: [], strange: [] })
}

describe("F-KILL-3", () => {
  it("REL-02: the postmaster is killed amid writes, twice: none that was acknowledged is lost, none that was refused is there", async () => {
    for (const round of [1, 2]) {
      const table = `killed_${round}`
      const clients = writing(await open(table), table)
      await until("it is busy", () => clients.acknowledged.size > 200 * round)
      await server.kill()
      await clients.stop()
      await server.start()
      expectKept(await keysOf(table), clients)
    }
  })

  it("REL-04: a backend is killed amid writes, which restarts all of them: the same, and the store goes on", async () => {
    const store = await open("backend")
    const clients = writing(store, "backend")
    await until("it is busy", () => clients.acknowledged.size > 100)
    const [row] = await server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'coatcheck' LIMIT 1")
    process.kill(Number(row?.["pid"]), "SIGKILL")
    await until("somebody has noticed", () => clients.unknown.size > 0)
    const before = clients.acknowledged.size
    await until("it is busy again", () => clients.acknowledged.size > before + 100)
    await clients.stop()
    server.reconnect()
    expectKept(await keysOf("backend"), clients)
  })
})

/** Which of the needles are in the bytes, looked for all at once. */
function found(bytes: Buffer, needles: readonly Buffer[]): number {
  const begins = new Uint8Array(65_536)
  const byBegin = new Map<number, Buffer[]>()
  for (const needle of needles) {
    begins[needle.readUInt16BE(0)] = 1
    const begin = needle.readUInt32BE(0)
    byBegin.set(begin, [...(byBegin.get(begin) ?? []), needle])
  }
  const hits = new Set<Buffer>()
  for (let at = 0; at < bytes.length - 4; at++) {
    if (begins[((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)] === 0) continue
    for (const needle of byBegin.get(bytes.readUInt32BE(at)) ?? []) {
      if (bytes.compare(needle, 0, needle.length, at, Math.min(at + needle.length, bytes.length)) === 0)
        hits.add(needle)
    }
  }
  return hits.size
}

it("CRY-01, REG-35: no id of 1,000 sessions is in any byte of the server's files, the log included, neither as text nor decoded", async () => {
  const store = await open("at_rest")
  const sessions = createSessions<{ count: number }>({ store })
  const ids: string[] = []
  const handles: string[] = []
  async function visit(n: number): Promise<void> {
    const session = await sessions.open({ cookie: null, secure: false, sent: false, attach() {} })
    session.data.count = n
    const { setCookie } = await session.commit()
    ids.push(/^session=([^;]+)/.exec(setCookie ?? "")?.[1] ?? "")
    handles.push(session.handle ?? "")
    if (n % 3 === 0) await session.update((data) => void (data.count = -n))
  }
  for (let n = 0; n < 1_000; n += 50) await Promise.all(Array.from({ length: 50 }, (_, at) => visit(n + at)))
  await server.sql("CHECKPOINT") // what was only in memory is in the files now, besides the log
  const names = await readdir(server.folder, { recursive: true, withFileTypes: true })
  const paths = names.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name))
  const bytes = Buffer.concat(await Promise.all(paths.map((path) => readFile(path))))
  expect(paths.some((path) => path.includes("pg_wal"))).toBe(true)
  expect(new Set(ids).size).toBe(1_000)
  // The search finds what is there: every handle is.
  expect(
    found(
      bytes,
      handles.map((handle) => Buffer.from(handle)),
    ),
  ).toBe(1_000)
  const raw = ids.map((id) => Buffer.from(id, "base64url"))
  const forms = [...ids, ...raw.map((id) => id.toString("hex")), ...raw.map((id) => id.toString("base64"))]
  expect(found(bytes, [...raw, ...forms.map((text) => Buffer.from(text))])).toBe(0)
})
