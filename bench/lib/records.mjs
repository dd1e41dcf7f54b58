// Sessions as the stores see them: keys that are spread like hashes and a record of 300 bytes, written many at a time.

const TOGETHER = 1_000
export const HOUR = 3_600_000

const data = {
  id: 48151623,
  name: "Ada Lovelace",
  roles: ["editor", "reviewer"],
  locale: "en-GB",
  theme: "dark",
  pad: "",
}
const record = { v: 1, created: 1_795_176_000_000, ends: 1_795_219_200_000, owner: null, marks: {}, data }
data.pad = "x".repeat(300 - JSON.stringify(record).length)

/** The record of a session, 300 bytes of JSON. */
export const value = JSON.stringify(record)

/** The key of the n-th session: as long and as scattered as those that hashes make. */
export const keyOf = (n) =>
  `session:${((n * 2_654_435_761) % 2 ** 32).toString(36).padStart(7, "0")}${"k".repeat(28)}${n.toString(36).padStart(8, "0")}`

/** Calls `one(n)` for each session from `from` up to `to`, a thousand at a time. */
export async function each(from, to, one, { together = TOGETHER, log } = {}) {
  for (let n = from; n < to; n += together) {
    const calls = []
    for (let i = n; i < Math.min(n + together, to); i++) calls.push(one(i))
    await Promise.all(calls)
    if (log && n % 100_000 === 0) log(`  ${n} of ${to} written`)
  }
}

/** Writes sessions with the options that `options(n)` gives. */
export function fill(store, from, to, options, more) {
  return each(from, to, (n) => store.set(keyOf(n), value, options(n)), more)
}
