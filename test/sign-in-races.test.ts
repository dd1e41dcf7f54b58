// People whose session ends on one instance while slow requests of theirs are under way on two. More rounds: test/long.

import { openStore } from "coatcheck/open"
import { describe, expect, it, onTestFinished } from "vitest"
import { sharedEngines } from "./support/engines.ts"
import { twoInstances } from "./support/instances.ts"
import { signInRaces } from "./support/sign-in-races.ts"

const ROUNDS = 60
const { SQLite, Redis } = sharedEngines

describe.each(Object.entries({ SQLite, Redis }))("sign-ins on two instances over %s", (_, start) => {
  it(`SES-03 SES-06 S16 F-CONC-4: ${ROUNDS} times an end races with slow requests: nobody sees the person after it, and no slow reply changes the cookie`, async () => {
    const engine = await start()
    onTestFinished(() => engine.close())
    const store = await openStore(engine.url, { deadline: "10s", report: () => {} })
    onTestFinished(() => store.close())
    const both = await twoInstances(engine.url)
    onTestFinished(async () => void (await Promise.all(both.map((instance) => instance.close()))))
    const totals = await signInRaces(store, both, ROUNDS)
    for (const total of Object.values(totals)) expect(total).toBeGreaterThan(ROUNDS / 10)
  })
})
