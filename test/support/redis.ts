// Real Redis servers for tests: one node, Sentinel and Cluster, on free ports of 127.0.0.1 and in temporary folders. They are waited for
// by what they say and by what they answer, stopped, killed, frozen and started again by their own pid, and gone when the file's tests
// are. Administration goes through redis-cli, so that no driver under test has a hand in it.

import { execFile } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { env } from "node:process"
import { promisify } from "node:util"
import { afterAll } from "vitest"
import { freePort, type Running, start } from "./processes.ts"

const run = promisify(execFile)

/** How a server is started. */
export interface RedisOptions {
  /** Lines of redis.conf, by name: `{ appendonly: "yes", maxmemory: "8mb" }`. */
  readonly config?: Readonly<Record<string, string>>
  /** ACL rules, such as "ann on >secret ~* &* +@all". */
  readonly users?: readonly string[]
  /** The default user's password. Default: none is asked for. */
  readonly password?: string
  /** Serve TLS, and nothing else, with this certificate. */
  readonly tls?: Certificate
}

/** A self-signed certificate for localhost and 127.0.0.1; it is its own authority. Paths of PEM files. */
export interface Certificate {
  readonly cert: string
  readonly key: string
}

/** A server; see the head of the file. */
export interface RedisServer {
  readonly port: number
  /** `redis://127.0.0.1:port`, or `rediss://localhost:port`. */
  readonly url: string
  readonly folder: string
  /** Of the process that runs now, or ran last. */
  readonly pid: number
  /** Sends a command by redis-cli and gives its answer as text. Rejects when it is an error. */
  command(...args: string[]): Promise<string>
  /** A field of INFO. */
  info(field: string): Promise<string>
  /** Starts it again as it was: port, folder, settings. Resolves when it takes commands; `loading`: as soon as it listens. */
  start(until?: "ready" | "loading"): Promise<void>
  /** SIGTERM, and waits for the end. */
  stop(): Promise<void>
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>
  /** SIGSTOP: connections stay, nothing answers. */
  freeze(): void
  /** SIGCONT. */
  thaw(): void
}

/** One primary, two replicas, three sentinels. */
export interface SentinelSet {
  /** The name that the sentinels know the primary by. */
  readonly name: string
  readonly servers: readonly RedisServer[]
  readonly sentinels: readonly RedisServer[]
  /** `redis+sentinel://host:port,…/name` */
  readonly url: string
  /** The server that most of the living sentinels call the primary. */
  primary(): Promise<RedisServer>
}

/** Three primaries with a replica each. */
export interface RedisCluster {
  readonly nodes: readonly RedisServer[]
  /** `redis+cluster://host:port,…` of all nodes. */
  readonly url: string
  /** Nodes that have slots now, as a node that lives sees it. */
  primaries(): Promise<RedisServer[]>
  /** The primary that has the slot of a key. */
  primaryOf(key: string): Promise<RedisServer>
  /** The id of a node in the cluster. */
  idOf(node: RedisServer): Promise<string>
}

const folders = new Set<string>()
const servers = new Set<{ readonly process: Running }>()

