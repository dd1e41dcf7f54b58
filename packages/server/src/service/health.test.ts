import { CoatcheckError } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { describe, expect, it } from "vitest"
import { serve, storeWith } from "../../../../test/support/service.ts"

describe("health and readiness", () => {
  it("REL-08: health is 200 whatever the store does, ready only when it answers", async () => {
    let down = true
    const base = memoryStore()
    const store = storeWith(
      { get: (key) => (down ? Promise.reject(new CoatcheckError("unavailable", "down")) : base.get(key)) },
      base,
    )
    const { ask } = await serve({}, store)
    expect((await ask("GET", "/-/health")).json).toEqual({ status: "ok" })
    const unready = await ask("GET", "/-/ready")
    expect([unready.status, unready.headers["content-type"], unready.headers["retry-after"]]).toEqual([
      503,
      "application/problem+json",
      "1",
    ])
    down = false
    expect((await ask("GET", "/-/ready")).json).toEqual({ status: "ready" })
  })

  it("REL-08: a store that never answers is not ready, and is asked once however many want to know", async () => {
    let asked = 0
    let release: (value: null) => void = () => {}
    const hanging = new Promise<null>((resolve) => {
      release = resolve
    })
    const store = storeWith({
      get() {
        asked += 1
        return hanging
      },
    })
    const { ask } = await serve({ limits: { readyMs: 20 } }, store)
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask("GET", "/-/ready")))
    expect(answers.map((answer) => answer.status)).toEqual([503, 503, 503, 503, 503])
    expect(asked).toBe(1)
    release(null)
    expect((await ask("GET", "/-/ready")).status).toBe(200)
  })

  it("takes GET and HEAD alone", async () => {
    const { ask } = await serve()
    for (const path of ["/-/health", "/-/ready"]) {
      const answer = await ask("POST", path)
      expect([answer.status, answer.headers.allow]).toEqual([405, "GET, HEAD, OPTIONS"])
    }
  })
})
