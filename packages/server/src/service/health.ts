// Two questions of whoever looks after the service. Alive: the process answers, whatever its store does, so that nobody restarts
// it for the store's trouble. Ready: it may be sent requests, since it is not about to stop and its store answers in time.

import { plainProblem } from "coatcheck/protocol"
import { type Call, sendJson, sendProblem } from "./call.ts"
import { sendAllowed } from "./failure.ts"
import type { Setting } from "./options.ts"

const methods = "GET, HEAD, OPTIONS"
// Any key does: what counts is that an answer comes.
const probeKey = "-/ready"
const notReady = (detail: string) => plainProblem(503, "Service Unavailable", detail)
const probes = new WeakMap<Setting, Promise<boolean>>()

/** `/-/health`: 200 as long as the process lives. */
export function health(call: Call): void {
  if (call.method !== "GET" && call.method !== "HEAD") return sendAllowed(call, methods)
  sendJson(call, 200, '{"status":"ok"}')
}

/** `/-/ready`: 200, or 503 while the service stops or its store does not answer in time. */
export async function ready(call: Call): Promise<void> {
  if (call.method !== "GET" && call.method !== "HEAD") return sendAllowed(call, methods)
  const { setting } = call
  const answers = setting.draining || (await storeAnswers(setting))
  if (setting.draining) return sendProblem(call, notReady("The service is stopping: ask another instance"))
  if (!answers) return sendProblem(call, notReady("The store does not answer"), ["Retry-After", "1"])
  sendJson(call, 200, '{"status":"ready"}')
}

// However many ask, the store is asked once at a time.
async function storeAnswers(setting: Setting): Promise<boolean> {
  let probe = probes.get(setting)
  if (probe === undefined) {
    probe = setting.store.get(probeKey).then(yes, no)
    probes.set(setting, probe)
    void probe.finally(() => probes.delete(setting))
  }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, setting.limits.readyMs, false)
  })
  const answers = await Promise.race([probe, late])
  clearTimeout(timer)
  return answers
}

const yes = (): boolean => true
const no = (): boolean => false
