// A program that opens a Postgres store, uses it, and forgets to close it.

import { openStore } from "coatcheck/open"

const [url = ""] = process.argv.slice(2)
const store = await openStore(url, { report: () => {} })
await store.set("k", "1")
await store.get("k")
process.send?.("done")
process.disconnect()
