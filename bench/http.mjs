// Sessions over HTTP, side by side: every round starts every server afresh, one after the other, and measures each route.
// Layout: the server on CPU 0; wrk and the services on CPU 1. 64 sessions established beforehand, 32 connections, keep-alive.

import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { get, measureSlot, QUIET } from "./lib/load.mjs"
import { withServer } from "./lib/processes.mjs"
import { inFolder } from "./lib/programs.mjs"
import { failure, median, number, percent, table } from "./lib/report.mjs"
import { servers } from "./registry.mjs"

const SESSIONS = 64

/** Measures every named server; one row a slot, or one with what failed. */
export async function measureHttp({ rounds, seconds, warmSeconds, names, log }) {
  const rows = []
  for (let round = 1; round <= rounds; round++) {
    for (const name of names) {
      try {
        for (const row of await withServer(name, (server) => routesOf(name, server, { seconds, warmSeconds }))) {
          rows.push({ round, name, ...row })
          log(
            `round ${round}/${rounds}  ${name}  ${row.route}  ${number(row.perCpuSecond)} requests per CPU second, others ${percent(row.others)}`,
          )
        }
      } catch (error) {
        rows.push({ round, name, ...failure(error) })
        log(`round ${round}/${rounds}  ${name}  failed: ${error.message}`)
      }
    }
  }
  return rows
}

function routesOf(name, server, { seconds, warmSeconds }) {
  return inFolder(async (folder) => {
    const { routes, bare, hot } = servers[name]
    const cookies = []
    for (let i = 0; bare && i < SESSIONS; i++) cookies.push(await established())
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
  })
}

/** The cookie of a new session, which must be there to be measured: a server that keeps nothing is fast. */
async function established() {
  const { cookie } = await get("/")
  const { body } = await get("/me", { cookie })
  if (body !== "me: 1") throw new Error(`a new session was not kept: /me said "${body.slice(0, 60)}"`)
  return cookie
}

/** The table of the medians, and how quiet it was. */
export function httpTable(rows) {
  const of = (name, route, field) =>
    median(rows.filter((row) => row.name === name && row.route === route).map((row) => row[field]))
  const names = [...new Set(rows.map((row) => row.name))]
  const lines = names.flatMap((name) => [
    ...[...new Set(rows.filter((row) => row.name === name && !row.failed).map((row) => row.route))].map((route) => {
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
    ...rows
      .filter((row) => row.name === name && row.failed)
      .map((row) => [name, `round ${row.round}`, row.failed, "", "", "", "", "", ""]),
  ])
  const medians = table(
    ["server", "route", "requests per CPU second", "of bare", "added µs", "requests/s", "p50 µs", "p99 µs", "bad"],
    lines,
  )
  const measured = rows.filter((row) => !row.failed)
  const loud = measured.filter((row) => row.others >= QUIET)
  return `${medians}\n\nIn ${loud.length} of ${measured.length} measurements others used ${percent(QUIET)} of the server's CPU or more, also when tried again.`
}
