// A reply that is held until its sessions are kept. From the moment a session is opened, the four calls that let headers leave
// (writeHead, write, flushHeaders, end) go through the functions below. The first of them starts the commit of all sessions; if
// nothing has to be waited for, it goes on at once, else calls queue up until the commit is through. A failed commit replaces
// the whole reply.
//
// The functions are shared and put on the response as own properties: a few nanoseconds, where closures or a proxy would cost
// microseconds a request. They stay there afterwards and pass everything on, since others may have wrapped them meanwhile, and
// since node's own end() calls writeHead. Another prototype was rejected: whoever wrapped these calls before us as own
// properties would go past it.

import type { ServerResponse } from "node:http"
import type { Committer, ReplyChange } from "../core/exchange.ts"
import { addFields, codedError, type ReplyFields, takeHead, takeProblem } from "./node-reply.ts"
import { type ProblemReply, problemReply } from "./problem.ts"
import type { Reporter } from "./reporter.ts"

type Method = (...args: unknown[]) => unknown
type Methods = Record<"writeHead" | "write" | "flushHeaders" | "end", Method>

/** The state of a held reply. */
export interface Hold {
  readonly response: ServerResponse
  readonly reporter: Reporter
  readonly committers: Committer[]
  /** How many of them have begun to commit, and how many of those have not answered yet. */
  begun: number
  waiting: number
  /**
   * open: nothing has left. pending: the commit is under way, calls queue up. released: calls pass. replaced: a problem was sent
   * in place of the application's reply, whose further calls are swallowed.
   */
  state: "open" | "pending" | "released" | "replaced"
  /** What the reply varies on because of us. */
  vary: string
  /** null: none, as of most replies. */
  cookies: string[] | null
  problem: ProblemReply | null
  /** Nobody will go on with the application's reply. */
  handlerFailed: boolean
  /** null: none. */
  errors: unknown[] | null
  readonly queue: { readonly method: keyof Methods; readonly args: unknown[] }[]
  /** What the response did before. */
  readonly original: Methods
}

const holdOf = Symbol("coatcheck.hold")

/** A response with our functions on it. */
type Held = ServerResponse & { [holdOf]: Hold }

/** Begins to hold a reply; the same hold when it is held already. */
export function holdReply(response: ServerResponse, reporter: Reporter): Hold {
  const held = response as Held
  if (held[holdOf] !== undefined) return held[holdOf]
  // Their overloads are at run time what this type says: functions of any arguments, and those are passed on untouched.
  const methods = response as unknown as Methods
  const { writeHead, write, flushHeaders, end } = methods
  const hold: Hold = {
    response,
    reporter,
    committers: [],
    begun: 0,
    waiting: 0,
    state: "open",
    vary: "",
    cookies: null,
    problem: null,
    handlerFailed: false,
    errors: null,
    queue: [],
    original: { writeHead, write, flushHeaders, end },
  }
  held[holdOf] = hold
  methods.writeHead = heldWriteHead
  methods.write = heldWrite
  methods.flushHeaders = heldFlushHeaders
  methods.end = heldEnd
  return hold
}

/** Whether the headers are gone, so that nothing can be added. */
export function hasLeft({ state }: Hold): boolean {
  return state === "released" || state === "replaced"
}

/**
 * Sends a problem in place of the application's reply, once the sessions that were opened are kept: what happened to them has
 * happened, and the browser must get the cookie that leads to them. When headers have left, a reply that would never end is cut
 * short instead, so that nobody takes it for whole.
 */
export function failReply(hold: Hold, error: unknown): void {
  const { response, reporter } = hold
  hold.handlerFailed = true
  if (hold.state === "open") {
    fail(hold, error)
    begin(hold)
    return
  }
  // Who goes on with a reply that was replaced has done nothing wrong.
  if (hold.state === "replaced" && isLateCall(error)) return
  if (!response.writableEnded && hold.state === "pending") hold.problem ??= problemReply(error)
  if (!response.writableEnded && hold.state === "released") response.destroy()
  reporter.onError(error)
}

function heldWriteHead(this: Held, ...args: unknown[]): unknown {
  const hold = this[holdOf]
  if (hold.state === "open") {
    takeHead(this, args)
    begin(hold)
    return pass(hold, "writeHead", [this.statusCode])
  }
  // Old middleware looks for node's private copy of the head before each write, and calls this again while there is none.
  if (hold.state === "pending") {
    if (args.length === 1 && args[0] === this.statusCode) return this
    throw codedError(Error, "ERR_HTTP_HEADERS_SENT", "Cannot write headers after they are sent to the client")
  }
  return pass(hold, "writeHead", args)
}

function heldWrite(this: Held, ...args: unknown[]): unknown {
  const hold = this[holdOf]
  if (hold.state !== "released") checkChunk(args[0])
  if (hold.state === "open") begin(hold)
  return pass(hold, "write", args)
}

function heldFlushHeaders(this: Held): unknown {
  const hold = this[holdOf]
  if (hold.state === "open") begin(hold)
  return pass(hold, "flushHeaders", [])
}

function heldEnd(this: Held, ...args: unknown[]): unknown {
  const hold = this[holdOf]
  if (hold.state !== "released" && typeof args[0] !== "function") checkChunk(args[0] ?? "")
  if (hold.state === "open") begin(hold)
  return pass(hold, "end", args)
}

