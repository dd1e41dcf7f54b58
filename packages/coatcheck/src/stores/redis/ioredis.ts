// Links by ioredis, or by iovalkey, its sister of the same shape: whichever is installed. Of the drivers they cost least CPU a call, as long
// as somebody else gathers the commands of a tick into one write; that is done here (docs/decisions has the numbers).
//
// Of the driver we use the protocol and the socket, and nothing that decides: a client is one connection, never reconnects, queues
// nothing while it is not ready, repeats nothing. Signing in and choosing the database are ordinary commands of ours, because the
// driver goes on with a warning where they are refused, and then sessions would land in another database.
//
// An error of the driver for a reply carries the command with its arguments, which are data of somebody's session: only its message
// leaves this file.

import type { Socket } from "node:net"
import { CoatcheckError } from "../../errors.ts"
import type { Endpoint } from "./address.ts"
import { RedisLinkError, RedisReplyError } from "./connection.ts"
import type { Link, LinkEvents, LinkOptions, OpenLink } from "./link.ts"

/** A command of the driver, as far as we use it. */
interface DriverCommand {
  readonly promise: Promise<unknown>
}

/** A client of the driver, as far as we use it. */
interface DriverClient {
  readonly status: string
  /** undefined until it connects. */
  readonly stream: Socket | undefined
  connect(): Promise<void>
  disconnect(): void
  sendCommand(command: DriverCommand, stream?: { write(text: string): unknown }): unknown
  on(event: "error", listener: (error: Error) => void): unknown
  on(event: "end", listener: () => void): unknown
  on(event: "messageBuffer", listener: (channel: unknown, payload: unknown) => void): unknown
}

/** Either package, as far as we use it. */
interface Driver {
  readonly Redis: new (options: object) => DriverClient
  readonly Command: new (name: string, args: readonly string[], options: { replyEncoding: "utf8" }) => DriverCommand
}

/** Where the driver may come from, in the order in which we ask. */
const installed: readonly (() => Promise<unknown>)[] = [() => import("ioredis"), () => import("iovalkey")]

/**
 * The driver that is installed.
 *
 * @param packages what to import, one behind the other until there is one. Default: ioredis, iovalkey.
 * @throws CoatcheckError `unsupported` when there is none, saying what to install.
 */
export async function loadDriver(packages: readonly (() => Promise<unknown>)[] = installed): Promise<OpenLink> {
  const causes: unknown[] = []
  for (const load of packages) {
    try {
      const driver = (await load()) as Driver // a part of what the package's own types say
      return (to, options, events) => openLink(driver, to, options, events)
    } catch (cause) {
      causes.push(cause)
    }
  }
  const message = "The redis store needs a driver: npm install ioredis"
  throw new CoatcheckError("unsupported", message, { cause: new AggregateError(causes) })
}

async function openLink(driver: Driver, to: Endpoint, options: LinkOptions, events: LinkEvents): Promise<Link> {
  const client = new driver.Redis({
    host: to.host,
    port: to.port,
    ...(options.tls !== null && { tls: options.tls }),
    // Tracking messages come in RESP2 as they do in RESP3, over one connection, and iovalkey knows no other protocol.
    protocol: 2,
    lazyConnect: true,
    connectTimeout: options.patience,
    retryStrategy: null,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    disableClientInfo: true,
    keepAlive: 5_000,
  })
  let cause: Error | null = null
  let isUp = false
  client.on("error", (error) => (cause ??= error))
  client.on("messageBuffer", (_channel, payload) => events.message?.(payload))
  client.on("end", () => {
    if (isUp) events.lost(cause ?? new Error("The server closed the connection"))
  })

  // The driver's own time-out ends with the connection; a frozen server still takes connections, and signs nobody in.
  const timer = setTimeout(() => cut(new Error("The connection was not made in time")), options.patience)
  function cut(reason: Error): void {
    cause ??= reason
    client.disconnect() // so that it means to end; by itself it would wait for the other side
    client.stream?.destroy()
  }

  const { send, counts } = sender(driver, client, () => cause, events)
  try {
    await client.connect()
    await signIn(send, options)
    isUp = true
  } catch (error) {
    cut(new Error("The connection could not be made"))
    throw error instanceof RedisReplyError ? error : (cause ?? error)
  } finally {
    clearTimeout(timer)
  }
  return {
    get owed() {
      return counts.sent - counts.answered
    },
    get answered() {
      return counts.answered
    },
    send,
    cut,
  }
}

/** Sends commands so that those of one turn of the event loop leave in one write. */
function sender(
  driver: Driver,
  client: DriverClient,
  cause: () => Error | null,
  events: LinkEvents,
): { send: Link["send"]; counts: { sent: number; answered: number } } {
  const counts = { sent: 0, answered: 0 }
  let text = ""
  let writes = 0
  const gather = {
    write(one: string): void {
      if (text === "") setImmediate(flush)
      text += one
    },
  }

  function flush(): void {
    const all = text
    text = ""
    if (client.status !== "ready" || !client.stream?.writable) return // its end is on the way, and rejects them as not sent
    writes++
    client.stream.write(all)
  }

  function send(args: readonly string[]): Promise<unknown> {
    if (client.status !== "ready")
      return Promise.reject(new RedisLinkError(false, "There is no connection to the server"))
    const command = new driver.Command(args[0] ?? "", args.slice(1), { replyEncoding: "utf8" })
    const before = writes
    client.sendCommand(command, gather)
    counts.sent++
    return command.promise.then(
      (reply) => {
        counts.answered++
        return reply
      },
      (error: unknown) => {
        counts.answered++
        const failure = verdict(error, writes > before, cause())
        if (failure.message.startsWith("READONLY")) events.readonly?.()
        throw failure
      },
    )
  }
  return { send, counts }
}

function verdict(error: unknown, sent: boolean, cause: Error | null): RedisReplyError | RedisLinkError {
  if (error instanceof Error && error.name === "ReplyError") return new RedisReplyError(error.message)
  const message = sent ? "The connection broke before the answer came" : "The connection broke before the command left"
  return new RedisLinkError(sent, message, cause === null ? {} : { cause })
}

async function signIn(send: Link["send"], { username, password, db }: LinkOptions): Promise<void> {
  const steps: Promise<unknown>[] = []
  // A user that is named is never left out: without a password it is one who needs none, or is refused.
  const user = username === undefined ? [] : [username]
  if (user.length > 0 || password !== undefined) steps.push(send(["AUTH", ...user, password ?? ""]))
  if (db !== 0) steps.push(send(["SELECT", String(db)]))
  // For people who look at CLIENT LIST, and so that there is an answer before the link counts as made. It may be forbidden.
  const named = send(["CLIENT", "SETNAME", "coatcheck"]).catch((error: unknown) => {
    if (!(error instanceof RedisReplyError) || /^(NOAUTH|ERR max)/.test(error.message)) throw error
  })
  const results = await Promise.allSettled([...steps, named])
  for (const result of results) if (result.status === "rejected") throw result.reason as Error // send rejects with nothing else
}
