import { describeOutages } from "./support/outages.ts"

describeOutages("the service")
