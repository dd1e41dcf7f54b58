// `coatcheck serve`: the key-value service as a process. Settles the settings, opens the store, listens, and says in one line where, over
// what, and who may ask. Everything that can be wrong is one line on stderr and an exit code, before anything is overwritten.
//
// The first SIGTERM or SIGINT drains: requests under way get their answers, then the store is closed, exit 0. The second one ends at
// once. One trap: Ctrl-C reaches the whole foreground group, and npm sends it on to us once more; so what follows a SIGINT within a
// moment is taken for its echo.

import { CoatcheckError, type Store } from "coatcheck"
import { openStore } from "coatcheck/open"
import type { Logger } from "pino"
import { createService, type Service } from "../index.ts"
import { explain, Failure, systemCode, UsageError } from "./fail.ts"
import { createLog } from "./log.ts"
import { isLoopback, type ServeFlags, serveSettings, type ServeSettings } from "./settings.ts"
import { storeName } from "./store-name.ts"
import { readTokenFile, type TokenFile } from "./token-file.ts"

const ECHO_MS = 250
const signalNumbers = { SIGINT: 2, SIGTERM: 15 } as const

/**
 * Serves until a signal says stop.
 *
 * @throws UsageError for a bad setting; Failure when the store can't be opened or the port can't be had
 */
export async function serve(flags: ServeFlags, env: Readonly<Record<string, string | undefined>>): Promise<void> {
  const settings = serveSettings(flags, env)
  const tokens = settings.tokenFile === null ? null : await readTokenFile(settings.tokenFile)
  refuseOpenDoor(settings, tokens)
  const log = createLog(settings.logLevel, settings.logFormat)
  if (tokens?.warning) log.warn(tokens.warning)
  if (settings.storeFrom === "--store" && /\/\/[^/?#]*@/.test(settings.store)) {
    log.warn("the store's URL holds a credential that other users can see; give it by STORE_URL instead of --store")
  }
  const stopping = stopSignal(log)
  logCrashes(log)
  const store = await open(settings, env["COATCHECK_TOKEN"], log)
  try {
    const service = makeService(store, settings, tokens, log)
    const port = await listen(service, settings)
    announce(log, store, settings, port, tokens)
    await stopping
    await service.close()
  } finally {
    await store.close()
  }
  log.info("stopped")
}

/** What reaches further than this machine must know who asks. */
function refuseOpenDoor({ host }: ServeSettings, tokens: TokenFile | null): void {
  if (tokens !== null || isLoopback(host)) return
  throw new UsageError(
    `refusing to listen on ${host} without a token, where others could read and change everything: ` +
      `give --token-file (coatcheck secret --token NAME makes a line for it), or listen on 127.0.0.1`,
  )
}

/** Resolves at the first signal; the second one ends the process. */
function stopSignal(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let first: { signal: string; at: number } | null = null
    const stop = (signal: "SIGINT" | "SIGTERM"): void => {
      const now = Date.now()
      if (first === null) {
        first = { signal, at: now }
        log.info({ signal }, "stopping: requests under way get their answers; a second signal stops at once")
        resolve()
      } else if (first.signal !== "SIGINT" || now - first.at >= ECHO_MS) {
        process.exit(128 + signalNumbers[signal])
      }
    }
    process.on("SIGINT", stop)
    process.on("SIGTERM", stop)
  })
}

/** A defect ends the process, and the log says where it was; the message stays out, it may quote what was being worked on. */
function logCrashes(log: Logger): void {
  process.on("uncaughtException", (error: unknown) => {
    const { name = typeof error, stack = "" } = error instanceof Error ? error : {}
    const frames = stack.split("\n").filter((line) => /^\s+at /.test(line))
    log.fatal(
      { error: name, code: systemCode(error), at: frames.map((line) => line.trim()) },
      "a defect: please report it",
    )
    process.exit(1)
  })
}

async function open({ store: url, storeFrom }: ServeSettings, token: string | undefined, log: Logger): Promise<Store> {
  try {
    return await openStore(url, {
      ...(token ? { token } : {}), // for a store that is another service
      report: ({ store, kind, message, cause }) => log.warn({ store, kind, code: systemCode(cause) }, message),
    })
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(`${storeFrom}: ${error.message}`, { cause: error })
    throw new Failure(
      error instanceof CoatcheckError ? error.message : `${storeName(url)} can't be opened: ${explain(error)}`,
      {
        cause: error,
      },
    )
  }
}

function makeService(store: Store, { allowHosts }: ServeSettings, tokens: TokenFile | null, log: Logger): Service {
  try {
    return createService(store, { allowHosts, log, ...(tokens ? { tokens: tokens.entries } : {}) })
  } catch (error) {
    throw error instanceof TypeError ? new UsageError(error.message, { cause: error }) : error
  }
}

async function listen(service: Service, { port, host }: ServeSettings): Promise<number> {
  try {
    return (await service.listen({ port, ...(host === null ? {} : { host }) })).port
  } catch (error) {
    const reason = reasons[systemCode(error) ?? ""] ?? explain(error)
    throw new Failure(`can't listen on port ${port} of ${host ?? "localhost"}: ${reason}`, { cause: error })
  }
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "it is in use; stop what uses it, or choose another one by --port",
  EACCES: "this user may not; choose a port above 1023 by --port",
  EADDRNOTAVAIL: "this machine does not have that address",
  ENOTFOUND: "there is no such host name",
  EAI_AGAIN: "the host name can't be looked up",
}

function announce(log: Logger, store: Store, settings: ServeSettings, port: number, tokens: TokenFile | null): void {
  const url = `http://${shownHost(settings.host)}:${port}`
  const { name, durable } = store.info
  const life = durable ? "durable" : "volatile"
  const access =
    tokens === null ? "open to everybody on this machine" : `${count(tokens.entries.length)} in ${settings.tokenFile}`
  const place = storeName(settings.store)
  log.info({ url, store: name, durable, access }, `serving ${place} (${name}, ${life}) at ${url}; access: ${access}`)
  if (!durable) log.warn(`the store ${name} is volatile: what it holds is gone when this process ends`)
}

function count(tokens: number): string {
  return tokens === 1 ? "1 token" : `${tokens} tokens`
}

function shownHost(host: string | null): string {
  if (host === null) return "localhost"
  return host.includes(":") ? `[${host}]` : host
}
