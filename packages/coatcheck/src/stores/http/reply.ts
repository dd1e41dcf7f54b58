// Reads one HTTP/1.1 reply out of the bytes of a connection (RFC 9112), strictly: what has two readings is no reply. A length that
// comes twice, a length beside chunks, a line that ends in anything but CRLF, a field that is none: each is rubbish, and so is
// whatever is longer than it may be. A reader that guesses takes a part of one reply for another one's.

import { constants, isUtf8 } from "node:buffer"

/** A reply that came whole. */
export interface HttpReply {
  readonly status: number
  /** Fields by their names in lower case; several of one name are joined by ", ". */
  readonly fields: ReadonlyMap<string, string>
  readonly body: string
}

/** What came is no reply: the other end is no service of ours. */
export class Rubbish extends Error {}

/** Reads one reply. */
export interface ReplyReader {
  /** Takes what came. true: the reply is whole. @throws Rubbish */
  push(bytes: Buffer): boolean
  /** Nothing more comes. true: that was what the body waited for, and the reply is whole. */
  end(): boolean
  /** The reply, once it is whole. @throws Rubbish when it is not UTF-8 */
  reply(): HttpReply
  /** Whether, and for how many ms, its connection may be kept for another request; 0: not at all. */
  keep(longest: number): number
}

