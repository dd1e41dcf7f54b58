// The two counters as a program. The application is in two-counters.ts.

import { readNeighbours } from "../shared/neighbours.ts"
import { runProgram } from "../shared/program.ts"
import { createTwoCounters } from "./two-counters.ts"

const usage = `Usage: node --conditions=@coatcheck/source --import tsx examples/two-counters/server.ts [options]

Two numbers in one session, on Fastify.

  --port N           the page's port (PORT, default 5010; 0 picks a free one)
  --host NAME        the address to listen on (HOST, default localhost)
  --store-url URL    where sessions are kept, such as sqlite:./var/two.db (STORE_URL, default http://localhost:5100)
  --help

An option wins over the environment. COATCHECK_TOKEN is the token for the service, if it asks for one.
`

await runProgram({
  name: "two-counters",
  usage,
  names: { port: "PORT", host: "HOST", defaultPort: 5010, defaultStore: () => "http://localhost:5100" },
  make: (store) =>
    createTwoCounters({
      store,
      report: (line) => console.error(line),
      neighbours: readNeighbours(process.env.EXAMPLES),
    }),
})
