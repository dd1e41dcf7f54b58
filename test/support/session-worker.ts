// One instance of an application, as a process of its own: it opens a store by URL and works on one session on command: increments
// it by many clients at once, or holds a request open, with its change not kept yet, while something else happens. Commands come by IPC, answers go the same way, so that a test decides what runs at the same time.

import { setTimeout as wait } from "node:timers/promises"
import { CoatcheckError, createSessions, type Duration, type Exchange, type Session } from "coatcheck"
import { openStore } from "coatcheck/open"

/** What a test may ask for. */
export type Command =
  | ({ readonly do: "increment" } & Increments)
  /** Reads the session and adds one, but does not commit yet. Answers "read". */
  | { readonly do: "read"; readonly cookie: string }
  /** Ends the request that "read" began, by a commit or by an `update` before it. Answers with Written. */
  | { readonly do: "write"; readonly how: "update" | "assign" }
  /** Signs the session out in a request of its own. Answers "reset". */
  | { readonly do: "reset"; readonly cookie: string }
  /** Many slow requests of one session, and perhaps its end, each at a moment of its own. Answers with Raced. */
  | ({ readonly do: "race" } & Race)
  | { readonly do: "close" }

/** Increments of one session by so many clients at once, so many times or for so long. */
export interface Increments {
  readonly how: "update" | "assign"
  readonly cookie: string
  readonly times: number | { readonly ms: number }
  readonly clients: number
}

/** How the increments came out. */
export interface Tally {
  readonly acknowledged: number
  readonly unknown: number
  readonly failed: number
  readonly codes: readonly string[]
  /** Conflicts that the process met and merged. */
  readonly conflicts: number
  readonly longestMs: number
}

/** Requests of one session that overlap. */
export interface Race {
  readonly cookie: string
  /** Whose session it is. */
  readonly owner: string
  readonly requests: number
  readonly ending: Ending | null
}

/** How a session, or its id, comes to an end. */
export type Ending = "sign-in" | "new id" | "sign-out" | "revoke"

/** What came of them. Times are nanoseconds of the machine's clock, which all its processes share. */
export interface Raced {
  readonly requests: readonly RacedRequest[]
  readonly ending: RacedEnding | null
}

/** One slow request. */
export interface RacedRequest {
  readonly begun: number
  readonly isNew: boolean
  readonly owner: string | null
  readonly setCookie: string | null
  /** Of the error, if there was one. */
  readonly code: string | null
}

/** What ended the session. */
export interface RacedEnding {
  readonly begun: number
  readonly done: number
  readonly setCookie: string | null
  readonly code: string | null
}

/** How a request that was held open ended. */
export interface Written {
  readonly tally: Tally
  /** What the reply would tell the browser; null: nothing. */
  readonly setCookie: string | null
}

// On a busy machine an engine may take its time; that a call ends within its deadline is shown elsewhere.
const [url = "", deadline = "10s"] = process.argv.slice(2)
const store = await openStore(url, { deadline: deadline as Duration, report: () => {} }) // the store checks what it is given
let conflicts = 0
const sessions = createSessions<{ count: number }>({
  store,
  rules: { count: "add" },
  deadline: "20s",
  onEvent: ({ type }) => {
    if (type === "conflict") conflicts++
  },
})
const exchange = (cookie: string): Exchange => ({ cookie, secure: false, sent: false, attach() {} })

async function increment(how: "update" | "assign", cookie: string): Promise<void> {
  const session = await sessions.open(exchange(cookie))
  if (session.isNew) throw new CoatcheckError("ended", "the session is not there")
  if (how === "update") {
    await session.update((data) => {
      data.count = (data.count ?? 0) + 1
    })
  } else {
    await wait(Math.random() * 3) // a handler that does something between reading and writing
    session.data.count = (session.data.count ?? 0) + 1
  }
  await session.commit()
}

