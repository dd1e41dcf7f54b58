// A million seals under one key: no nonce comes twice, neither in one process nor in several that began at the same moment.

import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { encryptedStore } from "coatcheck/encrypted"
import { memoryStore } from "coatcheck/memory"
import { expect, it } from "vitest"

const secret = "fS8Jq2kV0mN5pR7tX9zB1cD3fG5hK7lM9nP1qS3uW5"
const SEALS = 1_000_000
const CHARACTERS = 32 // of base64url: 24 bytes

/** The nonce of a value as it is kept. */
const nonceOf = (value: string): string => (JSON.parse(value) as { text: string }).text.slice(0, CHARACTERS)

it("CRY-04: a million seals of one value have a million nonces", async () => {
  const inner = memoryStore()
  const store = encryptedStore(inner, { secret })
  const nonces = new Set<string>()
  for (let at = 0; at < SEALS; at++) {
    await store.set("k", "1")
    nonces.add(nonceOf((await inner.get("k"))?.value ?? ""))
  }
  expect(nonces.size).toBe(SEALS)
})

it("CRY-04: eight processes that begin together share none", async () => {
  const program = `
    const { encryptedStore } = await import("coatcheck/encrypted")
    const { memoryStore } = await import("coatcheck/memory")
    const inner = memoryStore()
    const store = encryptedStore(inner, { secret: ${JSON.stringify(secret)} })
    for (let at = 0; at < 10_000; at++) {
      await store.set("k", "1")
      console.log(JSON.parse((await inner.get("k")).value).text.slice(0, ${CHARACTERS}))
    }`
  const node = ["--conditions=@coatcheck/source", "--import", "tsx", "--input-type=module", "--eval", program]
  const run = (): Promise<{ stdout: string }> => promisify(execFile)(process.execPath, node, { maxBuffer: 2 ** 24 })
  const outputs = await Promise.all(Array.from({ length: 8 }, run))
  const nonces = outputs.flatMap(({ stdout }) => stdout.trim().split("\n"))
  expect(nonces).toHaveLength(80_000)
  expect(new Set(nonces).size).toBe(80_000)
})