afterAll(async () => {
  const ends = [...servers].map(({ process: { child, ended } }) => {
    // A frozen server takes no other signal.
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL")
    return ended
  })
  await Promise.all(ends)
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** A folder that is removed after the file's tests. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-redis-"))
  folders.add(folder)
  return folder
}

/** Resolves when the condition holds; looks every 20 ms, and gives up after `seconds`. A condition that throws does not hold. */
export async function until(what: string, condition: () => unknown, seconds = 20): Promise<void> {
  const end = Date.now() + seconds * 1_000
  for (;;) {
    let failure: unknown
    try {
      if (await condition()) return
    } catch (error) {
      failure = error
    }
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`, { cause: failure })
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Makes a certificate with openssl. */
export async function makeCertificate(): Promise<Certificate> {
  const folder = temporaryFolder()
  const cert = join(folder, "cert.pem")
  const key = join(folder, "key.pem")
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
  await run("openssl", ["req", ...kind, ...subject, "-keyout", key, "-out", cert])
  return { cert, key }
}

/** Starts one server. Data stays in memory unless `config` says otherwise. */
export function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  return startServer((port) => settings(port, options), options)
}

/** Starts a primary with two replicas, and three sentinels that know each other and all of them. */
export async function startSentinel(options: RedisOptions = {}): Promise<SentinelSet> {
  const name = "main"
  const quick = { "repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1" }
  const primary = await startRedis({ ...options, config: { ...quick, ...options.config } })
  const following = { ...quick, ...options.config, replicaof: `127.0.0.1 ${primary.port}` }
  const replicas = await Promise.all([1, 2].map(() => startRedis({ ...options, config: following })))
  await until("both replicas follow", async () => /^2$/.test(await primary.info("connected_slaves")))
  await Promise.all(
    replicas.map((one) => until("the replica is in sync", async () => (await one.info("master_link_status")) === "up")),
  )
  const sentinels = await Promise.all(
    [1, 2, 3].map(() =>
      startServer((port) => [
        ...network(port),
        `sentinel monitor ${name} 127.0.0.1 ${primary.port} 2`,
        `sentinel down-after-milliseconds ${name} 1000`,
        `sentinel failover-timeout ${name} 3000`,
        `sentinel parallel-syncs ${name} 2`,
      ]),
    ),
  )
  for (const sentinel of sentinels) {
    await until("each sentinel knows the others and the replicas", async () => {
      const state = await sentinel.command("SENTINEL", "MASTER", name)
      return /num-slaves\n2\n/.test(state) && /num-other-sentinels\n2\n/.test(state)
    })
  }
  const members = [primary, ...replicas]
  return {
    name,
    servers: members,
    sentinels,
    url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",")}/${name}`,
    async primary() {
      const votes = new Map<number, number>()
      for (const sentinel of sentinels) {
        const answer = await sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name).catch(() => "")
        const port = Number(answer.split("\n")[1])
        votes.set(port, (votes.get(port) ?? 0) + 1)
      }
      const winner = members.find(({ port }) => (votes.get(port) ?? 0) >= 2)
      if (winner === undefined) throw new Error("the sentinels do not agree on a primary")
      return winner
    },
  }
}

/** Starts a cluster of three primaries and three replicas, with a node timeout of 1.5 s. */
export async function startCluster(options: RedisOptions = {}): Promise<RedisCluster> {
  const clustered = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "1500",
    "repl-diskless-sync-delay": "0",
    ...options.config,
  }
  const nodes: RedisServer[] = []
  // One behind the other: each asks for two free ports, and 10,000 further on is only checked, not held.
  for (let at = 0; at < 6; at++) nodes.push(await startRedis({ ...options, config: clustered }))
  const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`)
  await run("redis-cli", ["--cluster", "create", ...addresses, "--cluster-replicas", "1", "--cluster-yes"], {
    env: cliEnvironment(options),
  })
  await Promise.all(
    nodes.map((node) =>
      until("the cluster is whole", async () => {
        const [info, view] = await Promise.all([node.command("CLUSTER", "INFO"), node.command("CLUSTER", "NODES")])
        const replica = (await node.info("role")) === "slave"
        const inSync = !replica || (await node.info("master_link_status")) === "up"
        return /cluster_state:ok/.test(info) && view.match(/\bslave\b/g)?.length === 3 && inSync
      }),
    ),
  )

  async function view(): Promise<{ id: string; port: number; slots: [number, number][]; primary: boolean }[]> {
    for (const node of nodes) {
      const text = await node.command("CLUSTER", "NODES").catch(() => "")
      const lines = text.split("\n").filter((line) => line !== "")
      if (lines.length === 0) continue
      return lines.map((line) => {
        const [id = "", address = "", flags = "", , , , , , ...ranges] = line.split(" ")
        const slots = ranges
          .filter((range) => !range.startsWith("["))
          .map((range): [number, number] => {
            const [from = "", to = from] = range.split("-")
            return [Number(from), Number(to)]
          })
        const primary = flags.includes("master") && !flags.includes("fail") && slots.length > 0
        return { id, port: Number(/:(\d+)@/.exec(address)?.[1]), slots, primary }
      })
    }
    throw new Error("no node of the cluster answers")
  }
  const nodeAt = (port: number): RedisServer => {
    const node = nodes.find((one) => one.port === port)
    if (node === undefined) throw new Error("the cluster names a node that is none of ours")
    return node
  }

  return {
    nodes,
    url: `redis+cluster://${addresses.join(",")}`,
    primaries: async () => (await view()).filter(({ primary }) => primary).map(({ port }) => nodeAt(port)),
    async primaryOf(key) {
      const slot = Number(await (nodes[0] as RedisServer).command("CLUSTER", "KEYSLOT", key)) // there are six
      const owner = (await view()).find(({ slots }) => slots.some(([from, to]) => from <= slot && slot <= to))
      if (owner === undefined) throw new Error("nobody has the slot")
      return nodeAt(owner.port)
    },
    idOf: (node) => node.command("CLUSTER", "MYID"),
  }
}

