// Sessions in a folder, as whoever steals, damages or forges the files meets them, and what the doctor says of it.

import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { crc32 } from "node:zlib"
import { createSessions, type Store, type StoreReport } from "coatcheck"
import { openStore } from "coatcheck/open"
import { fakeClock } from "coatcheck/testing"
import { afterAll, describe, expect, it } from "vitest"
import { command, type Ending, runSource } from "./support/processes.ts"
import { browser } from "./support/sessions.ts"

const root = mkdtempSync(join(tmpdir(), "coatcheck-file-store-"))
let made = 0
const newPath = (): string => join(root, String(++made))
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** Every file below a folder that is one. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
}

/** The file of a record, found by its key inside. */
function recordOf(folder: string, key: string): string {
  const found = filesIn(join(folder, "records")).find((path) =>
    readFileSync(path, "utf8").includes(JSON.stringify(key)),
  )
  if (found === undefined) throw new Error("this record should be there")
  return found
}

/** The record's bytes with another value in it, and a checksum that fits. */
function forge(bytes: Buffer, value: string): Buffer {
  const [, header = ""] = bytes.toString().split("\n")
  const rest = `${header}\n${value}\n`
  return Buffer.from(`coatcheck 1 ${crc32(rest).toString(16).padStart(8, "0")}\n${rest}`)
}

async function open(path: string, reports: StoreReport[] = []): Promise<Store> {
  return openStore(`file:${path}`, { clock: fakeClock(), report: (report) => reports.push(report) })
}

describe("sessions in a folder", () => {
  it("CRY-01, M6: no id of 300 sessions is in any byte of any file, nor in any name; the hashed ones are found", async () => {
    const path = newPath()
    const store = await open(path)
    const sessions = createSessions<{ count: number }>({ store, clock: fakeClock() })
    const ids: string[] = []
    const handles: string[] = []
    for (let n = 0; n < 300; n++) {
      const session = await sessions.open({ cookie: null, secure: false, sent: false, attach() {} })
      session.data.count = n
      const { setCookie } = await session.commit()
      ids.push(/^session=([^;]+)/.exec(setCookie ?? "")?.[1] ?? "")
      handles.push(session.handle ?? "")
      if (n % 3 === 0) await session.update((data) => void (data.count = -n))
    }
    expect(new Set(ids).size).toBe(300)
    for (const moment of ["open", "closed"]) {
      if (moment === "closed") await store.close()
      const names = readdirSync(path, { recursive: true, encoding: "utf8" }).join("\n")
      const all = Buffer.concat([Buffer.from(names), ...filesIn(path).map((file) => readFileSync(file))])
      expect(handles.filter((handle) => all.includes(handle))).toHaveLength(300)
      for (const id of ids) {
        const bytes = Buffer.from(id, "base64url")
        const forms = [id, bytes, bytes.toString("hex"), bytes.toString("base64")]
        expect(forms.some((form) => all.includes(form))).toBe(false)
      }
    }
  }, 60_000)

  it("PRS-05: hostile records, put in by hand with a checksum that fits, fail nothing and pollute nothing", async () => {
    const path = newPath()
    const clock = fakeClock()
    const reports: StoreReport[] = []
    const store = await open(path, reports)
    const sessions = createSessions<{ n: number }>({ store, clock })
    const hostile = [
      '{"__proto__":{"polluted":true}}',
      '{"v":1,"created":0,"ends":99999999999999,"owner":null,"marks":{},"data":{"__proto__":{"polluted":true},"n":1}}',
      '{"v":1,"constructor":{"prototype":{"polluted":true}}}',
      "[".repeat(50_000),
      "null",
      "7",
      "no JSON at all",
      `"${"\\u0000".repeat(100)}"`,
    ]
    for (const value of hostile) {
      const guest = browser(sessions)
      await guest.visit((session) => void (session.data.n = 1))
      const [entry] = (await store.list()).entries
      const file = recordOf(path, entry?.key ?? "")
      writeFileSync(file, forge(readFileSync(file), value))
      expect(await store.get(entry?.key ?? "")).toMatchObject({ value })
      await guest.visit((session) => void (session.data.n = (session.data.n ?? 0) + 1))
      expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
      await store.delete(entry?.key ?? "")
      for (const { key } of (await store.list()).entries) await store.delete(key)
    }
    await store.close()
  })

  it("F-POW-2: a session whose file is damaged counts as none, others go on, and the person starts anew", async () => {
    const path = newPath()
    const reports: StoreReport[] = []
    const store = await open(path, reports)
    const sessions = createSessions<{ n: number }>({ store, clock: fakeClock() })
    const guests = Array.from({ length: 5 }, () => browser(sessions))
    for (const [at, guest] of guests.entries()) {
      await guest.visit((session) => void (session.data.n = at))
    }
    const files = await Promise.all(
      guests.map((guest) => guest.visit((session) => recordOf(path, `session:${session.handle}`))),
    )
    truncateSync(files[0] ?? "", 0)
    truncateSync(files[1] ?? "", 40)
    const bytes = readFileSync(files[2] ?? "")
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 5) ^ 2, bytes.length - 5)
    writeFileSync(files[2] ?? "", bytes)
    const seen: unknown[] = []
    for (const guest of guests) {
      seen.push(
        await guest.visit((session) => {
          const { n } = session.data
          session.data.n = 10
          return n
        }),
      )
    }
    expect(seen).toEqual([undefined, undefined, undefined, 3, 4])
    for (const guest of guests) expect(await guest.visit((session) => session.data.n)).toBe(10)
    expect(reports.map(({ kind }) => kind)).toEqual(["damaged", "damaged", "damaged"])
    await store.close()
  })
})