/** Nobody's status line and fields are longer; Node's own bound. */
const MAX_HEAD = 16_384
/** The size of a chunk and whatever is said of it. */
const MAX_SIZE_LINE = 1_024
/** No reply is taken that is longer, whatever was asked: there is no longer text. */
const MAX_BODY = constants.MAX_STRING_LENGTH
/** Replies that only say that the reply will come (100, 103). */
const MAX_PRELIMINARY = 8
const statusLine = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?\r\n/
const fieldLine = /([\w!#$%&'*+.^`|~-]+):([\t\x20-\x7e\x80-\xff]*)\r\n/y
const beginning = "HTTP/1."
const noBytes: Buffer = Buffer.alloc(0)

interface Head {
  readonly minor: string
  readonly status: number
  readonly fields: ReadonlyMap<string, string>
}

/** What the next bytes are. */
type Part = "head" | "body" | "size" | "chunk" | "chunk end" | "trailers" | "all until the end" | "nothing"

/** A reader of one reply whose body has at most so many bytes. */
export function replyReader(maxBytes: number): ReplyReader {
  const most = Math.min(maxBytes, MAX_BODY)
  let part: Part = "head"
  let rest = noBytes // came, and belongs to a part that is not whole yet
  let head: Head = { minor: "", status: 0, fields: new Map() }
  let preliminary = 0
  let left = 0 // bytes of the body or the chunk
  let trailers = 0
  let size = 0
  const body: Buffer[] = []

  function push(bytes: Buffer): boolean {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
    while (part !== "nothing" && readPart()) {
      // Each part that is whole leads to the next one.
    }
    return part === "nothing"
  }

  /** Reads what is there of the part; false: more must come first. */
  function readPart(): boolean {
    switch (part) {
      case "head":
        return readHead()
      case "body":
        if (takeBody()) part = "nothing"
        return left === 0
      case "all until the end":
        left = rest.length
        takeBody()
        return false
      case "size":
        return readSize()
      case "chunk":
        if (takeBody()) part = "chunk end"
        return left === 0
      case "chunk end":
        return readLine(0) !== null
      default:
        return readLine(MAX_HEAD) !== null
    }
  }

  function readHead(): boolean {
    const end = rest.indexOf("\r\n\r\n")
    const start = rest.toString("latin1", 0, beginning.length)
    if (!beginning.startsWith(start)) throw new Rubbish("What came does not begin like HTTP")
    if (end < 0 ? rest.length > MAX_HEAD : end > MAX_HEAD) throw new Rubbish("The head of the reply has no end")
    if (end < 0) return false
    head = parseHead(rest.toString("latin1", 0, end + 2))
    rest = rest.subarray(end + 4)
    part = bodyOf(head)
    return true
  }

  /** How the body comes (RFC 9112, 6.3). */
  function bodyOf({ minor, status, fields }: Head): Part {
    if (status < 200) {
      preliminary += 1
      if (status === 101 || preliminary > MAX_PRELIMINARY) throw new Rubbish("The reply is none to what was asked")
      return "head"
    }
    const coding = fields.get("transfer-encoding")
    const length = fields.get("content-length")
    if (coding !== undefined) {
      if (coding.toLowerCase() !== "chunked" || length !== undefined || minor === "0") {
        throw new Rubbish("The reply does not say how long it is")
      }
      return "size"
    }
    if (length !== undefined && !/^\d{1,15}$/.test(length)) throw new Rubbish("The length of the reply is none")
    if (status === 204 || status === 304) return "nothing"
    if (length === undefined) return "all until the end"
    left = Number(length)
    checkSize(left)
    return left === 0 ? "nothing" : "body"
  }

  function readSize(): boolean {
    const line = takeLine(MAX_SIZE_LINE)
    if (line === null) return false
    const digits = /^([\da-fA-F]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/.exec(line)?.[1]
    if (digits === undefined) throw new Rubbish("The size of a chunk is none")
    left = Number.parseInt(digits, 16)
    checkSize(size + left)
    part = left === 0 ? "trailers" : "chunk"
    return true
  }

  /** The empty line behind a chunk, or the lines behind the last one, which say nothing that we would ask for. */
  function readLine(most: number): string | null {
    const line = takeLine(most)
    if (line === null) return null
    if (part === "chunk end") {
      if (line !== "") throw new Rubbish("A chunk is longer than its size")
      part = "size"
      return line
    }
    trailers += line.length
    if (trailers > MAX_HEAD) throw new Rubbish("The end of the reply has no end")
    if (line === "") part = "nothing"
    return line
  }

  function takeLine(most: number): string | null {
    const end = rest.indexOf("\r\n")
    if (end < 0 ? rest.length > most + 1 : end > most) throw new Rubbish("A line of the reply has no end")
    if (end < 0) return null
    const line = rest.toString("latin1", 0, end)
    rest = rest.subarray(end + 2)
    return line
  }

  /** Takes what is there of the body or the chunk; true: that was all of it. */
  function takeBody(): boolean {
    const taken = rest.length > left ? rest.subarray(0, left) : rest
    rest = rest.length > left ? rest.subarray(left) : noBytes
    left -= taken.length
    size += taken.length
    checkSize(size)
    if (taken.length > 0) body.push(taken)
    return left === 0
  }

  function checkSize(bytes: number): void {
    if (bytes > most) throw new Rubbish(`The reply is longer than ${most} bytes`)
  }

  function reply(): HttpReply {
    const bytes = body.length === 1 && body[0] ? body[0] : Buffer.concat(body)
    if (!isUtf8(bytes)) throw new Rubbish("The reply is not UTF-8")
    return { status: head.status, fields: head.fields, body: bytes.toString() }
  }

  function keep(longest: number): number {
    const { minor, fields } = head
    if (minor === "0" || rest.length > 0 || part === "all until the end") return 0
    if (/(?:^|,)[ \t]*close[ \t]*(?:,|$)/i.test(fields.get("connection") ?? "")) return 0
    const promised = /(?:^|[,;\s])timeout=(\d{1,6})/i.exec(fields.get("keep-alive") ?? "")?.[1]
    // A second before the other end closes it: a request that meets the closing is lost.
    return promised === undefined ? longest : Math.max(0, Math.min(longest, (Number(promised) - 1) * 1_000))
  }

  return { push, end: () => part === "all until the end", reply, keep }
}

function parseHead(text: string): Head {
  const start = statusLine.exec(text)
  if (start === null) throw new Rubbish("What came has no status of HTTP")
  const fields = new Map<string, string>()
  let at = start[0].length
  while (at < text.length) {
    fieldLine.lastIndex = at
    const line = fieldLine.exec(text)
    if (line === null) throw new Rubbish("A header field of the reply is none")
    const name = (line[1] as string).toLowerCase() // both groups are in each match
    const value = trimmed(line[2] as string)
    const before = fields.get(name)
    fields.set(name, before === undefined ? value : `${before}, ${value}`)
    at = fieldLine.lastIndex
  }
  return { minor: start[1] as string, status: Number(start[2]), fields } // both groups are in each match
}

/** Without the blanks around it, and no others: a trim() would take more. */
function trimmed(text: string): string {
  let from = 0
  let to = text.length
  while (from < to && isBlank(text.charCodeAt(from))) from++
  while (from < to && isBlank(text.charCodeAt(to - 1))) to--
  return text.slice(from, to)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}
