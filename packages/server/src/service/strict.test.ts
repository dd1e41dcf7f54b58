import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { CoatcheckError, type Store } from "coatcheck"
import { memoryStore } from "coatcheck/memory"
import { sqliteStore } from "coatcheck/sqlite"
import { fakeClock } from "coatcheck/testing"
import { describe, expect, it, onTestFinished } from "vitest"
import { serve, storeWith } from "../../../../test/support/service.ts"

const path = "/-/v1/records/foo"

/** Stores of two kinds: one that answers in the same tick, and one that takes its time over a disk. */
const stores: Readonly<Record<string, () => Promise<Store>>> = {
  memory: async () => memoryStore(),
  async sqlite() {
    const folder = mkdtempSync(join(tmpdir(), "coatcheck-strict-"))
    const store = await sqliteStore(join(folder, "kv.db"))
    onTestFinished(async () => {
      await store.close()
      rmSync(folder, { recursive: true })
    })
    return store
  },
}

describe("a record", () => {
  it("KVS-02: 201 and 204 cost a look before the write only where the store does not tell by itself", async () => {
    for (const tells of [true, false]) {
      const engine = memoryStore()
      let looks = 0
      const store = storeWith(
        {
          get: (key) => ((looks += 1), engine.get(key)),
          async set(key, value, options) {
            const outcome = await engine.set(key, value, options)
            return outcome.ok && !tells ? { ok: true, version: outcome.version } : outcome
          },
        },
        engine,
      )
      const { ask } = await serve({}, store)
      const put = async (name: string) => (await ask("PUT", `/-/v1/records/${name}`, { body: "1" })).status
      expect([await put("a"), await put("b"), await put("a"), await put("b"), await put("c")]).toEqual([
        201, 201, 204, 204, 201,
      ])
      expect(looks).toBe(tells ? 1 : 5)
    }
  })

  it("KVS-01: each write has a strong tag of its own, also after delete and re-create", async () => {
    const { ask } = await serve()
    const tags: unknown[] = []
    for (let round = 0; round < 3; round++) {
      const written = await ask("PUT", path, { body: '{"n":1}' })
      expect([written.status, written.text, written.headers["content-length"]]).toEqual([201, "", "0"])
      tags.push(written.headers.etag)
      expect((await ask("GET", path)).headers.etag).toBe(written.headers.etag)
      expect((await ask("DELETE", path)).status).toBe(200)
    }
    for (const tag of tags) expect(tag).toMatch(/^"[\w-]{1,64}"$/)
    expect(new Set(tags).size).toBe(3)
  })

  it("tells what it created from what it replaced, also where the store does writes before reads", async () => {
    const memory = memoryStore()
    const get = async (key: string) => {
      await new Promise((resolve) => setImmediate(resolve))
      return memory.get(key)
    }
    const { ask } = await serve({}, storeWith({ get }, memory))
    expect((await ask("PUT", path, { body: "1" })).status).toBe(201)
    expect((await ask("PUT", path, { body: "2" })).status).toBe(204)
  })

  it("answers with the value as it was written, what is left of its life, and its owner", async () => {
    const clock = fakeClock()
    const { ask } = await serve({ clock }, memoryStore({ clock }))
    const headers = { "Coatcheck-TTL": "60000", "Coatcheck-Owner": "%C3%BC%20b", "Coatcheck-Version": "mine-1" }
    const written = await ask("PUT", path, { headers, body: ' {"n": 1e21}\n' })
    expect([written.status, written.headers.etag]).toEqual([201, '"mine-1"'])
    clock.advance(1_500)
    const answer = await ask("GET", path)
    expect([answer.status, answer.text, answer.headers.etag]).toEqual([200, '{"n": 1e21}', '"mine-1"'])
    expect([answer.headers["coatcheck-ttl"], answer.headers["coatcheck-owner"]]).toEqual(["58500", "%C3%BC%20b"])
    expect(
      (await ask("PUT", path, { headers: { "Coatcheck-TTL": "none", "Coatcheck-Owner": "" }, body: "2" })).status,
    ).toBe(204)
    const cleared = await ask("GET", path)
    expect([cleared.text, cleared.headers["coatcheck-ttl"], cleared.headers["coatcheck-owner"]]).toEqual([
      "2",
      undefined,
      undefined,
    ])
  })

  it("keeps end and owner when a write leaves them out", async () => {
    const clock = fakeClock()
    const { ask } = await serve({ clock }, memoryStore({ clock }))
    await ask("PUT", path, { headers: { "Coatcheck-TTL": "60000", "Coatcheck-Owner": "alice" }, body: "1" })
    await ask("PUT", path, { body: "2" })
    await ask("POST", "/", { body: '{"foo":3}' })
    const { text, headers } = await ask("GET", path)
    expect([text, headers["coatcheck-ttl"], headers["coatcheck-owner"]]).toEqual(["3", "60000", "alice"])
  })

  it("X3: a record with one second to live is gone after two, from get, list and the stream", async () => {
    const clock = fakeClock()
    const { ask } = await serve({ clock }, memoryStore({ clock }))
    await ask("PUT", path, { headers: { "Coatcheck-TTL": "1000" }, body: "1" })
    expect((await ask("GET", "/foo")).text).toBe('{"foo":1}')
    clock.advance(2_000)
    expect((await ask("GET", path)).status).toBe(404)
    expect((await ask("GET", "/foo")).headers["coatcheck-absent"]).toBe("1")
    expect((await ask("GET", "/")).text).toBe('{"keys":[]}')
    expect((await ask("GET", "/-/v1/records")).json).toEqual({ entries: [], cursor: null })
    expect((await ask("GET", "/-/v1/records", { headers: { Accept: "application/x-ndjson" } })).text).toBe("")
    expect((await ask("DELETE", path)).status).toBe(404)
    expect((await ask("PATCH", path, { headers: { "Coatcheck-TTL": "1000" } })).status).toBe(404)
  })

  it("is 404 when absent, to every method that needs it", async () => {
    const { ask } = await serve()
    for (const method of ["GET", "DELETE", "PATCH"]) {
      const answer = await ask(method, path, { headers: { "Coatcheck-TTL": "1000" } })
      expect([answer.status, answer.headers["content-type"]], method).toEqual([404, "application/problem+json"])
    }
  })

  it("PATCH moves the end and nothing else", async () => {
    const clock = fakeClock()
    const { ask } = await serve({ clock }, memoryStore({ clock }))
    const { headers } = await ask("PUT", path, { body: "1" })
    const touched = await ask("PATCH", path, { headers: { "Coatcheck-TTL": "5000" } })
    expect([touched.status, touched.headers.etag]).toEqual([204, headers.etag])
    expect((await ask("GET", path)).headers["coatcheck-ttl"]).toBe("5000")
    await ask("PATCH", path, { headers: { "Coatcheck-TTL": "none", "If-Match": headers.etag! } })
    expect((await ask("GET", path)).headers["coatcheck-ttl"]).toBeUndefined()
    expect((await ask("PATCH", path)).status).toBe(400)
  })

  it("refuses malformed fields and values, and stores nothing", async () => {
    const { ask, store } = await serve()
    const bad: Record<string, string>[] = [
      { "Coatcheck-TTL": "soon" },
      { "Coatcheck-TTL": "-1" },
      { "Coatcheck-Owner": "%FF" },
      { "Coatcheck-Version": "a b" },
      { "Coatcheck-Version": "v".repeat(65) },
      { "If-Match": "abc" },
      { "If-None-Match": '"abc"' },
      { "If-Match": '"abc"', "If-None-Match": "*" },
    ]
    for (const headers of bad) {
      const answer = await ask("PUT", path, { headers, body: "1" })
      expect([answer.status, answer.headers["content-type"]], JSON.stringify(headers)).toEqual([
        400,
        "application/problem+json",
      ])
    }
    for (const body of ["", "{", "1 2", "undefined", "NaN"])
      expect((await ask("PUT", path, { body })).status, body).toBe(400)
    expect((await store.list()).entries).toEqual([])
  })
})

