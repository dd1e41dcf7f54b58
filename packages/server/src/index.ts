// The door of the server: the service as a library, for whoever wants it inside a program of their own. Everyone else runs
// `coatcheck serve`.

export type { ListenOptions, Logger, ServiceLimits, ServiceOptions } from "./service/options.ts"
export { createService, type Service } from "./service/serve.ts"
