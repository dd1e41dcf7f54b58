// What whoever steals the disk learns: every byte of the store's files is searched for every id that a browser holds.

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createSessions } from "coatcheck"
import { openStore } from "coatcheck/open"
import { expect, it } from "vitest"

const SESSIONS = 1_000

it("CRY-01, REG-35: no id of 1,000 sessions is in any byte of the SQLite files, neither as text nor decoded", async () => {
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-at-rest-"))
  const store = await openStore(`sqlite:${join(folder, "sessions.db")}`)
  try {
    const sessions = createSessions<{ count: number }>({ store })
    const ids: string[] = []
    const handles: string[] = []
    for (let n = 0; n < SESSIONS; n++) {
      const session = await sessions.open({ cookie: null, secure: false, sent: false, attach() {} })
      session.data.count = n
      const { setCookie } = await session.commit()
      ids.push(/^session=([^;]+)/.exec(setCookie ?? "")?.[1] ?? "")
      handles.push(session.handle ?? "")
      if (n % 3 === 0) await session.update((data) => void (data.count = -n))
    }
    const search = async (needles: readonly (string | Buffer)[]): Promise<number> => {
      const files = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name))))
      return needles.filter((needle) => files.some((bytes) => bytes.includes(needle))).length
    }
    expect(new Set(ids).size).toBe(SESSIONS)
    // The search finds what is there: every handle is, while the log is there and after it was folded into the file.
    for (const moment of ["open", "closed"]) {
      if (moment === "closed") await store.close()
      expect(await search(handles)).toBe(SESSIONS)
      expect(await search(ids)).toBe(0)
      expect(await search(ids.map((id) => Buffer.from(id, "base64url")))).toBe(0)
      expect(await search(ids.map((id) => Buffer.from(id, "base64url").toString("hex")))).toBe(0)
      expect(await search(ids.map((id) => Buffer.from(id, "base64url").toString("base64")))).toBe(0)
    }
  } finally {
    await store.close()
    await rm(folder, { recursive: true, force: true })
  }
})
