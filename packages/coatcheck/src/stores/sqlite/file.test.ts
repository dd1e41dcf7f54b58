import { execFile } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { StoreReport } from "../../core/store.ts"
import { fakeClock } from "../../testing/fake-clock.ts"
import { loadSqlite, type OpenDatabase } from "./driver.ts"
import { sqliteStore } from "../sqlite.ts"
import { openFile } from "./file.ts"

let folder = ""
let open: OpenDatabase
beforeAll(async () => {
  folder = fs.mkdtempSync(join(tmpdir(), "coatcheck-sqlite-file-"))
  open = await loadSqlite()
})
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

const mode = (path: string): string => (fs.statSync(path).mode & 0o777).toString(8)
const silent = { report: () => {} }

/** A file of ours with some entries in it, closed in good order. */
async function goodFile(name: string): Promise<string> {
  const path = join(folder, name)
  const store = await sqliteStore(path)
  await Promise.all(Array.from({ length: 200 }, (_, at) => store.set(`k${at}`, `"${"x".repeat(200)}"`, { owner: "o" })))
  await store.close()
  return path
}

/** Expects that the file is refused with this code, in one line that names it, and is afterwards what it was. */
async function refuses(path: string, code: string, why: RegExp): Promise<void> {
  const before = fs.readFileSync(path)
  const error: unknown = await sqliteStore(path, silent).then(
    (store) => store.close(),
    (caught: unknown) => caught,
  )
  expect(error).toMatchObject({ name: "CoatcheckError", code })
  expect((error as Error).message).toMatch(why)
  expect((error as Error).message).toContain(path)
  expect((error as Error).message).not.toContain("\n")
  expect(fs.readFileSync(path).equals(before)).toBe(true)
}

describe("a new file", () => {
  it("is made with its folder, for its owner alone, and says whose it is", async () => {
    const path = join(folder, "new", "deeper", "sessions.db")
    const store = await sqliteStore(path)
    await store.set("k", "1")
    expect(["new", "new/deeper"].map((name) => mode(join(folder, name)))).toEqual(["700", "700"])
    expect([path, `${path}-wal`, `${path}-shm`].map(mode)).toEqual(["600", "600", "600"])
    await store.close()
    const header = fs.readFileSync(path)
    expect(header.toString("latin1", 68, 72)).toBe("COAT")
    expect(header.readUInt32BE(60)).toBe(1)
    expect(fs.existsSync(`${path}-wal`) ? fs.statSync(`${path}-wal`).size : 0).toBe(0)
  })

  it("may be there already, as long as it is empty", async () => {
    const path = join(folder, "empty.db")
    fs.writeFileSync(path, "", { mode: 0o644 })
    const store = await sqliteStore(path)
    await store.set("k", "1")
    await store.close()
    expect(mode(path)).toBe("600")
  })

  it("is made once when eight open it at once", async () => {
    const path = join(folder, "race.db")
    const stores = await Promise.all(Array.from({ length: 8 }, () => sqliteStore(path)))
    await Promise.all(stores.map((store, at) => store.set(`k${at}`, "1")))
    for (const store of stores) expect((await store.list()).entries).toHaveLength(8)
    await Promise.all(stores.map((store) => store.close()))
  })

  it("that others may read is reported, and left as the operator made it", async () => {
    const path = await goodFile("open.db")
    fs.chmodSync(path, 0o644)
    const reports: StoreReport[] = []
    const store = await sqliteStore(path, { report: (report) => reports.push(report) })
    await store.close()
    expect(reports).toMatchObject([{ store: "sqlite", kind: "warning", message: expect.stringContaining("chmod 600") }])
    expect(mode(path)).toBe("644")
  })
})

