// The key-value service by itself, on SQLite, against bare node:http: single reads and durable writes, and batches of 64.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import http from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { measureSlot } from "./lib/load.mjs"
import { SERVICE_PORT, withServer, withService } from "./lib/processes.mjs"
import { median, number, percent, table } from "./lib/report.mjs"
import { user } from "./servers/common.mjs"

const BATCH = 64
const value = JSON.stringify({ v: 1, data: { user: user(), count: 1 } })

/** One row a kind of call. */
export async function measureService({ rounds, seconds, warmSeconds, log }) {
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-bodies-"))
  const file = (name, text) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const ops = (op) => JSON.stringify({ ops: Array.from({ length: BATCH }, (_, n) => op(`bench-${n}`)) })
  const record = { path: "/-/v1/records/bench-{n}", port: SERVICE_PORT }
  const batch = { path: "/-/v1/batch", method: "POST", port: SERVICE_PORT }
  const calls = {
    GET: { ...record },
    PUT: { ...record, method: "PUT", body: file("value", value) },
    "batch of 64 gets": {
      ...batch,
      body: file(
        "gets",
        ops((key) => ({ op: "get", key })),
      ),
      records: BATCH,
    },
    "batch of 64 sets": {
      ...batch,
      body: file(
        "sets",
        ops((key) => ({ op: "set", key, value: JSON.parse(value) })),
      ),
      records: BATCH,
    },
  }
  const rows = []
  const keep = (name, slot, records = 1) => {
    rows.push({ name, ...slot, records })
    log(`${name}  ${number(slot.perCpuSecond * records)} records per CPU second`)
  }
  try {
    for (let round = 1; round <= rounds; round++) {
      keep(
        "bare node:http",
        await withServer("bare-node", (server) => measureSlot(server, { path: "/plain", seconds, warmSeconds })),
      )
      await withService("service", async (server) => {
        for (let n = 0; n < BATCH; n++) await put(`bench-${n}`)
        for (const [name, { records, ...load }] of Object.entries(calls)) {
          keep(name, await measureSlot(server, { ...load, seconds, warmSeconds }), records)
        }
      })
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return rows
}

function put(key) {
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port: SERVICE_PORT,
      method: "PUT",
      path: `/-/v1/records/${key}`,
      headers: { "content-type": "application/json" },
    }
    const request = http.request(options, (response) => response.resume().on("end", resolve))
    request.on("error", reject)
    request.end(value)
  })
}

export function serviceTable(rows) {
  const of = (name) => median(rows.filter((row) => row.name === name).map((row) => row.perCpuSecond * row.records))
  const single = { "batch of 64 gets": "GET", "batch of 64 sets": "PUT" }
  const lines = [...new Set(rows.map((row) => row.name))].map((name) => [
    name,
    number(of(name)),
    percent(of(name) / of("bare node:http")),
    single[name] ? `${number(of(name) / of(single[name]), 1)} x ${single[name]}` : "",
    number(median(rows.filter((row) => row.name === name).map((row) => row.bad))),
  ])
  return table(["call", "records per CPU second", "of bare", "of single calls", "bad"], lines)
}
