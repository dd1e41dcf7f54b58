// The values as a program. The application is in values.ts. The default store is a folder of this instance's own, which is what goes
// wrong behind a load balancer, and what STORE_URL mends.

import { readNeighbours } from "../shared/neighbours.ts"
import { runProgram } from "../shared/program.ts"
import { createValues } from "./values.ts"

const usage = `Usage: node --conditions=@coatcheck/source --import tsx examples/values/server.ts [options]

A value in a session, and the port of the process that served it, on Hono.

  --app-port N       the page's port (APP_PORT, default 5020; 0 picks a free one)
  --app-host NAME    the address to listen on (APP_HOST, default localhost)
  --store-url URL    where sessions are kept, such as memory: or redis://localhost:6379
                     (STORE_URL, default file:./var/values-PORT, a folder of this instance's own)
  --help

An option wins over the environment. COATCHECK_TOKEN is the token for the service, if it asks for one.
`

await runProgram({
  name: "values",
  usage,
  names: {
    port: "APP_PORT",
    host: "APP_HOST",
    defaultPort: 5020,
    defaultStore: (port) => `file:./var/values-${port}`,
  },
  make: (store, { storeUrl }) =>
    createValues({
      store,
      storeUrl,
      report: (line) => console.error(line),
      neighbours: readNeighbours(process.env.EXAMPLES),
    }),
})
