// What a crash of the application leaves behind, point by point: nothing acknowledged is lost, nothing ended comes back, no lock
// stands in the way of the next start, and the client may simply try again with the cookie it has.

import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { sqliteStore } from "coatcheck/sqlite"
import { fakeClock } from "coatcheck/testing"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import type { CrashPoint } from "./support/crash-app.ts"
import { type Running, startSource } from "./support/processes.ts"
import { type Visitor, visitor } from "./support/visitor.ts"

let folder: string
const running: Running[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "coatcheck-crash-"))
})
afterEach(async () => {
  for (const app of running.splice(0)) await app.stop("SIGKILL")
  await rm(folder, { recursive: true, force: true })
})

async function startApp(point: CrashPoint): Promise<Running & { url: string }> {
  const app = startSource("test/support/crash-app.ts", [join(folder, "sessions.db"), point])
  running.push(app)
  const [, port] = await app.says(/listening on (\d+)/)
  return { ...app, url: `http://localhost:${port}` }
}

/** A visitor whose count stands at 3, then one request on an application that crashes there, then one that lives again. */
async function crashOn(
  path: string,
  method: "GET" | "POST",
  point: CrashPoint,
): Promise<{ guest: Visitor; url: string }> {
  const guest = visitor()
  const before = await startApp("never")
  for (let n = 0; n < 3; n++) await guest.get(`${before.url}/count`)
  await before.stop("SIGKILL")
  const crashing = await startApp(point)
  await expect(guest.call(method, `${crashing.url}${path}`)).rejects.toThrow(/hang up|ECONNRESET/)
  expect((await crashing.ended).signal).toBe("SIGKILL")
  const { url } = await startApp("never")
  return { guest, url }
}

describe("F-KILL-2: the application is killed", () => {
  it("F-KILL-2: before the write: nothing happened, and the retry counts once", async () => {
    const { guest, url } = await crashOn("/count", "GET", "before the write")
    expect((await guest.get(`${url}/`)).body).toBe("3")
    expect((await guest.get(`${url}/count`)).body).toBe("4")
  })

  it.each(["after the write, before it is acknowledged", "after it is acknowledged, before the reply"] as const)(
    "F-KILL-2: %s: the write stands, and the session goes on",
    async (point) => {
      const { guest, url } = await crashOn("/count", "GET", point)
      expect((await guest.get(`${url}/`)).body).toBe("4")
      expect((await guest.get(`${url}/count`)).body).toBe("5")
    },
  )

  it("F-KILL-2: in a rotation, between its two steps: the old id is good, and the rotation can be done again", async () => {
    const { guest, url } = await crashOn("/rotate", "POST", "in a rotation, between its two steps")
    const old = await guest.cookie(url)
    expect((await guest.get(`${url}/`)).body).toBe("3")
    expect((await guest.call("POST", `${url}/rotate`)).body).toBe("3")
    expect(await guest.cookie(url)).not.toBe(old)
    expect((await guest.get(`${url}/count`)).body).toBe("4")
  })

  it("F-KILL-2: in a rotation, after the old id is dead: it stays dead, and the visitor starts anew", async () => {
    const { guest, url } = await crashOn("/rotate", "POST", "in a rotation, after the old id is dead")
    expect((await guest.get(`${url}/`)).body).toBe("0")
    expect((await guest.get(`${url}/count`)).body).toBe("1")
  })

  it("F-KILL-2: in an ending, before the reply: it has ended, and doing it again changes nothing", async () => {
    const { guest, url } = await crashOn("/end", "POST", "in an ending, before the reply")
    expect((await guest.get(`${url}/`)).body).toBe("0")
    expect((await guest.call("POST", `${url}/end`)).status).toBe(200)
    expect((await guest.get(`${url}/count`)).body).toBe("1")
  })

  it("F-KILL-2: in a sweep: what it had not committed is there again and invisible, nobody's session is touched, and the next start sweeps on", async () => {
    const file = join(folder, "sessions.db")
    const past = fakeClock(Date.now() - 3_600_000)
    const filling = await sqliteStore(file, { clock: past })
    const live = Array.from({ length: 20 }, (_, n) => `live-${n}`)
    const dead = Array.from({ length: 300 }, (_, n) => `dead-${n}`)
    await Promise.all(live.map((key) => filling.set(key, `"${key}"`)))
    await Promise.all(dead.map((key) => filling.set(key, "1", { expiresAt: past.now() + 60_000 })))
    await filling.close()

    const guest = visitor()
    const crashing = await startApp("in a sweep, before its third batch is committed")
    expect((await guest.get(`${crashing.url}/count`)).body).toBe("1") // this write sets the sweep off
    expect((await crashing.ended).signal).toBe("SIGKILL")

    const after = await sqliteStore(file)
    try {
      expect(await after.count?.()).toBe(20 + 300 - 2 * 64 + 1)
      const shows = async () => (await after.list({ limit: 1_000 })).entries.map(({ key }) => key)
      const shown = await shows()
      expect(shown.filter((key) => key.startsWith("dead"))).toEqual([])
      expect(shown.filter((key) => key.startsWith("live")).toSorted()).toEqual(live.toSorted())
      const { url } = await startApp("never")
      expect((await guest.get(`${url}/count`)).body).toBe("2")
      await vi.waitFor(async () => expect(await after.count?.()).toBe(20 + 1), { timeout: 10_000 })
      expect(await shows()).toEqual(shown)
    } finally {
      await after.close()
    }
  })

  it("F-KILL-2: before the first write of a new visitor: no session, no cookie, and the next request makes one", async () => {
    const guest = visitor()
    const crashing = await startApp("before the write")
    await expect(guest.get(`${crashing.url}/count`)).rejects.toThrow(/hang up|ECONNRESET/)
    const { url } = await startApp("never")
    expect(await guest.cookie(url)).toBeUndefined()
    expect((await guest.get(`${url}/count`)).body).toBe("1")
  })
})
