import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join, relative } from "node:path"
import { once } from "node:events"
import { afterAll, afterEach, describe, expect, it } from "vitest"
import type { Store, StoreReport } from "../../core/store.ts"
import { awkwardKeys, badNames } from "../../testing/store-keys.ts"
import { fileStore } from "../file.ts"
import { nameOf } from "./record.ts"

const root = fs.mkdtempSync(join(tmpdir(), "coatcheck-folder-"))
let made = 0
const newPath = (): string => join(root, String(++made))
const stores: Store[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})
afterAll(() => fs.rmSync(root, { recursive: true, force: true }))

async function open(path: string, report: (report: StoreReport) => void = () => {}): Promise<Store> {
  const store = await fileStore(path, { report })
  stores.push(store)
  return store
}

/** Every path below a folder, without following links. */
function tree(folder: string): string[] {
  return fs
    .readdirSync(folder, { withFileTypes: true, recursive: true })
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort()
}

/** What stands below a folder: mode, size and content of each file. */
function snapshot(folder: string): string[] {
  return tree(folder).map((path) => {
    const stat = fs.lstatSync(join(folder, path))
    const content = stat.isFile() ? fs.readFileSync(join(folder, path), "latin1") : ""
    return `${path} ${stat.mode.toString(8)} ${content}`
  })
}

const recordOf = (path: string, key: string): string => join(path, "records", nameOf(key).slice(0, 2), nameOf(key))

/** Expects that a folder is refused with this code, in one line that names it, and is afterwards what it was. */
async function refuses(path: string, code: string, why: RegExp): Promise<void> {
  const before = fs.existsSync(path) && fs.statSync(path).isDirectory() ? snapshot(path) : []
  const error: unknown = await fileStore(path, { report: () => {} }).then(
    (store) => store.close(),
    (caught: unknown) => caught,
  )
  expect(error).toMatchObject({ name: "CoatcheckError", code })
  expect((error as Error).message).toMatch(why)
  expect((error as Error).message).not.toContain("\n")
  if (before.length > 0) expect(snapshot(path)).toEqual(before)
}

describe("a new folder", () => {
  it("M6 CRY-09: is mode 700 and its files are mode 600, whatever the umask", async () => {
    for (const umask of [0o000, 0o022, 0o077]) {
      const before = process.umask(umask)
      try {
        const path = join(newPath(), "deeper")
        const store = await open(path)
        await store.set("k", "1", { owner: "alice" })
        await store.set("k", "2")
        for (const one of [".", ...tree(path)]) {
          const stat = fs.lstatSync(join(path, one))
          if (stat.isSocket()) continue
          expect((stat.mode & 0o777).toString(8), one).toBe(stat.isDirectory() ? "700" : "600")
        }
        expect((fs.statSync(join(path, "..")).mode & 0o777).toString(8)).toBe("700")
      } finally {
        process.umask(before)
      }
    }
  })

  it("that is another user's stays theirs when root writes in it: files, marks, folders and the format", async () => {
    const path = newPath()
    fs.mkdirSync(path, { mode: 0o700 })
    fs.chownSync(path, 65_534, 65_534) // this needs root
    const store = await open(path)
    await store.set("k", "1", { owner: "alice" })
    const strange = tree(path).filter((one) => {
      const { uid, gid } = fs.lstatSync(join(path, one))
      return !one.endsWith(".socket") && (uid !== 65_534 || gid !== 65_534)
    })
    expect(tree(path).length).toBeGreaterThan(8)
    expect(strange).toEqual([])
  })

  it("may be there already, as long as it is empty, and is made ours once when eight open it at once", async () => {
    const path = newPath()
    fs.mkdirSync(path, { mode: 0o755 })
    const eight = await Promise.all(Array.from({ length: 8 }, () => open(path)))
    await Promise.all(eight.map((store, at) => store.set(`k${at}`, "1")))
    for (const store of eight) expect((await store.list()).entries).toHaveLength(8)
    expect((fs.statSync(path).mode & 0o777).toString(8)).toBe("700")
    expect(fs.readdirSync(path)).toEqual(["coatcheck", "locks", "owners", "records", "work"])
  })

  it("is finished by the next one to open it when its maker died on the way", async () => {
    const path = newPath()
    fs.mkdirSync(join(path, "work"), { recursive: true })
    fs.writeFileSync(join(path, "work", "new.0123456789abcdef"), "coatcheck fi")
    const store = await open(path)
    expect(await store.set("k", "1")).toMatchObject({ ok: true })
    expect(tree(join(path, "work")).filter((name) => name.startsWith("new."))).toEqual([])
  })
})

