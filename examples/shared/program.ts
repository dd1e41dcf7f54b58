// An example as a program: a store, a port, a line for each request, a quiet end; and one line for whatever goes wrong before that.

import type { RequestListener } from "node:http"
import type { Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import { listen } from "./listen.ts"
import { readSettings, SettingError, type SettingNames, type Settings } from "./settings.ts"

/** A page that is to be served. */
export interface Served {
  readonly listener: RequestListener
  readonly host: string
  readonly port: number
  /** Closed last; null: there is none. */
  readonly store: Store | null
  /** Where sessions are kept, for the first line. */
  readonly where: string
}

/** Serves a page until SIGINT or SIGTERM; then requests under way finish, and the process ends with exit code 0. */
export async function servePage({ listener, host, port, store, where }: Served): Promise<void> {
  const page = await listen(
    (request, response) => {
      const asked = `${request.method} ${printable(request.url)}`
      response.once("close", () => console.log(`${asked} ${response.statusCode}`))
      listener(request, response)
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
  console.log(`sessions are kept in ${where}; the page is ready at ${pageAddress(host, page.port)}`)
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

/** An example that has one store and few settings. */
export interface Program {
  readonly name: string
  readonly names: SettingNames
  /** What --help prints. */
  readonly usage: string
  readonly make: (store: Store, settings: Settings) => RequestListener | Promise<RequestListener>
}

/** Runs such an example. */
export async function runProgram({ name, names, usage, make }: Program): Promise<void> {
  await orOneLine(name, names.port, async () => {
    const settings = readSettings(process.argv.slice(2), process.env, names)
    if (settings === null) return void process.stdout.write(usage)
    const { storeUrl, token, host, port } = settings
    const store = await openStore(storeUrl, token === null ? {} : { token })
    const listener = await make(store, settings)
    await servePage({ listener, host, port, store, where: `the ${store.info.name} store` })
  })
}

/** Runs what may fail at its start; says in one line what went wrong: a trace says nothing to who has mistyped a setting. */
export async function orOneLine(name: string, portName: string, main: () => Promise<void>): Promise<void> {
  try {
    await main()
  } catch (error) {
    const { code, message, port } = error as NodeJS.ErrnoException & { port?: number }
    const option = portName.toLowerCase().replaceAll("_", "-")
    const taken = `port ${port} is already in use; choose another with --${option} or ${portName}`
    console.error(`${name}: ${code === "EADDRINUSE" ? taken : message}`)
    process.exitCode = error instanceof SettingError || error instanceof TypeError ? 2 : 1
  }
}
