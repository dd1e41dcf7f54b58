// What every measured server shares: where it listens, what it puts into a new session (some 220 bytes of JSON and a counter),
// and the routes it answers.
//   /       counter: read the session, add one, answer when the write is acknowledged
//   /me     read only
//   /plain  the session system is installed, the handler never names the session
//   /slow   counter with 2 ms of other work between reading and writing (lost updates only)

import { setTimeout as wait } from "node:timers/promises"

export const PORT = Number(process.env.PORT ?? 3900)
export const HOST = "127.0.0.1"
export const SECRET = "Zr8uGm2Qw7Xk4Lp9Vt1Ny6Bc3Hd5Jf0a-bench-only"
export const text = "text/plain; charset=utf-8"

export const user = () => ({
  id: 48151623,
  name: "Ada Lovelace",
  email: "ada@example.org",
  roles: ["editor", "reviewer"],
  locale: "en-GB",
  theme: "dark",
  token: "q83vEjRWeJCrze8BI0VniavN7wEjRWeJ",
  lastSeen: "2026-01-02T03:04:05.678Z",
})

/** Adds one to a session's counter, and fills it when it is new. */
export function bump(data) {
  data.user ??= user()
  data.count = (data.count ?? 0) + 1
  return data.count
}

export const pause = () => wait(2)
export const ready = () => console.log(`READY ${PORT}`)