function doctor(...args: string[]): Promise<Ending> {
  return runSource(command, ["doctor", ...args])
}

describe("coatcheck doctor on a folder", () => {
  it("P6: opens it as an application would, and leaves nothing behind", async () => {
    const path = newPath()
    const store = await open(path)
    await store.set("k", "1")
    await store.close()
    const before = readdirSync(path, { recursive: true, encoding: "utf8" }).sort()
    const ending = await doctor("--write", `file:${path}`)
    expect(ending).toMatchObject({ code: 0, stderr: "" })
    expect(ending.stdout).toMatch(/^ok {4}open .*\(file\) opens$/m)
    expect(ending.stdout).toMatch(/^ok {4}keeps {3}durable; several processes/m)
    expect(ending.stdout).toMatch(/^ok {4}intact {2}1 records read, none is damaged$/m)
    const left = readdirSync(path, { recursive: true, encoding: "utf8" }).filter((name) => !/^records\/..$/.test(name))
    expect(left.sort()).toEqual(before.filter((name) => !/^records\/..$/.test(name)))
  }, 30_000)

  it("P6: makes no folder, and makes none its own that is not", async () => {
    const [missing, other] = [newPath(), root]
    const endings = await Promise.all([doctor(`file:${missing}`), doctor(`file:${other}`)])
    expect(endings.map(({ code }) => code)).toEqual([1, 1])
    expect(endings[0]?.stdout).toMatch(/^fail {2}open .* is not there; coatcheck serve would make it$/m)
    expect(endings[1]?.stdout).toMatch(/^fail {2}open .* holds no store of files/m)
    expect(existsSync(missing)).toBe(false)
    expect(existsSync(join(root, "coatcheck"))).toBe(false)
  }, 30_000)

  it("F-POW-2: names the files of damaged records, and says what to do; exit 1", async () => {
    const path = newPath()
    const store = await open(path)
    for (let n = 0; n < 20; n++) await store.set(`key-${n}`, `"value of ${n}"`)
    await store.close()
    const damaged = ["key-3", "key-17"].map((key) => recordOf(path, key))
    for (const file of damaged) truncateSync(file, 30)
    const ending = await doctor(`file:${path}`)
    expect(ending.code).toBe(1)
    expect(ending.stdout).toMatch(/^fail {2}intact {2}2 damaged records, beside 18 that are whole: /m)
    for (const file of damaged) expect(ending.stdout).toContain(file.slice(path.length + 1))
    expect(ending.stdout.match(/^warn {2}damaged /gm)).toHaveLength(2)
    expect(ending.stdout + ending.stderr).not.toContain("key-")
    expect(damaged.map((file) => statSync(file).size)).toEqual([30, 30])
  }, 30_000)

  it("F-POW-2: says how many damaged records it does not name, and what else is wrong", async () => {
    const path = newPath()
    const store = await open(path)
    for (let n = 0; n < 23; n++) await store.set(`key-${n}`, "1")
    await store.close()
    for (const file of filesIn(join(path, "records"))) truncateSync(file, 30)
    chmodSync(path, 0o755)
    const ending = await doctor(`file:${path}`)
    expect(ending.code).toBe(1)
    expect(ending.stdout).toMatch(/^fail {2}intact {2}23 damaged records, beside 0 /m)
    expect(ending.stdout.match(/^warn {2}damaged {2}The file /gm)).toHaveLength(20)
    expect(ending.stdout).toMatch(/^warn {2}damaged {2}3 more/m)
    expect(ending.stdout).toMatch(/^warn {2}warning .*chmod 700/m)
  }, 30_000)
})
