// Reading a request's body, never more of it than was allowed. Of a body that is too large nothing is kept from the moment that
// shows: at once where Content-Length says so, else with the chunk that goes too far.
//
// The answer to such a body is a small difficulty: a client that writes everything before it reads would have its connection reset
// and never see the 413. So the answer goes out whole, what still comes in is dropped unread for a moment, then the
// connection is closed. Memory stays flat whatever is sent.

import { isUtf8 } from "node:buffer"
import { CoatcheckError } from "coatcheck"
import type { Problem } from "coatcheck/protocol"
import { beginProblem, type Call, sendProblem } from "./call.ts"

/** Thrown by whoever waits for a client that has gone: there is nobody to answer. */
export const gone: Error = new Error("The client has gone")

const lingerMs = 2_000

/**
 * The body as text.
 *
 * @throws CoatcheckError `too-large` above the limit, `invalid` when it is no UTF-8 or is compressed; `gone` when the client left.
 */
export function readText(call: Call, limit: number): Promise<string> {
  const { request, response } = call
  return new Promise((resolve, reject) => {
    const encoding = request.headers["content-encoding"]
    if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
      throw new CoatcheckError("invalid", "The body must not be compressed: send it without Content-Encoding")
    }
    if (Number(request.headers["content-length"]) > limit) throw tooLarge(limit)
    let first: Buffer | undefined
    let others: Buffer[] | undefined
    let size = 0
    const onData = (chunk: Buffer): void => {
      size += chunk.length
      if (size > limit) {
        request.off("data", onData)
        first = others = undefined
        reject(tooLarge(limit))
      } else if (first === undefined) {
        first = chunk
      } else {
        others ??= [first]
        others.push(chunk)
      }
    }
    request.on("data", onData)
    request.on("end", () => {
      const bytes = others ? Buffer.concat(others) : first
      if (bytes === undefined) resolve("")
      else if (isUtf8(bytes)) resolve(bytes.toString())
      else reject(new CoatcheckError("invalid", "The body must be UTF-8"))
    })
    request.on("close", () => reject(gone)) // after the end it changes nothing
    if (call.waits) response.writeContinue()
    call.waits = false
  })
}

/** Answers a body that is too large, and closes the connection behind it when the client has sent the rest, or in a moment. */
export function refuseBody(call: Call, problem: Problem): void {
  const { request, response } = call
  if (request.complete) return sendProblem(call, problem) // what was too large is something in it
  call.last = true
  if (call.waits) return sendProblem(call, problem) // nothing was sent, and nothing will be
  beginProblem(call, problem)
  const end = (): void => {
    clearTimeout(timer)
    response.end()
  }
  const timer = setTimeout(end, lingerMs)
  request.once("close", end)
  request.once("end", end)
  request.resume()
}

function tooLarge(limit: number): CoatcheckError {
  return new CoatcheckError("too-large", `The body may take ${limit} bytes: send less at once`)
}
