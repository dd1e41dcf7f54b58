// Sessions over HTTP, side by side: every round starts every server afresh, one after the other, and measures each route.
// Layout: the server on CPU 0; wrk and the services on CPU 1. 64 sessions established beforehand, 32 connections, keep-alive.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { get, measureSlot } from "./lib/load.mjs"
import { withServer } from "./lib/processes.mjs"
import { median, number, percent, table } from "./lib/report.mjs"
import { servers } from "./registry.mjs"

const SESSIONS = 64

/** Measures every named server; one row a slot. */
export async function measureHttp({ rounds, seconds, warmSeconds, names, log }) {
  const rows = []
  for (let round = 1; round <= rounds; round++) {
    for (const name of names) {
      for (const row of await withServer(name, (server) => routesOf(name, server, { seconds, warmSeconds }))) {
        rows.push({ round, name, ...row })
        log(
          `round ${round}/${rounds}  ${name}  ${row.route}  ${number(row.perCpuSecond)} requests per CPU second, others ${percent(row.others)}`,
        )
      }
    }
  }
  return rows
}

async function routesOf(name, server, { seconds, warmSeconds }) {
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-cookies-"))
  try {
    const { routes, bare, hot } = servers[name]
    const cookies = []
    for (let i = 0; bare && i < SESSIONS; i++) cookies.push((await get("/")).cookie)
    const all = join(folder, "all")
    const one = join(folder, "one")
    writeFileSync(all, cookies.map((cookie) => `${cookie}\n`).join(""))
    writeFileSync(one, `${cookies[0]}\n`)
    const slots = routes.map((route) => ({
      route,
      path: route === "anon" ? "/plain" : route,
      cookies: route === "anon" || !bare ? "-" : all,
    }))
    if (hot) slots.push({ route: "/ one hot session", path: "/", cookies: one })
    const rows = []
    for (const { route, ...load } of slots)
      rows.push({ route, ...(await measureSlot(server, { ...load, seconds, warmSeconds })) })
    return rows
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The table of the medians. */
export function httpTable(rows) {
  const of = (name, route, field) =>
    median(rows.filter((row) => row.name === name && row.route === route).map((row) => row[field]))
  const names = [...new Set(rows.map((row) => row.name))]
  const lines = names.flatMap((name) =>
    [...new Set(rows.filter((row) => row.name === name).map((row) => row.route))].map((route) => {
      const { bare } = servers[name]
      const own = of(name, route, "perCpuSecond")
      const base = bare ? of(bare, "/plain", "perCpuSecond") : Number.NaN
      return [
        name,
        `\`${route}\``,
        number(own),
        percent(own / base),
        bare ? number(1e6 / own - 1e6 / base, 1) : "",
        number(of(name, route, "perSecond")),
        number(of(name, route, "p50")),
        number(of(name, route, "p99")),
        number(of(name, route, "bad")),
      ]
    }),
  )
  return table(
    ["server", "route", "requests per CPU second", "of bare", "added µs", "requests/s", "p50 µs", "p99 µs", "bad"],
    lines,
  )
}
