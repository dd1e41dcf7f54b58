// Our key-value service over a store. STORE_URL says which.
import { createService } from "@coatcheck/server"
import { openStore } from "coatcheck/open"

const port = Number(process.env.SERVICE_PORT ?? process.env.PORT ?? 3901)
const service = createService(await openStore(process.env.STORE_URL ?? "memory:"))
await service.listen({ port, host: "127.0.0.1" })
console.log(`READY ${port}`)
