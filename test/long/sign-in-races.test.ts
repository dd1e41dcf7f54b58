// People whose session ends on one instance while slow requests of theirs are under way on two, a thousand times over every engine.

import { openStore } from "coatcheck/open"
import { describe, expect, it, onTestFinished } from "vitest"
import { sharedEngines } from "../support/engines.ts"
import { twoInstances } from "../support/instances.ts"
import { signInRaces } from "../support/sign-in-races.ts"

const ROUNDS = 1_000

describe.each(Object.entries(sharedEngines))("sign-ins on two instances over %s", (name, start) => {
  it(`SES-03 SES-06 S16 F-CONC-4: ${ROUNDS} times an end races with slow requests: nobody sees the person after it, and no slow reply changes the cookie`, async () => {
    const engine = await start()
    onTestFinished(() => engine.close())
    const store = await openStore(engine.url, { deadline: "10s", report: () => {} })
    onTestFinished(() => store.close())
    const both = await twoInstances(engine.url)
    onTestFinished(async () => void (await Promise.all(both.map((instance) => instance.close()))))
    const totals = await signInRaces(store, both, ROUNDS)
    console.log(`${name}: ${JSON.stringify(totals)}`)
    for (const total of Object.values(totals)) expect(total).toBeGreaterThan(ROUNDS / 10)
  })
})
