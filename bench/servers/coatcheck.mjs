// Sessions as every server of ours has them. STORE_URL says where records are kept, NEAR_CACHE=true puts the near-cache before it;
// CARRIER=signed keeps them in the cookie instead.
import { createSessions } from "coatcheck"
import { cachedStore } from "coatcheck/cached"
import { openStore } from "coatcheck/open"
import { SECRET } from "./common.mjs"

const { CARRIER: carrier = "store", STORE_URL: url = "memory:", NEAR_CACHE: near } = process.env
const limits = { absolute: "24h", idle: "24h" }

export const sessions =
  carrier === "signed"
    ? createSessions({ carrier, secret: SECRET, ...limits })
    : createSessions({ store: await open(), rules: { count: "add" }, ...limits })

async function open() {
  const store = await openStore(url)
  return near === "true" ? cachedStore(store) : store
}