async function run({ how, cookie, times, clients }: Increments): Promise<Tally> {
  let left = typeof times === "number" ? times : Infinity
  const end = typeof times === "number" ? Infinity : performance.now() + times.ms
  const tallies: Tally[] = []
  const client = async () => {
    while (left-- > 0 && performance.now() < end) {
      const tally = await tallyOf(() => increment(how, cookie))
      tallies.push(tally)
      // People who see an error take a breath.
      if (tally.acknowledged === 0 && end < Infinity) await wait(20 + Math.random() * 30)
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  const sum = (field: "acknowledged" | "unknown" | "failed") => tallies.reduce((all, tally) => all + tally[field], 0)
  return {
    acknowledged: sum("acknowledged"),
    unknown: sum("unknown"),
    failed: sum("failed"),
    codes: [...new Set(tallies.flatMap(({ codes }) => codes))],
    conflicts,
    longestMs: tallies.reduce((longest, { longestMs }) => Math.max(longest, longestMs), 0),
  }
}

async function tallyOf(work: () => Promise<unknown>): Promise<Tally> {
  const start = performance.now()
  const tally = { acknowledged: 0, unknown: 0, failed: 0, codes: [] as string[] }
  try {
    await work()
    tally.acknowledged++
  } catch (error) {
    const code = error instanceof CoatcheckError ? error.code : String(error)
    if (code === "unknown-outcome") tally.unknown++
    else tally.failed++
    tally.codes.push(code)
  }
  return { ...tally, conflicts, longestMs: performance.now() - start }
}

let begun: Session<{ count: number }> | null = null

async function write(how: "update" | "assign"): Promise<Written> {
  let setCookie: string | null = null
  const tally = await tallyOf(async () => {
    if (how === "update") await begun?.update((data) => void (data.count = (data.count ?? 0) + 1))
    setCookie = (await begun?.commit())?.setCookie ?? null
  })
  return { tally, setCookie }
}

const now = (): number => Number(process.hrtime.bigint())
const codeOf = (error: unknown): string => (error instanceof CoatcheckError ? error.code : String(error))
const LONGEST_MS = 8

async function race({ cookie, owner, requests, ending }: Race): Promise<Raced> {
  const [ended, ...slow] = await Promise.all([
    ending && endSlowly(cookie, owner, ending),
    ...Array.from({ length: requests }, () => visitSlowly(cookie)),
  ])
  return { requests: slow, ending: ended }
}

async function visitSlowly(cookie: string): Promise<RacedRequest> {
  await wait(Math.random() * LONGEST_MS)
  const begun = now()
  const session = await sessions.open(exchange(cookie))
  const { isNew, owner } = session
  let code: string | null = null
  let setCookie: string | null = null
  try {
    const kind = Math.random()
    if (!isNew && kind < 0.6) session.data.count = (session.data.count ?? 0) + 1
    await wait(Math.random() * LONGEST_MS)
    if (!isNew && kind > 0.4) await session.update((data) => void (data.count = (data.count ?? 0) + 1))
  } catch (error) {
    code = codeOf(error)
  }
  try {
    ;({ setCookie } = await session.commit())
  } catch (error) {
    code = codeOf(error)
  }
  return { begun, isNew, owner, setCookie, code }
}

async function endSlowly(cookie: string, owner: string, ending: Ending): Promise<RacedEnding> {
  await wait(Math.random() * LONGEST_MS)
  const begun = now()
  const session = await sessions.open(exchange(cookie))
  let code: string | null = null
  try {
    if (ending === "sign-in") await session.signIn(owner)
    else if (ending === "new id") await session.regenerate()
    else if (ending === "sign-out") await session.signOut()
    else await sessions.revoke({ owner })
  } catch (error) {
    code = codeOf(error)
  }
  const done = now()
  const { setCookie } = await session.commit()
  return { begun, done, setCookie, code }
}

async function obey(command: Command): Promise<unknown> {
  switch (command.do) {
    case "increment":
      return run(command)
    case "read":
      begun = await sessions.open(exchange(command.cookie))
      begun.data.count = (begun.data.count ?? 0) + 1
      return "read"
    case "write":
      return write(command.how)
    case "reset": {
      const session = await sessions.open(exchange(command.cookie))
      await session.destroy()
      await session.commit()
      return "reset"
    }
    case "race":
      return race(command)
    case "close":
      await store.close()
      process.disconnect()
  }
}

process.on("message", (command: Command) => {
  void obey(command).then((answer) => answer !== undefined && process.send?.(answer))
})
process.send?.("ready")
