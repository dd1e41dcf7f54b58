// What a call costs in each Redis driver: CPU time of this side for a GET and for a conditional set of 300 bytes by EVALSHA, 64 of each
// at a time as a busy server makes them. docs/decisions has what was concluded. By itself, because it needs redis-server and answers one
// question: which driver `redisStore` loads, and who gathers the commands of a tick.
//
//   node bench/redis-drivers.mjs [--rounds 7] [--calls 100000]
//
// Each round of each way is a process of its own (compiled code and garbage of one driver are not the next one's), the ways take turns,
// and the report has medians of microseconds by process.cpuUsage. The server's time is not in it.

import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { withEngine } from "./lib/engines.mjs"
import { environment, median, number, table } from "./lib/report.mjs"

const TOGETHER = 64
const value = JSON.stringify({ v: 1, data: { text: "x".repeat(276) } })
const script = `local current = redis.call('GET', KEYS[1])
if not current or string.sub(current, 1, 16) ~= ARGV[1] then return {0, current} end
redis.call('SET', KEYS[1], ARGV[2] .. ARGV[3], 'PX', ARGV[4])
return {1}`

/** Name to a function that connects and gives `send(args)` and `close()`. */
const ways = {
  "@redis/client": async (port) => {
    const { createClient } = await import("@redis/client")
    const client = createClient({ socket: { host: "127.0.0.1", port }, disableOfflineQueue: true })
    await client.on("error", ignore).connect()
    return { send: (args) => client.sendCommand(args), close: () => client.close() }
  },
  ioredis: (port) => plain("ioredis", port, {}),
  "ioredis, enableAutoPipelining": (port) => plain("ioredis", port, { enableAutoPipelining: true }),
  "ioredis, a pipeline a tick": (port) => pipelined("ioredis", port),
  "ioredis, one write a tick": (port) => gathered("ioredis", port),
  iovalkey: (port) => plain("iovalkey", port, {}),
  "iovalkey, enableAutoPipelining": (port) => plain("iovalkey", port, { enableAutoPipelining: true }),
  "iovalkey, one write a tick": (port) => gathered("iovalkey", port),
}

function ignore() {
  // Nothing fails here that would not fail a call too.
}

async function connectTo(name, port, options) {
  const { Redis } = await import(name)
  const client = new Redis({ host: "127.0.0.1", port, lazyConnect: true, enableOfflineQueue: false, ...options })
  await client.on("error", ignore).connect()
  return client
}

async function plain(name, port, options) {
  const client = await connectTo(name, port, options)
  return { send: ([command, ...args]) => client.call(command, ...args), close: () => client.disconnect() }
}

async function pipelined(name, port) {
  const client = await connectTo(name, port, {})
  let pipeline = null
  const send = ([command, ...args]) =>
    new Promise((resolve, reject) => {
      if (pipeline === null) {
        pipeline = client.pipeline()
        process.nextTick(() => {
          const whole = pipeline
          pipeline = null
          whole.exec(ignore)
        })
      }
      pipeline.call(command, ...args, (error, reply) => (error instanceof Error ? reject(error) : resolve(reply)))
    })
  return { send, close: () => client.disconnect() }
}

/** As `redisStore` does it: the driver encodes each command, and what they come to is written once, when the loop has turned. */
async function gathered(name, port) {
  const { Command } = await import(name)
  const client = await connectTo(name, port, { protocol: 2 })
  let text = ""
  const gather = {
    write(one) {
      if (text === "") setImmediate(flush)
      text += one
    },
  }
  const flush = () => {
    const all = text
    text = ""
    client.stream.write(all)
  }
  const send = ([command, ...args]) => client.sendCommand(new Command(command, args, { replyEncoding: "utf8" }), gather)
  return { send, close: () => client.disconnect() }
}

/** One round of one way: microseconds of CPU a call, after a warm-up of half as many. */
async function measure(name, port, calls) {
  const { send, close } = await ways[name](port)
  const sha = await send(["SCRIPT", "LOAD", script])
  const keys = Array.from({ length: TOGETHER }, (_, n) => `bench-${n}`)
  const versions = keys.map(() => "0".repeat(16))
  await Promise.all(keys.map((key) => send(["SET", key, `${"0".repeat(16)}${value}`])))
  let version = 0
  const kinds = {
    get: (at) => send(["GET", keys[at]]),
    set: async (at) => {
      const next = String(++version).padStart(16, "0")
      const [done] = await send(["EVALSHA", sha, "1", keys[at], versions[at], next, value, "3600000"])
      if (Number(done) !== 1) throw new Error("a conflict where none can be")
      versions[at] = next
    },
  }
  const costs = {}
  for (const [kind, one] of Object.entries(kinds)) {
    await run(one, calls / 2)
    const before = process.cpuUsage()
    await run(one, calls)
    const { user, system } = process.cpuUsage(before)
    costs[kind] = (user + system) / calls
  }
  await close()
  return costs
}

async function run(one, calls) {
  for (let made = 0; made < calls; made += TOGETHER) {
    await Promise.all(Array.from({ length: TOGETHER }, (_, at) => one(at)))
  }
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    calls: { type: "string", default: "100000" },
    way: { type: "string" },
    port: { type: "string" },
  },
})
const calls = Number(values.calls)

if (values.way === undefined) await report()
else process.stdout.write(JSON.stringify(await measure(values.way, Number(values.port), calls)))

async function report() {
  const found = Object.fromEntries(Object.keys(ways).map((name) => [name, { get: [], set: [] }]))
  await withEngine("redis", (url) => {
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const name of Object.keys(ways)) {
        const own = ["--way", name, "--port", new URL(url).port, "--calls", String(calls)]
        const { status, stdout } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...own], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "inherit"],
        })
        if (status !== 0) throw new Error(`${name} failed`)
        const { get, set } = JSON.parse(stdout)
        found[name].get.push(get)
        found[name].set.push(set)
        process.stderr.write(`${round + 1} ${name}: get ${number(get, 2)} µs, set ${number(set, 2)} µs\n`)
      }
    }
  })
  const { machine, node, commit, at } = environment()
  const rows = Object.entries(found).map(([name, { get, set }]) => [
    name,
    number(median(get), 2),
    number(median(set), 2),
  ])
  console.log(
    `${machine}; Node ${node}; commit ${commit}; ${at}; ${values.rounds} rounds of ${calls} calls, medians.\n`,
  )
  console.log(table(["way", "GET, CPU µs", "conditional set by EVALSHA, CPU µs"], rows))
}
