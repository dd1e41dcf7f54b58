// What the failure suite needs to know of a store that speaks to a server.

import type { Report, Store } from "../core/store.ts"

/** What a store under test is to be made with. */
export interface FailureSetup {
  /** Where it finds its server: this port of 127.0.0.1, behind which the network fails. */
  readonly port: number
  /** How long a call of it may take, in ms. */
  readonly deadline: number
  /** Where the store tells what happens in the background. */
  readonly report: Report
}

/** How the suite gets hold of a store and its server. Cases may run at the same time; each keeps to keys of its own. */
export interface FailureHarness {
  /** The server: a port of this machine, or host and port. The suite puts its fault proxy before it. */
  readonly target: number | { readonly host: string; readonly port: number }
  /** Opens the store under test. Called at least once a case. */
  open(setup: FailureSetup): Store | Promise<Store>
  /** Opens a store on the same data that goes past the proxy: it prepares, and looks what really happened. */
  look(): Store | Promise<Store>
  /** The deadline that stores are opened with, in ms. Default 400. */
  readonly deadline?: number
  /**
   * How much later than its deadline a call may end, in ms; time in which this process could not run does not count. Default 500.
   */
  readonly slack?: number
  /** How many places of a reply, and of a request, are cut; they are spread over its length. Default 24. Infinity: every byte. */
  readonly cuts?: number
  /** The most connections that one store may hold. Default 32. */
  readonly connections?: number
  /** Makes the server refuse writes for want of room; resolves to the way back. Left out: the case about it is not made. */
  fill?(): Promise<() => Promise<void>>
}
