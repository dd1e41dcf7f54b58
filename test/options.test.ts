// Settings with a mistyped name, at every door that takes settings. A compiler is no help to callers without types, nor where an
// object is built elsewhere; a name that nobody knows must not leave a default standing in silence.

import { createService } from "@coatcheck/server"
import { createSessions, updateEntry } from "coatcheck"
import { fetchAdapter } from "coatcheck/fetch"
import { cachedStore } from "coatcheck/cached"
import { encryptedStore } from "coatcheck/encrypted"
import { fileStore } from "coatcheck/file"
import { guardedStore } from "coatcheck/guarded"
import { httpStore } from "coatcheck/http"
import { memoryStore } from "coatcheck/memory"
import { nodeAdapter } from "coatcheck/node"
import { openStore } from "coatcheck/open"
import { redisStore } from "coatcheck/redis"
import { sqliteStore } from "coatcheck/sqlite"
import { cookieJar } from "coatcheck/testing"
import { describe, expect, it } from "vitest"

const store = memoryStore()
const sessions = createSessions({ store })
// Refused before anything is opened: were it not, this path could not be opened either, but not by a TypeError.
const nowhere = "/proc/coatcheck/sessions.db"

/** Each takes settings that no compiler has seen, under the name that its message gives them. */
const doors: Readonly<Record<string, (options: never) => unknown>> = {
  createSessions: (options) => createSessions(options),
  cookie: (cookie) => createSessions({ store, cookie }),
  nodeAdapter: (options) => nodeAdapter(sessions, options),
  fetchAdapter: (options) => fetchAdapter(sessions, options),
  guard: (guard) => nodeAdapter(sessions, { guard }),
  memoryStore: (options) => memoryStore(options),
  sqliteStore: (options) => sqliteStore(nowhere, options),
  fileStore: (options) => fileStore(nowhere, options),
  redisStore: (options) => redisStore("redis://127.0.0.1:1", options),
  httpStore: (options) => httpStore("http://localhost:5100", options),
  cachedStore: (options) => cachedStore(store, options),
  encryptedStore: (options) => encryptedStore(store, options),
  guardedStore: (options) => guardedStore(store, options),
  openStore: (options) => openStore("memory:", options),
  updateEntry: (options) => updateEntry(store, "key", () => 1, options),
  createService: (options) => createService(store, options),
  limits: (limits) => createService(store, { limits }),
  listen: (options) => createService(store).listen(options),
  cookieJar: (options) => cookieJar(options),
}

/** What a call threw or rejected with. */
async function errorOf(call: () => unknown): Promise<unknown> {
  try {
    await call()
  } catch (error) {
    return error
  }
  return undefined
}

describe("settings", () => {
  for (const [name, call] of Object.entries(doors)) {
    it(`${name}: an unknown name is a TypeError that repeats it and says which there are`, async () => {
      for (const wrong of ["idel", "toString", "__proto__"]) {
        const error = await errorOf(() => call(JSON.parse(`{ "${wrong}": 1 }`) as never))
        expect(error, wrong).toBeInstanceOf(TypeError)
        expect((error as TypeError).message, wrong).toMatch(
          new RegExp(`^${name} knows no setting "${wrong}"; there are \\w+`),
        )
      }
    })

    it(`${name}: what is no object is a TypeError that says so, and never repeats it`, async () => {
      for (const wrong of [null, "a-secret", 5, true, [], () => {}]) {
        const error = await errorOf(() => call(wrong as never))
        expect(error, String(wrong)).toBeInstanceOf(TypeError)
        expect((error as TypeError).message).toBe(`${name} takes an object of settings`)
      }
    })
  }

  it("createSessions needs some", () => {
    expect(() => createSessions(undefined as never)).toThrow("createSessions takes an object of settings")
  })

  it("may be left out, or undefined, where each has a default", async () => {
    for (const adapter of [nodeAdapter, fetchAdapter]) expect(adapter(sessions, undefined)).toBeTypeOf("function")
    expect(memoryStore(undefined).info.name).toBe("memory")
    expect((await openStore("memory:", undefined)).info.name).toBe("memory")
  })
})

describe("what settings hold", () => {
  it("origins of the guard are a list, and a text is none", () => {
    for (const origins of ["https://a.example", null, 5, {}, new Set(["https://a.example"])] as never[]) {
      for (const adapter of [nodeAdapter, fetchAdapter]) {
        expect(() => adapter(sessions, { guard: { origins } })).toThrow(/^guard\.origins must be a list of origins/)
      }
    }
  })

  it("an adapter takes sessions, and says where they come from when it gets something else", () => {
    for (const other of [null, undefined, {}, store, "sessions", { cookieNames: "session" }] as never[]) {
      expect(() => nodeAdapter(other)).toThrow(/^nodeAdapter takes the sessions that createSessions made/)
      expect(() => fetchAdapter(other)).toThrow(/^fetchAdapter takes the sessions that createSessions made/)
    }
  })

  it("a secret is a text or a list of texts", () => {
    for (const secret of [5, {}, null, new Uint8Array(32)] as never[]) {
      expect(() => createSessions({ carrier: "signed", secret })).toThrow(TypeError)
      expect(() => createSessions({ carrier: "signed", secret })).toThrow(/secret/)
    }
  })

  it("clock, random and warn are what they are said to be, at creation", () => {
    const wrong: readonly [string, object][] = [
      ["clock", { clock: 5 }],
      ["clock", { clock: {} }],
      ["random", { random: "x" }],
      ["warn", { warn: true }],
      ["onEvent", { onEvent: "log" }],
    ]
    for (const [name, options] of wrong) {
      expect(() => createSessions({ store, ...options }), name).toThrow(TypeError)
      expect(() => createSessions({ store, ...options }), name).toThrow(name)
    }
  })
})
