// A visitor: an HTTP client over node:http with a cookie jar that follows the browsers' rules (tough-cookie), and nothing else
// that a browser would do by itself.

import { request as httpRequest, type IncomingHttpHeaders } from "node:http"
import { CookieJar } from "tough-cookie"

/** A reply, read to its end. */
export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** The Set-Cookie fields. */
  readonly setCookie: readonly string[]
}

/** What is sent beside method and path. */
export interface Sending {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** Makes one request. */
export function call(method: string, url: string, { headers = {}, body }: Sending = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("error", reject)
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString()
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: text,
          setCookie: response.headers["set-cookie"] ?? [],
        })
      })
    })
    request.on("error", reject)
    request.end(body)
  })
}

/** A client with a jar of its own. */
export interface Visitor {
  readonly jar: CookieJar
  call(method: string, url: string, sending?: Sending): Promise<Reply>
  get(url: string, sending?: Sending): Promise<Reply>
  /** The value of the cookie of this name; undefined: the jar has none. */
  cookie(url: string, name?: string): Promise<string | undefined>
}

/** A new visitor, or one with another one's cookies. */
export function visitor(jar: CookieJar = new CookieJar()): Visitor {
  async function send(method: string, url: string, sending: Sending = {}): Promise<Reply> {
    const cookie = await jar.getCookieString(url)
    const headers = { ...(cookie ? { cookie } : {}), ...sending.headers }
    const reply = await call(method, url, { ...sending, headers })
    for (const field of reply.setCookie) await jar.setCookie(field, url)
    return reply
  }
  return {
    jar,
    call: send,
    get: (url, sending) => send("GET", url, sending),
    async cookie(url, name = "session") {
      const cookies = await jar.getCookies(url)
      return cookies.find(({ key }) => key === name)?.value
    },
  }
}
