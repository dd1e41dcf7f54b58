// The counter as a program: settings, a store, a port, and a quiet end. The application is in counter.ts.

import { randomBytes } from "node:crypto"
import { fileURLToPath } from "node:url"
import { openStore } from "coatcheck/open"
import { createCounter } from "./counter.ts"
import { listen } from "./listen.ts"
import { readSettings, SettingError, type Settings, usage } from "./settings.ts"

async function main(): Promise<void> {
  const defaultFile = fileURLToPath(new URL("counter.cfg", import.meta.url))
  const settings = readSettings(process.argv.slice(2), process.env, defaultFile)
  if (settings === null) process.stdout.write(usage)
  else await serve(settings)
}

async function serve({ useSessionStore, storeUrl, token, secrets, host, port }: Settings): Promise<void> {
  const store = useSessionStore ? await openStore(storeUrl, token === null ? {} : { token }) : null
  if (!store && secrets.length === 0) {
    console.warn(
      "counter: SECRET_KEY is not set, so cookies are signed with a random key that ends with this process; " +
        "make a lasting one with `npx coatcheck secret`",
    )
  }
  const counter = createCounter({
    store,
    secrets: secrets.length === 0 ? [randomBytes(32).toString("base64url")] : secrets,
    service: useSessionStore ? shownAddress(storeUrl) : null,
    report: (line) => console.error(line),
  })
  const page = await listen(
    (request, response) => {
      response.once("close", () => console.log(`${request.method} ${printable(request.url)} ${response.statusCode}`))
      counter(request, response)
    },
    host,
    port,
  )

  let stopping = false
  const stop = async () => {
    if (stopping) return
    stopping = true
    await page.close()
    await store?.close()
    console.log("stopped")
    process.exit(0)
  }
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void stop())
  const where = store ? `the ${store.info.name} store` : "the cookie"
  console.log(`sessions are kept in ${where}; the page is ready at ${pageAddress(host, page.port)}`)
}

/** A service's address without what should not be shown, or null where the store is no service. */
function shownAddress(storeUrl: string): string | null {
  if (!/^https?:/i.test(storeUrl)) return null
  const { origin, pathname } = new URL(storeUrl)
  return (origin + pathname).replace(/\/+$/, "")
}

function pageAddress(host: string, port: number): string {
  const open = ["localhost", "127.0.0.1", "::1", "0.0.0.0", "::"].includes(host)
  if (open) return `http://localhost:${port}`
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`
}

// A request's target is written by strangers: nothing in it may steer a terminal or begin a line of its own.
function printable(target: string | undefined): string {
  return (target ?? "").slice(0, 200).replace(/[^\x21-\x7e]/g, "?")
}

try {
  await main()
} catch (error) {
  // One line, whatever it was: a trace says nothing to who has mistyped a setting.
  const { code, message } = error as NodeJS.ErrnoException
  const taken = "that port is already in use; choose another with --port or PORT"
  console.error(`counter: ${code === "EADDRINUSE" ? taken : message}`)
  process.exitCode = error instanceof SettingError || error instanceof TypeError ? 2 : 1
}