describe("a folder that is not ours", () => {
  it("holds other files: it is refused and stays as it was, its mode too", async () => {
    const path = newPath()
    fs.mkdirSync(path, { mode: 0o755 })
    fs.writeFileSync(join(path, "diary.txt"), "dear diary")
    await refuses(path, "corrupt", /holds other files; name an empty folder/)
    expect((fs.statSync(path).mode & 0o777).toString(8)).toBe("755")
  })

  it("is newer, or says something else: it is refused and stays as it was", async () => {
    const path = newPath()
    await (await open(path)).set("k", "1")
    fs.writeFileSync(join(path, "coatcheck"), "coatcheck file store 2\n")
    await stores.pop()?.close()
    await refuses(path, "corrupt", /newer version of coatcheck made it; update/)
    for (const content of ["", "coatcheck", "coatcheck file store 1", "\u0000".repeat(23)]) {
      fs.writeFileSync(join(path, "coatcheck"), content)
      await refuses(path, "corrupt", /is damaged; restore the folder/)
    }
  })

  it("is a file, lies below one, is too long or can't be made: one line says so", async () => {
    const path = newPath()
    fs.writeFileSync(path, "file")
    await refuses(path, "corrupt", /is no folder/)
    await refuses(join(path, "below"), "unavailable", /a part of the path is no folder/)
    await refuses(join(root, "x".repeat(300)), "unavailable", /too long/)
    await refuses("/proc/coatcheck", "unavailable", /a part of the path is gone/)
    expect(fs.readFileSync(path, "utf8")).toBe("file")
  })

  it("may not be used by this process: denied, with what to do", async () => {
    const path = newPath()
    fs.mkdirSync(path, { mode: 0o500 })
    fs.chownSync(path, 12_345, 12_345)
    const uid = process.geteuid?.()
    expect(uid, "this needs root").toBe(0)
    fs.chmodSync(root, 0o755)
    process.seteuid?.(54_321)
    try {
      for (const one of [path, join(root, "new")]) {
        await expect(fileStore(one)).rejects.toMatchObject({
          code: "denied",
          message: expect.stringMatching(/can't use .*chown, chmod 700/),
        })
      }
    } finally {
      process.seteuid?.(0)
    }
  })

  it("is open to others on the machine: that is a warning", async () => {
    const path = newPath()
    await (await open(path)).set("k", "1")
    const reports: StoreReport[] = []
    fs.chmodSync(path, 0o711)
    await open(path, (report) => reports.push(report))
    expect(reports).toMatchObject([{ store: "file", kind: "warning", message: expect.stringMatching(/chmod 700/) }])
  })
})

describe("CRY-09: a link that was planted is never followed", () => {
  it("CRY-09: at the folder itself", async () => {
    const [target, link] = [newPath(), newPath()]
    fs.mkdirSync(target)
    fs.symlinkSync(target, link)
    await refuses(link, "corrupt", /symbolic link; name the folder that it leads to/)
    fs.rmdirSync(target)
    await refuses(link, "corrupt", /symbolic link/)
    expect(fs.existsSync(target)).toBe(false)
  })

  it("CRY-09: at one of its folders, before it is opened or after", async () => {
    const outside = newPath()
    fs.mkdirSync(outside)
    for (const part of ["records", "owners", "locks", "work"]) {
      const path = newPath()
      await (await open(path)).set("k", "1")
      await stores.pop()?.close()
      fs.rmSync(join(path, part), { recursive: true })
      fs.symlinkSync(outside, join(path, part))
      await expect(fileStore(path, { report: () => {} })).rejects.toMatchObject({ code: "corrupt" })
    }
    const path = newPath()
    const store = await open(path)
    fs.symlinkSync(outside, join(path, "records", nameOf("k").slice(0, 2)))
    await expect(store.set("k", "1")).rejects.toMatchObject({ code: "corrupt" })
    await expect(store.get("k")).rejects.toMatchObject({ code: "corrupt" })
    expect(fs.readdirSync(outside)).toEqual([])
  })

  it("CRY-09: at a record: it reads as damaged, is replaced as it is, and what it led to is untouched", async () => {
    const path = newPath()
    const reports: StoreReport[] = []
    const store = await open(path, (report) => reports.push(report))
    const secret = join(root, "secret")
    fs.writeFileSync(secret, "not yours")
    const planted: [string, (at: string) => unknown][] = [
      ["link", (at) => fs.symlinkSync(secret, at)],
      ["dangling", (at) => fs.symlinkSync(join(root, "nowhere"), at)],
      ["device", (at) => fs.symlinkSync("/dev/zero", at)],
    ]
    for (const [key, plant] of planted) {
      const at = recordOf(path, key)
      fs.mkdirSync(join(at, ".."), { recursive: true, mode: 0o700 })
      plant(at)
      expect(await store.get(key)).toBeNull()
      expect(await store.touch(key, null)).toEqual({ ok: false, current: null })
      expect(await store.set(key, "1", { if: "absent" })).toMatchObject({ ok: true })
      expect(await store.get(key)).toMatchObject({ value: "1" })
      expect(fs.lstatSync(at).isFile()).toBe(true)
    }
    expect(fs.readFileSync(secret, "utf8")).toBe("not yours")
    expect(fs.existsSync(join(root, "nowhere"))).toBe(false)
    expect(reports.map(({ kind }) => kind)).toEqual(["damaged", "damaged", "damaged"])
  })

  it("CRY-09: a pipe, a socket or a folder at a record's place is damaged; nothing waits for a pipe, and a folder stays", async () => {
    const path = newPath()
    const store = await open(path)
    for (const key of ["pipe", "socket", "folder"]) {
      fs.mkdirSync(join(recordOf(path, key), ".."), { recursive: true, mode: 0o700 })
    }
    expect(spawnSync("mkfifo", [recordOf(path, "pipe")]).status).toBe(0)
    const server = createServer().listen(join(root, "socket"))
    await once(server, "listening")
    fs.linkSync(join(root, "socket"), recordOf(path, "socket"))
    fs.mkdirSync(recordOf(path, "folder"))
    for (const key of ["pipe", "socket", "folder"]) expect(await store.get(key)).toBeNull()
    for (const key of ["pipe", "socket"]) expect(await store.set(key, "1")).toMatchObject({ ok: true })
    await expect(store.set("folder", "1")).rejects.toMatchObject({ code: "unavailable" })
    server.close()
    await once(server, "close")
    expect(fs.statSync(recordOf(path, "folder")).isDirectory()).toBe(true)
    expect(await store.get("pipe")).toMatchObject({ value: "1" })
  })
})

describe("keys reach no path", () => {
  it("KVS-11 REG-25: whatever a key looks like, nothing is touched outside, and no name shows it", async () => {
    const path = join(newPath(), "store")
    const store = await open(path)
    const keys = [
      ...awkwardKeys,
      "..%2f..%2fetc%2fpasswd",
      "%252e%252e/",
      "../../outside",
      "/etc/passwd",
      "..\\..\\outside",
      "a\u2044b",
      "CON",
      "{tag}",
    ]
    for (const key of keys) await store.set(key, '"here"', { owner: key })
    for (const key of keys) expect(await store.get(key)).toMatchObject({ key, value: '"here"', owner: key })
    for (const bad of ["", "\r\n", "x".repeat(2_048), ...badNames]) {
      await expect(store.set(bad as string, "1")).rejects.toMatchObject({ name: "CoatcheckError" })
    }
    expect(fs.readdirSync(join(path, ".."))).toEqual(["store"])
    const files = tree(path)
    const known =
      /^(coatcheck|locks|owners|records|work|work\/[\w-]{16}(\.socket)?|(records|owners)\/[0-9a-f]{2}|records\/([0-9a-f]{2})\/\4[0-9a-f]{62}|owners\/([0-9a-f]{2})\/\5[0-9a-f]{62}\.[0-9a-f]{64})$/
    expect(files.filter((file) => !known.test(file))).toEqual([])
    expect(files.filter((file) => /^records\/..\//.test(file))).toHaveLength(new Set(keys).size)
    expect(files.filter((file) => /^owners\/..\//.test(file))).toHaveLength(new Set(keys).size)
  })
})
