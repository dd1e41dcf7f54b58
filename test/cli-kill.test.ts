// kill -9 of a service on SQLite while writes are under way, at twenty different moments: what was acknowledged is there afterwards, and
// the service is back soon. Each start reads the whole of what the kills before left behind.

import { mkdtempSync, rmSync } from "node:fs"
import { Agent, request } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, it } from "vitest"
import { type Running, startService } from "./support/processes.ts"

const rounds = 20
const writes = 1_000
const atOnce = 32
const folder = mkdtempSync(join(tmpdir(), "coatcheck-kill-"))

afterAll(() => rmSync(folder, { recursive: true }))

/** Writes keys of a round until the service is gone. Calls back at each acknowledgement. */
async function writeUntilGone(url: string, round: number, acknowledged: (key: string) => void): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: atOnce })
  let next = 0
  const one = (key: string): Promise<number | undefined> =>
    new Promise((resolve) => {
      const sent = request(`${url}/-/v1/records/${key}`, { method: "PUT", agent }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode))
        response.on("error", () => resolve(undefined))
      })
      sent.on("error", () => resolve(undefined))
      sent.end(JSON.stringify(key))
    })
  const worker = async (): Promise<void> => {
    while (next < writes) {
      const key = `${round}-${(next += 1)}`
      const status = await one(key)
      if (status === undefined) return
      expect(status).toBe(201)
      acknowledged(key)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  agent.destroy()
}

async function readAll(url: string): Promise<Map<string, unknown>> {
  const reply = await fetch(`${url}/-/v1/records`, { headers: { accept: "application/x-ndjson" } })
  const lines = (await reply.text()).split("\n").filter(Boolean)
  return new Map(
    lines.map((line) => {
      const { key, value } = JSON.parse(line) as { key: string; value: unknown }
      return [key, value]
    }),
  )
}

it("K14: no acknowledged write is lost by a kill in the middle of them, in twenty rounds, and it is back within 2 s", async () => {
  const acknowledged = new Set<string>()
  const starts: number[] = []
  const store = `sqlite:${join(folder, "killed.db")}`
  const restart = async (): Promise<Running & { url: string }> => {
    const from = performance.now()
    const service = await startService(store)
    starts.push(performance.now() - from)
    return service
  }
  for (let round = 1; round <= rounds; round += 1) {
    const service = await restart()
    let left = (writes / (rounds + 1)) * round
    await writeUntilGone(service.url, round, (key) => {
      acknowledged.add(key)
      left -= 1
      if (left <= 0) service.child.kill("SIGKILL")
    })
    expect(left).toBeLessThanOrEqual(0) // otherwise nobody has killed it
    expect((await service.ended).signal).toBe("SIGKILL")
  }
  const service = await restart()
  const kept = await readAll(service.url)
  expect((await service.stop()).code).toBe(0)
  expect(acknowledged.size).toBeGreaterThan((rounds * writes) / 2)
  expect([...acknowledged].filter((key) => kept.get(key) !== key)).toEqual([])
  expect(kept.size).toBeLessThanOrEqual(rounds * writes)
  // A busy machine may delay one start; it does not delay half of them.
  const median = starts.toSorted((a, b) => a - b)[rounds / 2]
  expect(median).toBeLessThan(2_000)
}, 120_000)
