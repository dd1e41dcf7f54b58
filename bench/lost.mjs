// How many of 200 parallel increments of one session are lost, 32 in flight, with and without 2 ms of other work in the handler.

import http from "node:http"
import { get } from "./lib/load.mjs"
import { withServer } from "./lib/processes.mjs"
import { median, table } from "./lib/report.mjs"
import { servers } from "./registry.mjs"

const TIMES = 200
const RUNS = 5

/** One row a server that keeps state. */
export async function measureLost({ names, log }) {
  const rows = []
  for (const name of names.filter((one) => servers[one].lost)) {
    const row = await withServer(name, async () => ({ name, plain: await lostOn("/"), slow: await lostOn("/slow") }))
    log(`${name}: ${row.plain} lost, ${row.slow} with an await`)
    rows.push(row)
  }
  return rows
}

async function lostOn(path) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 32 })
  const runs = []
  for (let run = 0; run < RUNS; run++) {
    const { cookie } = await get("/", { agent })
    const replies = await Promise.all(Array.from({ length: TIMES }, () => get(path, { cookie, agent })))
    const refused = replies.filter(({ status }) => status !== 200).length
    const { body } = await get("/me", { cookie, agent })
    runs.push(TIMES + 1 - refused - Number(/\d+/.exec(body)?.[0]))
  }
  agent.destroy()
  return median(runs)
}

export const lostTable = (rows) =>
  table(
    ["server", `lost of ${TIMES}`, "with 2 ms of other work"],
    rows.map(({ name, plain, slow }) => [name, plain, slow]),
  )
