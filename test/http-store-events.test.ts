// Watching a service that is a process of its own: what one client writes the other is told within a second, a service that is killed
// is noticed, and who only watches does not keep his process alive.

import { httpStore } from "coatcheck/http"
import { expect, it, onTestFinished, vi } from "vitest"
import { type Running, sourceFlags, start, startService } from "./support/processes.ts"

/** A process of another client: it watches, says what it is told, and writes what `code` says. */
function client(url: string, code = ""): Running {
  const program = `
    import { httpStore } from "coatcheck/http"
    const store = httpStore(${JSON.stringify(url)})
    store.watch((key) => console.log("told " + key))
    ${code}
    console.log("ready")`
  return start(process.execPath, [...sourceFlags, "--input-type=module", "--eval", program])
}

it("S14: one client sees another's write within a second, null when the service is killed, and everything again when it is back", async () => {
  const service = await startService()
  const store = httpStore(service.url)
  onTestFinished(() => store.close())
  const seen: { readonly key: string | null; readonly at: number }[] = []
  store.watch?.((key) => seen.push({ key, at: performance.now() }))
  const told = async (key: string | null, from: number): Promise<number> => {
    await vi.waitFor(() => expect(seen.slice(from).map((one) => one.key)).toContain(key), { timeout: 10_000 })
    return seen.slice(from).find((one) => one.key === key)?.at ?? Number.NaN
  }
  await told(null, 0)

  const writing = `await store.set("theirs", "1"); console.log("written at " + Date.now())`
  const [, writtenAt] = await client(service.url, writing).says(/written at (\d+)/)
  const seenAt = performance.timeOrigin + (await told("theirs", 0))
  expect(seenAt - Number(writtenAt)).toBeLessThan(1_000)

  let from = seen.length
  await service.stop("SIGKILL")
  await told(null, from)

  from = seen.length
  await startService("memory:", service.port)
  const again = httpStore(service.url)
  onTestFinished(() => again.close())
  await vi.waitFor(
    async () => {
      await again.set("after", "1")
      expect(seen.slice(from).map((one) => one.key)).toContain("after")
    },
    { timeout: 10_000 },
  )
}, 40_000)

it("a process that watches and has asked ends when it has nothing else to do, whether the service is there or not", async () => {
  const service = await startService()
  for (const url of [service.url, "http://127.0.0.1:9"]) {
    const ending = await client(url, `await store.get("k").catch(() => {})`).ended
    expect(ending, url).toMatchObject({ code: 0, stderr: "" })
    expect(ending.stdout).toContain("ready")
  }
})
