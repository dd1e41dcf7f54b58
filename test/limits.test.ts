// The bounds of one layer fit into those of the next: what a session may keep, every store can take.

import { createService } from "@coatcheck/server"
import { createSessions, type Exchange } from "coatcheck"
import { openStore } from "coatcheck/open"
import { expect, it } from "vitest"

it("PRS-05: a session as deep as sessions may be is kept by the service and read back", async () => {
  const behind = await openStore("memory:")
  const service = createService(behind)
  const { port } = await service.listen({ port: 0 })
  const store = await openStore(`http://127.0.0.1:${port}`)
  try {
    const sessions = createSessions<{ deep: unknown }>({ store })
    const exchange = (cookie: string | null): Exchange => ({ cookie, secure: false, sent: false, attach() {} })
    const nested = (levels: number): unknown => JSON.parse("[".repeat(levels) + "]".repeat(levels))
    const session = await sessions.open(exchange(null))
    session.data.deep = nested(510) // the record and its data are two more
    const { setCookie } = await session.commit()
    const again = await sessions.open(exchange(setCookie?.split(";")[0] ?? null))
    expect(again.data).toEqual({ deep: nested(510) })
    const tooDeep = await sessions.open(exchange(null))
    tooDeep.data.deep = nested(511)
    expect(() => tooDeep.commit()).toThrow(/512 levels/)
  } finally {
    await store.close()
    await service.close({ deadline: 1_000 })
    await behind.close()
  }
})
