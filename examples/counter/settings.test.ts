import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, it } from "vitest"
import { SettingError } from "../shared/settings.ts"
import { readSettings } from "./settings.ts"

const folder = mkdtempSync(join(tmpdir(), "counter-settings-"))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const none = join(folder, "none.cfg")

/** What readSettings said was wrong. */
function complaint(args: readonly string[], env: Record<string, string> = {}, path = none): string {
  try {
    readSettings(args, env, path)
  } catch (error) {
    expect(error).toBeInstanceOf(SettingError)
    return (error as Error).message
  }
  return "nothing was wrong"
}

describe("the counter's settings", () => {
  it("P2: have defaults, which the committed counter.cfg repeats", () => {
    const defaults = {
      useSessionStore: true,
      storeUrl: "http://localhost:5100",
      token: null,
      secrets: [],
      port: 5000,
      host: "localhost",
    }
    expect(readSettings([], {}, none)).toEqual(defaults)
    expect(readSettings([], {}, fileURLToPath(new URL("counter.cfg", import.meta.url)))).toEqual(defaults)
  })

  it("P2: an option wins over the environment, which wins over the file", () => {
    const path = file("order.cfg", "# a comment\n\nPORT=1\n  HOST = a  \nUSE_SESSION_STORE=false\n")
    expect(readSettings([], {}, path)).toMatchObject({ port: 1, host: "a", useSessionStore: false })
    expect(readSettings([], { PORT: "2", HOST: "b" }, path)).toMatchObject({ port: 2, host: "b" })
    expect(readSettings(["--port", "3", "--use-session-store=true"], { PORT: "2", HOST: "b" }, path)).toMatchObject({
      port: 3,
      host: "b",
      useSessionStore: true,
    })
  })

  it("P2: what is given empty counts as not given", () => {
    const path = file("empty.cfg", "PORT=\nSTORE_URL=\n")
    const settings = readSettings([], { HOST: "", KV_URL: "", COATCHECK_TOKEN: "" }, path)
    expect(settings).toMatchObject({ port: 5000, host: "localhost", storeUrl: "http://localhost:5100", token: null })
    expect(readSettings([], { COATCHECK_TOKEN: "t" }, path)?.token).toBe("t")
  })

  it("P2: STORE_URL wins over KV_URL, wherever they come from", () => {
    const path = file("store.cfg", "STORE_URL=sqlite:./a.db\n")
    expect(readSettings(["--kv-url", "http://kv:1"], {}, path)?.storeUrl).toBe("sqlite:./a.db")
    expect(readSettings(["--kv-url", "http://kv:1"], {}, none)?.storeUrl).toBe("http://kv:1")
  })

  it("C15: takes several secrets, newest first, from a list or a file", () => {
    expect(readSettings([], { SECRET_KEY: "new, old," }, none)?.secrets).toEqual(["new", "old"])
    const secrets = file("secrets", "newest\n\nolder\n")
    const settings = readSettings(["--secret-key-file", secrets], { SECRET_KEY: "ignored" }, none)
    expect(settings?.secrets).toEqual(["newest", "older"])
  })

  it("P4: says in one line what is wrong, and where it came from", () => {
    const bad = file("bad.cfg", "PORT=5000\nnonsense\n")
    const unknown = file("unknown.cfg", "COLOUR=red\n")
    const empty = file("no-secrets", "\n")
    const rows: [string, string[], Record<string, string>, string?][] = [
      ["PORT (environment) must be a number from 0 to 65535", [], { PORT: "80a" }],
      ["PORT (option --port) must be a number from 0 to 65535", ["--port", "65536"], {}],
      ["USE_SESSION_STORE (environment) must be true or false", [], { USE_SESSION_STORE: "maybe" }],
      ["KV_URL (environment) must be a URL such as http://localhost:5100", [], { KV_URL: "localhost:5100" }],
      ["KV_URL (option --kv-url) must be a URL", ["--kv-url", "redis://localhost"], {}],
      ["Unknown option '--prot'; --help lists the options", ["--prot", "1"], {}],
      [`${bad}, line 2: expected KEY=value`, [], {}, bad],
      ["there is no setting COLOUR; there are PORT,", [], {}, unknown],
      ["--config: /nowhere/x.cfg can't be read (ENOENT)", ["--config", "/nowhere/x.cfg"], {}],
      ["SECRET_KEY_FILE: /nowhere/key can't be read (ENOENT)", [], { SECRET_KEY_FILE: "/nowhere/key" }],
      ["SECRET_KEY_FILE (environment) names a file without a secret", [], { SECRET_KEY_FILE: empty }],
    ]
    for (const [expected, args, env, path] of rows) {
      const said = complaint(args, env, path)
      expect(said).toContain(expected)
      expect(said).not.toContain("\n")
    }
  })

  it("P4: a complaint does not repeat a value, which may hold a password", () => {
    expect(complaint([], { KV_URL: "redis://user:hunter2@host" })).not.toContain("hunter2")
  })

  it("--help asks for nothing else", () => {
    expect(readSettings(["--help"], { PORT: "bad" }, none)).toBeNull()
  })
})