// What the call answers is what node answers: for write whether there is room for more, else the response.
function pass(hold: Hold, method: keyof Methods, args: unknown[]): unknown {
  const { response, state } = hold
  if (state === "released") return hold.original[method].apply(response, args)
  if (state === "replaced") swallow(args)
  else {
    hold.queue.push({ method, args })
    if (method === "end") new Ended(response)
  }
  return method === "write" ? false : response
}

// The getters on the prototype would say no while calls queue up. What the application sees is what it would see, had they gone
// through at once; both become true for good. A class whose parent returns another object defines its fields on that one, over
// getters too, and at a tenth of the price of Object.defineProperty.
class Own {
  constructor(object: object) {
    return object
  }
}
class Sent extends Own {
  readonly headersSent = true
}
class Ended extends Own {
  readonly writableEnded = true
}

function begin(hold: Hold): void {
  hold.state = "pending"
  commitNew(hold)
  if (hold.state === "pending") new Sent(hold.response)
}

/** Commits the sessions that have not been yet: all at first, and then those that were opened while others were being kept. */
function commitNew(hold: Hold): void {
  // One for this loop, so that nothing is released before all have begun.
  hold.waiting = 1
  for (const all = hold.committers.length; hold.begun < all; ) {
    const committer = hold.committers[hold.begun++] as Committer // within its length
    try {
      const answer = committer.commit()
      if ("then" in answer) {
        hold.waiting++
        answer.then(
          (change) => {
            note(hold, change)
            arrive(hold)
          },
          (error: unknown) => {
            fail(hold, error)
            arrive(hold)
          },
        )
      } else note(hold, answer)
    } catch (error) {
      fail(hold, error)
    }
  }
  arrive(hold)
}

function arrive(hold: Hold): void {
  hold.waiting--
  if (hold.waiting > 0) return
  if (hold.begun < hold.committers.length) commitNew(hold)
  else release(hold)
}

function note(hold: Hold, { setCookie }: ReplyChange): void {
  if (setCookie !== null) (hold.cookies ??= []).push(setCookie)
}

function fail(hold: Hold, error: unknown): void {
  const problem = problemReply(error)
  hold.problem ??= problem
  if (problem.status !== 409) (hold.errors ??= []).push(error)
}

function release(hold: Hold): void {
  const { response, reporter, queue } = hold
  // Calls pass from here on, since node's own end() comes back through heldWriteHead.
  hold.state = "released"
  if (hold.problem === null) {
    addFields(response, fieldsOf(hold), reporter)
    replay(hold)
  } else sendProblem(hold, hold.problem)
  if (hold.errors) for (const error of hold.errors) reporter.onError(error)
  const waits = queue.some(({ method }) => method === "write") && !response.writableEnded && !response.writableNeedDrain
  if (waits && hold.problem === null) process.nextTick(() => response.emit("drain"))
}

function replay(hold: Hold): void {
  let calls = 0
  try {
    for (const { method, args } of hold.queue) {
      hold.original[method].apply(hold.response, args)
      calls++
    }
  } catch (error) {
    // Nobody is left to catch what node refuses only when it sends: a reason phrase, say.
    fail(hold, error)
    if (calls === 0 && hold.problem !== null) sendProblem(hold, hold.problem)
    else hold.response.destroy()
  }
}

function sendProblem(hold: Hold, problem: ProblemReply): void {
  const { response, original, queue } = hold
  const { method, httpVersionMajor } = response.req
  takeProblem(response, problem)
  addFields(response, fieldsOf(hold), hold.reporter)
  const isWhole = hold.handlerFailed || queue.some((call) => call.method === "end")
  if (isWhole || method === "HEAD" || httpVersionMajor !== 1) {
    original.end.call(response, method === "HEAD" ? undefined : problem.body)
  } else {
    // Whoever still feeds this reply must learn that nobody takes any more, and a stream learns that from a connection that
    // closes: ended by somebody else, it would leave its source, a file perhaps, open for ever.
    response.setHeader("Connection", "close")
    original.writeHead.call(response, problem.status)
    original.write.call(response, problem.body, () => response.destroy())
  }
  hold.state = "replaced"
  for (const { args } of queue) swallow(args)
}

const fieldsOf = ({ cookies, vary, committers }: Hold): ReplyFields => ({
  cookies: cookies ?? [],
  vary,
  personal: committers.length > 0,
})

/** A call that leads nowhere still calls back, so that nobody waits for ever. */
function swallow(args: readonly unknown[]): void {
  const callback = args.findLast((arg) => typeof arg === "function")
  if (callback) process.nextTick(callback)
}

function checkChunk(chunk: unknown): void {
  if (typeof chunk === "string" || chunk instanceof Uint8Array) return
  throw codedError(TypeError, "ERR_INVALID_ARG_TYPE", "A chunk must be a string or a Uint8Array")
}

const lateCalls = ["ERR_HTTP_HEADERS_SENT", "ERR_STREAM_PREMATURE_CLOSE", "ERR_STREAM_DESTROYED"]

function isLateCall(error: unknown): boolean {
  return error instanceof Error && "code" in error && lateCalls.includes(String(error.code))
}