const network = (port: number): string[] => [`port ${port}`, "bind 127.0.0.1", "protected-mode no"]

function settings(port: number, { config = {}, users = [], password, tls }: RedisOptions): string[] {
  const listen =
    tls === undefined
      ? network(port)
      : [
          ...network(0),
          `tls-port ${port}`,
          `tls-cert-file ${tls.cert}`,
          `tls-key-file ${tls.key}`,
          `tls-ca-cert-file ${tls.cert}`,
          "tls-auth-clients no",
        ]
  return [
    ...listen,
    ...(config["save"] === undefined ? ['save ""'] : []),
    "enable-debug-command local",
    ...(password === undefined ? [] : [`requirepass ${password}`]),
    ...users.map((user) => `user ${user}`),
    ...Object.entries(config).map(([name, value]) => `${name} ${value}`),
  ]
}

function cliEnvironment({ password }: RedisOptions): NodeJS.ProcessEnv {
  return { PATH: env["PATH"], ...(password !== undefined && { REDISCLI_AUTH: password }) }
}

/** Starts a server on a free port; on another one when somebody else was faster. */
async function startServer(lines: (port: number) => string[], options: RedisOptions = {}): Promise<RedisServer> {
  for (;;) {
    const clustered = options.config?.["cluster-enabled"] === "yes"
    const port = await freePort(...(clustered ? [10_000] : []))
    if (clustered && port > 55_535) continue
    const folder = temporaryFolder()
    writeFileSync(join(folder, "redis.conf"), `${[...lines(port), `dir ${folder}`].join("\n")}\n`)
    try {
      return await serverIn(folder, port, lines(port), options)
    } catch (error) {
      if (!/Address already in use|Could not create server TCP/.test(String(error))) throw error
    }
  }
}

async function serverIn(
  folder: string,
  port: number,
  lines: readonly string[],
  options: RedisOptions,
): Promise<RedisServer> {
  const sentinel = lines.some((line) => line.startsWith("sentinel "))
  const secure = options.tls === undefined ? [] : ["--tls", "--cacert", options.tls.cert]
  const state = { process: spawnIn() }
  servers.add(state)

  function spawnIn(): Running {
    return start("redis-server", [join(folder, "redis.conf"), ...(sentinel ? ["--sentinel"] : [])], { cwd: folder })
  }

  const ready = sentinel ? /Sentinel ID is/ : /Ready to accept connections/
  const server: RedisServer = {
    port,
    url: options.tls === undefined ? `redis://127.0.0.1:${port}` : `rediss://localhost:${port}`,
    folder,
    get pid() {
      return state.process.child.pid as number // it was started
    },
    async command(...args) {
      const host = options.tls === undefined ? "127.0.0.1" : "localhost"
      const call = ["-e", "-h", host, "-p", String(port), ...secure, ...args]
      const { stdout } = await run("redis-cli", call, { env: cliEnvironment(options), timeout: 10_000 })
      return stdout.replace(/\n$/, "")
    },
    async info(field) {
      const text = await server.command("INFO")
      return new RegExp(`^${field}:(.*?)\r?$`, "m").exec(text)?.[1] ?? ""
    },
    async start(wanted = "ready") {
      state.process = spawnIn()
      await state.process.says(wanted === "ready" ? ready : /Server initialized/)
    },
    async stop() {
      await state.process.stop()
    },
    async kill() {
      await state.process.stop("SIGKILL")
    },
    freeze: () => void state.process.child.kill("SIGSTOP"),
    thaw: () => void state.process.child.kill("SIGCONT"),
  }
  await state.process.says(ready)
  return server
}
