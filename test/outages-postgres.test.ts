import { describeOutages } from "./support/outages.ts"

describeOutages("Postgres")
