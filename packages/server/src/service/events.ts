// Changes as they happen: a stream of server-sent events for whoever keeps copies of what it read. Who may not read may not listen,
// since keys are shown. What is told and when is in changes.ts; this is a stream's life. It ends when the client goes, when
// it falls behind, or when the service stops, and each time the client has to take it that everything has changed: nothing is
// replayed, whatever Last-Event-ID says.

import { eventsType, formatOpening, parseEventsQuery, plainProblem } from "coatcheck/protocol"
import { beginStream, type Call, sendProblem } from "./call.ts"
import type { Listener } from "./changes.ts"
import { sendAllowed } from "./failure.ts"
import { checkKey } from "./keys.ts"
import { permits } from "./scope.ts"

// nginx would collect a stream until it has a page of it.
const unbuffered = ["X-Accel-Buffering", "no"]

/** `/-/v1/events`. */
export function events(call: Call): void {
  if (call.method !== "GET" && call.method !== "HEAD") return sendAllowed(call, "GET, HEAD, OPTIONS")
  if (!permits(call, "read")) return
  const prefix = parseEventsQuery(call.search)
  if (prefix !== "") checkKey(prefix)
  const { changes, limits, draining } = call.setting
  if (draining) return sendProblem(call, stopping, soon)
  if (changes.count >= limits.listeners) return sendProblem(call, tooMany, soon)
  call.last = true // a stream ends with its connection
  beginStream(call, eventsType, unbuffered)
  if (call.method === "HEAD") call.response.end()
  else stream(call, prefix)
}
const soon = ["Retry-After", "1"]
const stopping = plainProblem(503, "Service Unavailable", "The service is stopping: listen to another instance")
const tooMany = plainProblem(503, "Service Unavailable", "As many listen as may: listen to another instance")

function stream(call: Call, prefix: string): void {
  const { response, setting, token } = call
  const { changes, limits, log } = setting
  const listener: Listener = {
    prefix,
    send(text) {
      // What waits from before counts, so that a burst by itself cuts nobody off.
      if (response.writableLength <= limits.eventBytes) {
        response.write(text)
        return
      }
      log?.warn({ as: token?.name }, "a listener fell behind and was cut off")
      unlisten()
      response.destroy()
    },
    end() {
      unlisten()
      response.end()
    },
  }
  const unlisten = changes.listen(listener)
  response.on("close", unlisten)
  response.write(formatOpening({ coherent: changes.coherent, heartbeat: limits.heartbeatMs }))
}
