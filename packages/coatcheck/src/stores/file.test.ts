import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { storeCases } from "../testing/store-suite.ts"
import { fileStore } from "./file.ts"

// Thousands of files are made and synced; where memory can be a disk, they need not wait for one.
const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "coatcheck-file-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe("the file store keeps the contract", () => {
  let folders = 0
  const harness = {
    open: (setup: object) => fileStore(join(folder, String(++folders)), setup),
    openSecond: (setup: object) => fileStore(join(folder, String(folders)), setup),
  }
  for (const { name, run } of storeCases(harness)) it(name, run)
})

describe("fileStore", () => {
  it("refuses settings that make no sense, and makes nothing", async () => {
    const path = join(folder, "never")
    for (const maxValueBytes of [0, -1, 1.5, Number.NaN, "9" as unknown as number]) {
      await expect(fileStore(path, { maxValueBytes })).rejects.toThrow(TypeError)
    }
    await expect(fileStore(path, { deadline: "soon" as "1s" })).rejects.toThrow(/deadline must be a duration/)
    for (const nothing of ["", undefined, 7]) {
      await expect(fileStore(nothing as string)).rejects.toThrow(/needs the path of a folder/)
    }
    expect(existsSync(path)).toBe(false)
  })

  it("says on Windows what to take instead", async () => {
    const platform = Object.getOwnPropertyDescriptor(process, "platform") as PropertyDescriptor
    Object.defineProperty(process, "platform", { ...platform, value: "win32" })
    try {
      await expect(fileStore(join(folder, "never"))).rejects.toMatchObject({
        code: "unsupported",
        message: expect.stringMatching(/take sqlite:$/),
      })
    } finally {
      Object.defineProperty(process, "platform", platform)
    }
  })

  it("K13: takes values as long as it is told", async () => {
    const store = await fileStore(join(folder, "short"), { maxValueBytes: 4 })
    await store.set("k", "1234")
    await expect(store.set("k", "12345")).rejects.toMatchObject({ code: "too-large" })
    await store.close()
    const long = await fileStore(join(folder, "long"), { maxValueBytes: 70_000_000 })
    const value = `"${"x".repeat(68_000_000)}"`
    await long.set("k", value)
    expect((await long.get("k"))?.value === value).toBe(true)
    await long.close()
  })
})
