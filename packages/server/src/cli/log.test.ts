import { describe, expect, it } from "vitest"
import { explain, printable, systemCode } from "./fail.ts"
import { logTo, plainLine } from "./log.ts"

function logged(write: (log: ReturnType<typeof logTo>) => void): string[] {
  const lines: string[] = []
  write(logTo({ write: (line) => lines.push(line) }, "info"))
  return lines
}

describe("the log", () => {
  it("X4: hides what could be a credential, also one or two levels down", () => {
    const [line = ""] = logged((log) => {
      log.info(
        {
          token: "s3cr3t",
          a: { cookie: "s3cr3t" },
          b: { headers: { authorization: "s3cr3t", "set-cookie": "s3cr3t" } },
        },
        "m",
      )
    })
    expect(line).not.toContain("s3cr3t")
    expect(JSON.parse(line)).toMatchObject({ token: "[hidden]", a: { cookie: "[hidden]" }, msg: "m" })
  })

  it("LOG-03: is one JSON line an event, whatever the text", () => {
    const [line = ""] = logged((log) => log.warn({ text: "a\r\n\u001b[2Jb" }, "c\nd"))
    expect(line).toMatch(/^[^\p{Cc}]+\n$/u)
    expect(JSON.parse(line)).toMatchObject({ level: 40, text: "a\r\n\u001b[2Jb", msg: "c\nd" })
  })

  it("LOG-03: is one harmless line an event on a terminal, too", () => {
    const [line = ""] = logged((log) =>
      log.warn({ port: 5100, text: "a\r\n\u001b[2Jb\u009b1m\u202e" }, "c\n\u001b[1md"),
    )
    expect(plainLine(line)).toMatch(/^\d\d:\d\d:\d\d warn {2}c \[1md port=5100 text="a\\r\\n\\u001b\[2Jb 1m "\n$/)
  })

  it("keeps below its level", () => {
    expect(logged((log) => log.debug("x"))).toEqual([])
  })
})

describe("explain", () => {
  it("P4: is one line, and cuts what is long", () => {
    expect(explain(new Error("a\nb\u001b[0m"))).toBe("a b [0m")
    expect(explain("text")).toBe("text")
    expect(printable("x".repeat(600))).toHaveLength(501)
  })

  it("finds a system error's code in its causes, and takes nothing else for one", () => {
    const refused = Object.assign(new Error("x"), { code: "ECONNREFUSED" })
    expect(systemCode(new Error("y", { cause: refused }))).toBe("ECONNREFUSED")
    expect(systemCode(Object.assign(new Error("x"), { code: "unavailable" }))).toBeNull()
    expect(systemCode("ECONNREFUSED")).toBeNull()
  })
})
