// The http store over TLS, in processes that trust a certificate by NODE_EXTRA_CA_CERTS or do not: it works, it takes up its session
// again, and to somebody whom it can't trust nothing is sent.

import { execFileSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:https"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TLSSocket } from "node:tls"
import { createService } from "@coatcheck/server"
import { memoryStore } from "coatcheck/memory"
import { afterAll, expect, it, onTestFinished } from "vitest"
import { sourceFlags, start } from "./support/processes.ts"

const folder = mkdtempSync(join(tmpdir(), "coatcheck-tls-"))
const key = join(folder, "key.pem")
const cert = join(folder, "cert.pem")
afterAll(() => rmSync(folder, { recursive: true }))

it("over TLS it works with whom it trusts, and sends nothing to anybody else", async () => {
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
  execFileSync("openssl", ["req", ...kind, ...names, "-keyout", key, "-out", cert], { stdio: "pipe" })
  const store = memoryStore()
  const { handler } = createService(store, { allowHosts: ["localhost"] })
  const seen: { resumed: boolean; path: string | undefined }[] = []
  const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    seen.push({ resumed: (request.socket as TLSSocket).isSessionReused(), path: request.url })
    response.shouldKeepAlive = false // a connection a request
    handler(request, response)
  })
  server.listen(0, "localhost")
  await once(server, "listening")
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo // a TCP server has one

  const client = async (env: Record<string, string>) => {
    const program = `
      import { httpStore } from "coatcheck/http"
      const store = httpStore("https://localhost:${port}")
      const say = (outcome) => console.log(outcome)
      await store.set("k", '"é"').then(() => say("stored"), (error) => say(error.code))
      await store.get("k").then((entry) => say(entry.value), (error) => say(error.code))`
    return (await start(process.execPath, [...sourceFlags, "--input-type=module", "--eval", program], { env }).ended)
      .stdout
  }
  expect(await client({})).toBe("unavailable\nunavailable\n")
  expect([seen, (await store.list()).entries]).toEqual([[], []])
  expect(await client({ NODE_EXTRA_CA_CERTS: cert })).toBe('stored\n"é"\n')
  expect(seen).toEqual([
    { resumed: false, path: "/-/v1/batch" },
    { resumed: true, path: "/-/v1/batch" },
  ])
}, 20_000)