describe("a file that is not ours is refused and stays as it is", () => {
  it("F-POW-2: rubbish", async () => {
    const path = await goodFile("rubbish.db")
    const bytes = fs.readFileSync(path)
    for (const rubbish of [Buffer.alloc(bytes.length, 0x5a), Buffer.alloc(bytes.length), Buffer.from("hello\n")]) {
      fs.writeFileSync(path, rubbish)
      await refuses(path, "corrupt", /damaged or no database/)
    }
    fs.writeFileSync(path, Buffer.concat([bytes.subarray(0, 100), Buffer.alloc(bytes.length - 100, 0x5a)]))
    await refuses(path, "corrupt", /damaged or no database/)
  })

  it("F-POW-2: one that was cut short, wherever", async () => {
    const path = await goodFile("cut.db")
    const bytes = fs.readFileSync(path)
    expect(bytes.length).toBeGreaterThan(40_000)
    for (const length of [
      1,
      15,
      16,
      99,
      100,
      511,
      512,
      4_095,
      4_096,
      4_097,
      20_000,
      20_480,
      bytes.length - 4_096,
      bytes.length - 1,
    ]) {
      fs.writeFileSync(path, bytes.subarray(0, length))
      await refuses(path, "corrupt", /damaged|cut short/)
    }
    fs.writeFileSync(path, bytes)
    const store = await sqliteStore(path)
    expect(await store.get("k0")).not.toBeNull()
    await store.close()
  })

  for (const journal of ["delete", "wal"]) {
    it(`another application's database (journal ${journal})`, async () => {
      const path = join(folder, `foreign-${journal}.db`)
      const db = open(path, { readOnly: false })
      db.exec(
        `PRAGMA journal_mode = ${journal}; CREATE TABLE entries (key, record, ends, owner); INSERT INTO entries VALUES (1, 2, 3, 4)`,
      )
      db.close()
      await refuses(path, "corrupt", /another application's/)
    })
  }

  it("one of a newer format, and one without our table", async () => {
    const path = await goodFile("newer.db")
    const db = open(path, { readOnly: false })
    db.exec("PRAGMA user_version = 2; PRAGMA wal_checkpoint(TRUNCATE)")
    await refuses(path, "corrupt", /newer version/)
    db.exec("PRAGMA user_version = 1; DROP TABLE entries")
    await refuses(path, "corrupt", /damaged or no database/)
    db.close()
  })

  it("a folder", async () => {
    const error: unknown = await sqliteStore(folder).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: "unavailable", message: expect.stringContaining("it is no file") })
  })

  it("in a folder that can't be made", async () => {
    const error: unknown = await sqliteStore("/proc/nowhere/deeper/s.db").catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: "unavailable", message: expect.stringContaining("readable and writable") })
  })
})

describe("a file that a crash left behind", () => {
  it("is rolled back when somebody died in the middle of a transaction, and then looked at", async () => {
    for (const [name, statement] of [
      ["ours", "UPDATE entries SET record = record || 'x'"],
      ["theirs", "UPDATE other SET record = record || 'x'"],
    ] as const) {
      const path = await goodFile(`died-${name}.db`)
      const dead = join(folder, `dead-${name}.db`)
      fs.copyFileSync(path, dead)
      const db = open(dead, { readOnly: false })
      db.exec("PRAGMA journal_mode = delete")
      if (name === "theirs") db.exec("PRAGMA application_id = 7; ALTER TABLE entries RENAME TO other")
      db.exec("PRAGMA cache_size = 1")
      db.exec(`BEGIN; ${statement}`) // spills pages into the file before it ends
      const copy = join(folder, `copy-${name}.db`)
      for (const suffix of ["", "-journal"]) fs.copyFileSync(dead + suffix, copy + suffix)
      db.exec("ROLLBACK")
      db.close()
      expect(fs.readFileSync(copy).equals(fs.readFileSync(dead))).toBe(false)
      if (name === "theirs") {
        await expect(sqliteStore(copy)).rejects.toMatchObject({ code: "corrupt" })
      } else {
        const store = await sqliteStore(copy, silent)
        expect(await store.get("k7")).toMatchObject({ owner: "o" })
        expect((await store.list({ limit: 1_000 })).entries).toHaveLength(200)
        await store.close()
      }
    }
  })
})

