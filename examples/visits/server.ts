// The visits as a program. The application is in visits.ts.

import { readNeighbours } from "../shared/neighbours.ts"
import { runProgram } from "../shared/program.ts"
import { createVisits } from "./visits.ts"

const usage = `Usage: node --conditions=@coatcheck/source --import tsx examples/visits/server.ts [options]

Signing in by a name, and a count of visits that lapses, on Express.

  --port N           the page's port (PORT, default 5030; 0 picks a free one)
  --host NAME        the address to listen on (HOST, default localhost)
  --store-url URL    where sessions and counts are kept, such as sqlite:./var/visits.db (STORE_URL, default http://localhost:5100)
  --help

An option wins over the environment. COATCHECK_TOKEN is the token for the service, if it asks for one.
`

await runProgram({
  name: "visits",
  usage,
  names: { port: "PORT", host: "HOST", defaultPort: 5030, defaultStore: () => "http://localhost:5100" },
  make: (store) =>
    createVisits({ store, report: (line) => console.error(line), neighbours: readNeighbours(process.env.EXAMPLES) }),
})
