// The counter as a program: settings, a store, a port, and a quiet end. The application is in counter.ts.

import { randomBytes } from "node:crypto"
import { fileURLToPath } from "node:url"
import { openStore } from "coatcheck/open"
import { readNeighbours } from "../shared/neighbours.ts"
import { orOneLine, servePage } from "../shared/program.ts"
import { createCounter } from "./counter.ts"
import { readSettings, type Settings, usage } from "./settings.ts"

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
  const listener = createCounter({
    store,
    secrets: secrets.length === 0 ? [randomBytes(32).toString("base64url")] : secrets,
    service: useSessionStore ? shownAddress(storeUrl) : null,
    report: (line) => console.error(line),
    neighbours: readNeighbours(process.env.EXAMPLES),
  })
  const where = store ? `the ${store.info.name} store` : "the cookie"
  await servePage({ listener, host, port, store, where })
}

/** A service's address without what should not be shown, or null where the store is no service. */
function shownAddress(storeUrl: string): string | null {
  if (!/^https?:/i.test(storeUrl)) return null
  const { origin, pathname } = new URL(storeUrl)
  return (origin + pathname).replace(/\/+$/, "")
}

await orOneLine("counter", "PORT", main)