describe("conditions", () => {
  it("KVS-02: If-Match that does not hold is 412 with what stands there", async () => {
    const { ask } = await serve()
    const first = await ask("PUT", path, { body: "1" })
    const second = await ask("PUT", path, { headers: { "If-Match": first.headers.etag! }, body: "2" })
    expect(second.status).toBe(204)
    for (const method of ["PUT", "DELETE", "PATCH"]) {
      const headers = { "If-Match": first.headers.etag!, "Coatcheck-TTL": "1" }
      const refused = await ask(method, path, { headers, ...(method === "PUT" ? { body: "3" } : {}) })
      expect([refused.status, refused.text, refused.headers.etag], method).toEqual([412, "2", second.headers.etag])
    }
    expect((await ask("GET", path)).text).toBe("2")
  })

  it("KVS-02: an update never creates", async () => {
    const { ask } = await serve()
    for (const condition of ['"abc"', "*"]) {
      const refused = await ask("PUT", path, { headers: { "If-Match": condition }, body: "1" })
      expect([refused.status, refused.headers.etag]).toEqual([412, undefined])
      expect(refused.json).toMatchObject({ status: 412 })
    }
    expect((await ask("GET", path)).status).toBe(404)
  })

  it("KVS-02: If-Match compares strongly, and takes several tags or any", async () => {
    const { ask } = await serve()
    const { etag } = (await ask("PUT", path, { body: "1" })).headers
    const put = (condition: string) => ask("PUT", path, { headers: { "If-Match": condition }, body: "1" })
    expect((await put(`W/${etag}`)).status).toBe(412)
    expect((await put(`"x", W/${etag}`)).status).toBe(412)
    expect((await put('"none!of=ours"')).status).toBe(412)
    expect((await put(`"x", ${etag}`)).status).toBe(204)
    expect((await put("*")).status).toBe(204)
    expect((await ask("DELETE", path, { headers: { "If-Match": "*" } })).status).toBe(200)
  })

  it("KVS-02: any tag holds against a record that changes between our read and our write", async () => {
    const base = memoryStore()
    await base.set("foo", "0")
    let races = 3
    const store = storeWith(
      {
        async get(key) {
          const entry = await base.get(key)
          if (races-- > 0) await base.set(key, "theirs")
          return entry
        },
      },
      base,
    )
    const { ask } = await serve({}, store)
    expect((await ask("PUT", path, { headers: { "If-Match": "*" }, body: '"mine"' })).status).toBe(204)
    expect((await base.get("foo"))?.value).toBe('"mine"')
  })

  for (const [name, make] of Object.entries(stores)) {
    it(`KVS-02: of 100 replacements at once of whatever stands there, all are let through, over ${name}`, async () => {
      const base = await make()
      await base.set("foo", "0")
      let open = (): void => {}
      const all = new Promise<void>((resolve) => (open = resolve))
      let reading = 0
      const together: Store["get"] = async (key) => {
        reading += 1
        if (reading === 100) open() // whoever reads first waits, so that all of them see one version
        await all
        return base.get(key)
      }
      const { ask } = await serve({}, storeWith({ get: together }, base))
      const any = { "If-Match": "*" }
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, i) => ask("PUT", path, { headers: any, body: String(i) })),
      )
      expect(answers.filter(({ status }) => status !== 204)).toEqual([])
      const tags = answers.map(({ headers }) => headers.etag)
      expect(new Set(tags).size).toBe(100)
      const last = await ask("GET", path)
      expect(tags).toContain(last.headers.etag)
      expect(answers[Number(last.text)]?.headers.etag).toBe(last.headers.etag)
    })

    it(`KVS-02: replacements, new ends and removals at once each find the record or find it gone, over ${name}`, async () => {
      const { ask, store } = await serve({}, await make())
      const any = { "If-Match": "*" }
      for (let round = 0; round < 5; round++) {
        await store.set("foo", "0")
        const answers = await Promise.all(
          Array.from({ length: 30 }, async (_, i) => {
            if (i === 20) return ask("DELETE", path, { headers: any })
            if (i % 3 === 0) return ask("PATCH", path, { headers: { ...any, "Coatcheck-TTL": "60000" } })
            return ask("PUT", path, { headers: any, body: String(i) })
          }),
        )
        expect(answers[20]?.status).toBe(200)
        expect(answers.map(({ status }) => status).filter((status) => ![200, 204, 404, 412].includes(status))).toEqual(
          [],
        )
        expect(await store.get("foo")).toBeNull()
      }
    })
  }

  it("KVS-02: a replacement that failed does not take those behind it with it", async () => {
    const base = memoryStore()
    await base.set("foo", "0")
    let failures = 2
    const { ask } = await serve(
      {},
      storeWith(
        {
          async set(...call) {
            if (failures-- > 0) throw new CoatcheckError("full", "no room")
            return base.set(...call)
          },
        },
        base,
      ),
    )
    const put = () => ask("PUT", path, { headers: { "If-Match": "*" }, body: "1" })
    const answers = await Promise.all(Array.from({ length: 20 }, put))
    expect(answers.map(({ status }) => status).filter((status) => status === 507)).toHaveLength(2)
    expect(answers.map(({ status }) => status).filter((status) => status === 204)).toHaveLength(18)
  })

  it("KVS-02: who is outrun for a second gives up with 409", async () => {
    const clock = fakeClock()
    const base = memoryStore({ clock })
    await base.set("foo", "0")
    let tries = 0
    const { ask } = await serve(
      { clock },
      storeWith(
        {
          async set(key, value, options) {
            tries += 1
            clock.advance(100)
            await base.set(key, "theirs")
            return base.set(key, value, options)
          },
        },
        base,
      ),
    )
    const refused = await ask("PUT", path, { headers: { "If-Match": "*" }, body: "1" })
    expect([refused.status, tries]).toEqual([409, 10])
    expect((await base.get("foo"))?.value).toBe("theirs")
  })

  it("KVS-02: 16 clients increment one record, and it counts exactly those that were let through", async () => {
    const { ask } = await serve()
    await ask("PUT", path, { body: "0" })
    let written = 0
    const increment = async (): Promise<void> => {
      for (let done = 0; done < 10; ) {
        const current = await ask("GET", path)
        const headers = { "If-Match": current.headers.etag! }
        const answer = await ask("PUT", path, { headers, body: String(Number(current.text) + 1) })
        expect([204, 412]).toContain(answer.status)
        if (answer.status === 204) {
          written += 1
          done += 1
        }
      }
    }
    await Promise.all(Array.from({ length: 16 }, increment))
    expect(Number((await ask("GET", path)).text)).toBe(written)
    expect(written).toBe(160)
  })

  it("KVS-02: a conditional write with its own version may be sent again", async () => {
    const { ask } = await serve()
    const { etag } = (await ask("PUT", path, { body: "1" })).headers
    const again = () => ask("PUT", path, { headers: { "If-Match": etag!, "Coatcheck-Version": "mine" }, body: "2" })
    expect([(await again()).status, (await again()).status]).toEqual([204, 204])
    expect((await ask("GET", path)).headers.etag).toBe('"mine"')
  })

  it("KVS-03: of 64 creations at once one is let through", async () => {
    const { ask } = await serve()
    const create = (_: unknown, index: number) =>
      ask("PUT", path, { headers: { "If-None-Match": "*" }, body: String(index) })
    const answers = await Promise.all(Array.from({ length: 64 }, create))
    const created = answers.filter((answer) => answer.status === 201)
    expect(created).toHaveLength(1)
    const [winner] = created
    for (const answer of answers) {
      if (answer === winner) continue
      expect([answer.status, answer.headers.etag]).toEqual([412, winner!.headers.etag])
    }
  })

  it("KVS-04: If-None-Match on a GET is 304 without a body, compared weakly", async () => {
    const { ask, raw, port } = await serve()
    const { etag } = (await ask("PUT", path, { body: "1" })).headers
    for (const condition of [etag!, `W/${etag}`, `"x", ${etag}`, "*"]) {
      const answer = await ask("GET", path, { headers: { "If-None-Match": condition } })
      expect([answer.status, answer.text, answer.headers.etag], condition).toEqual([304, "", etag])
    }
    expect((await ask("GET", path, { headers: { "If-None-Match": '"x"' } })).status).toBe(200)
    const bytes = await raw(
      `GET ${path} HTTP/1.1\r\nHost: localhost:${port}\r\nIf-None-Match: ${etag}\r\nConnection: close\r\n\r\n`,
    )
    const [head, body] = bytes.split("\r\n\r\n")
    expect(body).toBe("")
    expect(head).toMatch(/^HTTP\/1\.1 304 Not Modified\r\n/)
    expect(head).not.toMatch(/content-length|transfer-encoding/i)
  })

  it("KVS-02: a read honours If-Match too, and no condition is passed over where it can't hold", async () => {
    const { ask } = await serve()
    const { etag } = (await ask("PUT", path, { body: "1" })).headers
    for (const [condition, status] of [
      [etag!, 200],
      [`"x", ${etag}`, 200],
      ["*", 200],
      ['"x"', 412],
      [`W/${etag}`, 412],
    ] as const) {
      expect((await ask("GET", path, { headers: { "If-Match": condition } })).status, condition).toBe(status)
    }
    for (const method of ["PATCH", "DELETE"]) {
      const headers = { "If-None-Match": "*", "Coatcheck-TTL": "1" }
      expect((await ask(method, path, { headers })).status, method).toBe(400)
    }
    const { text, headers } = await ask("GET", path)
    expect([text, headers["coatcheck-ttl"]]).toEqual(["1", undefined])
  })

  it("KVS-06: without credentials nothing is learnt about a version", async () => {
    const digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b" // of "secret"
    const { ask } = await serve({ tokens: [`all read,write sha256:${digest}`] })
    const Authorization = "Bearer secret"
    const { etag } = (await ask("PUT", path, { headers: { Authorization }, body: "1" })).headers
    for (const headers of [{ "If-Match": '"x"' }, { "If-Match": etag! }, { "If-None-Match": "*" }] as Record<
      string,
      string
    >[]) {
      for (const credentials of [{}, { Authorization: "Bearer wrong" }] as Record<string, string>[]) {
        for (const method of ["GET", "PUT", "PATCH", "DELETE"]) {
          const answer = await ask(method, path, { headers: { ...headers, ...credentials } })
          expect([answer.status, answer.headers.etag, answer.text.includes(etag!)], method).toEqual([
            401,
            undefined,
            false,
          ])
        }
      }
    }
  })

  it("KVS-06: a condition is judged only when the body is whole and sound", async () => {
    const { ask } = await serve()
    await ask("PUT", path, { body: "1" })
    expect((await ask("PUT", path, { headers: { "If-Match": '"x"' }, body: "{" })).status).toBe(400)
  })
})

describe("a store that fails behind a record", () => {
  it("ERR-02: tells by its type whether something may have happened", async () => {
    for (const code of ["unavailable", "unknown-outcome"] as const) {
      const store = storeWith({ set: () => Promise.reject(new CoatcheckError(code, "driver: SELECT /var/x")) })
      const { ask } = await serve({}, store)
      const answer = await ask("PUT", path, { body: "1" })
      expect([answer.status, answer.headers["retry-after"]]).toEqual([503, "1"])
      expect(answer.json).toMatchObject({ type: `urn:coatcheck:error:${code}`, status: 503 })
    }
  })
})