describe("what may happen between looking and opening", () => {
  /** The driver, with something done before a statement. */
  const before =
    (pattern: RegExp, work: (sql: string) => void): OpenDatabase =>
    (path, options) => {
      const db = open(path, options)
      const seen = (sql: string): string => {
        if (pattern.test(sql)) work(sql)
        return sql
      }
      return { exec: (sql) => db.exec(seen(sql)), prepare: (sql) => db.prepare(seen(sql)), close: () => db.close() }
    }

  it("another process makes the empty file its own, or something else of it", async () => {
    const good = fs.readFileSync(await goodFile("good.db"))
    const foreign = join(folder, "foreign.db")
    const db = open(foreign, { readOnly: false })
    db.exec("CREATE TABLE theirs (a)")
    db.close()
    const path = join(folder, "taken.db")
    const taken = before(/BEGIN EXCLUSIVE/, () => fs.writeFileSync(path, fs.readFileSync(foreign)))
    await expect(openFile(taken, path, fakeClock())).rejects.toMatchObject({ code: "corrupt" })
    expect(fs.readFileSync(path).equals(fs.readFileSync(foreign))).toBe(true)
    const other = join(folder, "made.db")
    const made = before(/BEGIN EXCLUSIVE/, () => fs.writeFileSync(other, good))
    const connection = await openFile(made, other, fakeClock())
    expect(connection.prepare("SELECT count(*) AS n FROM entries").get()).toEqual({ n: 200 })
    connection.close()
  })

  it("the file system knows no shared memory, or its disk fails", async () => {
    const path = await goodFile("nfs.db")
    const without: OpenDatabase = (name, options) => {
      const db = open(name, options)
      const answer = (sql: string): string => (sql.includes("= WAL") ? "SELECT 'delete' AS journal_mode" : sql)
      return { exec: (sql) => db.exec(sql), prepare: (sql) => db.prepare(answer(sql)), close: () => db.close() }
    }
    await expect(openFile(without, path, fakeClock())).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("local disk"),
    })
    const failing = before(/BEGIN IMMEDIATE/, () => {
      throw Object.assign(new Error("disk I/O error"), { errcode: 10 })
    })
    await expect(openFile(failing, path, fakeClock())).rejects.toMatchObject({
      code: "unavailable",
      cause: { errcode: 10 },
    })
  })
})

describe("a file that can't be written", () => {
  // Root may write everything, so the store is opened by a process that is nobody.
  const asNobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
  async function openElsewhere(path: string): Promise<string> {
    const program = `
      import { sqliteStore } from ${JSON.stringify(new URL("../sqlite.ts", import.meta.url).href)}
      const error = await sqliteStore(process.argv[1]).then(() => ({ code: "opened" }), (caught) => caught)
      console.log(JSON.stringify({ code: error.code, message: error.message }))`
    const node = ["--conditions=@coatcheck/source", "--import", "tsx", "--input-type=module", "-e", program, path]
    const env = { ...process.env, TMPDIR: folder, HOME: folder }
    return (await promisify(execFile)(process.execPath, node, { ...asNobody, env })).stdout
  }

  it("is refused in one line: read-only file, read-only folder, and it stays as it is", async () => {
    const path = await goodFile("locked/sessions.db")
    const before = fs.readFileSync(path)
    fs.chmodSync(folder, 0o777)
    fs.chmodSync(join(folder, "locked"), 0o777)
    fs.chmodSync(path, 0o444)
    const expected = { code: "unavailable", message: expect.stringMatching(/readable and writable/) }
    expect(JSON.parse(await openElsewhere(path))).toEqual(expected)
    fs.chmodSync(path, 0o666)
    fs.chmodSync(join(folder, "locked"), 0o555)
    expect(JSON.parse(await openElsewhere(path))).toEqual(expected)
    expect(JSON.parse(await openElsewhere(join(folder, "locked", "none.db")))).toEqual(expected)
    expect(fs.readFileSync(path).equals(before)).toBe(true)
    fs.chmodSync(join(folder, "locked"), 0o777)
    for (const left of [`${path}-wal`, `${path}-shm`]) fs.rmSync(left, { force: true }) // those of this process, empty
    expect(JSON.parse(await openElsewhere(path))).toEqual({ code: "opened" })
  }, 30_000)
})

describe("a file that is busy", () => {
  it("is waited for, and given up after five seconds", async () => {
    const path = join(folder, "busy.db")
    fs.writeFileSync(path, "")
    const other = open(path, { readOnly: false })
    other.exec("BEGIN EXCLUSIVE")
    const clock = fakeClock()
    const opening = sqliteStore(path, { clock }).catch((caught: unknown) => caught)
    let settled = false
    void opening.finally(() => (settled = true))
    for (let waited = 0; !settled; waited += 10) {
      expect(waited).toBeLessThan(20_000)
      clock.advance(10)
      await new Promise(setImmediate)
    }
    expect(await opening).toMatchObject({ code: "unavailable", retryable: true })
    const again = sqliteStore(path, { clock })
    other.exec("ROLLBACK")
    const step = setInterval(() => clock.advance(50))
    const store = await again
    clearInterval(step)
    await store.set("k", "1")
    await store.close()
    other.close()
  })
})

describe("settings that make no sense", () => {
  const refused: [string, object][] = [
    ["", {}],
    [":memory:", {}],
    ["x.db", { maxValueBytes: 0 }],
    ["x.db", { deadline: "soon" }],
  ]
  for (const [path, options] of refused) {
    it(`are TypeErrors: ${JSON.stringify(path)} ${JSON.stringify(options)}`, async () => {
      await expect(sqliteStore(path, options)).rejects.toBeInstanceOf(TypeError)
    })
  }
})
