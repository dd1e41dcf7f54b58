// How many of 200 parallel increments of one session are lost, 32 in flight, with and without 2 ms of other work in the handler; on one
// process, and on two that share what they keep, each getting every other request.

import http from "node:http"
import { get } from "./lib/load.mjs"
import { PORT, SECOND_PORT, withServers } from "./lib/processes.mjs"
import { failure, median, table } from "./lib/report.mjs"
import { servers } from "./registry.mjs"

const TIMES = 200
const RUNS = 5
const TOGETHER = 32

/** One row a server that keeps state, or one with what failed. */
export async function measureLost({ names, log }) {
  const rows = []
  for (const name of names.filter((one) => servers[one].lost)) {
    try {
      const one = await withServers(name, [PORT], () => lostOn([PORT]))
      const ports = [PORT, SECOND_PORT]
      const two = servers[name].shared ? await withServers(name, ports, () => lostOn(ports)) : null
      rows.push({ name, one, two })
      log(`${name}: ${JSON.stringify({ one, two })}`)
    } catch (error) {
      rows.push({ name, ...failure(error) })
      log(`${name} failed: ${error.message}`)
    }
  }
  return rows
}

async function lostOn(ports) {
  return { plain: await increments("/", ports), slow: await increments("/slow", ports) }
}

/** What is missing in the end, of the increments that were answered with success; and how many were not. */
async function increments(path, ports) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: TOGETHER / ports.length })
  const runs = []
  for (let run = 0; run < RUNS; run++) {
    const { cookie } = await get("/", { agent })
    const replies = await Promise.all(
      Array.from({ length: TIMES }, (_, n) => get(path, { cookie, agent, port: ports[n % ports.length] })),
    )
    const refused = replies.filter(({ status }) => status !== 200).length
    // Who has a copy nearby may be a moment behind, but whoever wrote last is not.
    const seen = await Promise.all(ports.map((port) => get("/me", { cookie, agent, port })))
    const count = Math.max(...seen.map(({ body }) => Number(/\d+/.exec(body)?.[0])))
    if (Number.isNaN(count)) throw new Error("the count could not be read")
    runs.push({ lost: TIMES + 1 - refused - count, refused })
  }
  agent.destroy()
  return { lost: median(runs.map(({ lost }) => lost)), refused: runs.reduce((sum, { refused }) => sum + refused, 0) }
}

export function lostTable(rows) {
  const cell = ({ lost, refused }) => (refused > 0 ? `${lost}, and ${refused} of ${RUNS * TIMES} refused` : lost)
  return table(
    ["server", `lost of ${TIMES}`, "with 2 ms of other work", "two processes", "two, with 2 ms of other work"],
    rows.map(({ name, failed, one, two }) =>
      failed
        ? [name, failed, "", "", ""]
        : [name, cell(one.plain), cell(one.slow), ...(two ? [cell(two.plain), cell(two.slow)] : ["not shared", ""])],
    ),
  )
}
