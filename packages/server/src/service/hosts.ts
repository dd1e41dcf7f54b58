// Under which names the service may be asked, and from which pages. A page in somebody's browser can send requests to a service
// on the same machine: directly, which shows in Origin and Sec-Fetch-Site, or through a name of its own that it lets point to
// 127.0.0.1 (DNS rebinding), which shows in Host alone. So both are held to lists, whatever the method, and nothing is ever
// granted to another origin. Programs send neither Origin nor Sec-Fetch-Site, and a right Host by themselves.

import type { IncomingMessage } from "node:http"

/** Why a request is refused before anybody looks at what it asks for. */
export type Refusal = "host-invalid" | "host-unknown" | "target-invalid" | "cross-site"

/** Says whether a Host field is one of ours, for the port that the request arrived at. */
export type HostRule = (host: string, port: number | undefined) => boolean

const SLASH = 0x2f
const absolute = /^https?:\/\/([^/?#]*)/i
const loopbackNames = ["localhost", "127.0.0.1", "[::1]"]
const hostForm = /^(?:[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?$/

/**
 * The rule for the loopback names with the port asked at, and for each of `allowHosts`: with its port if it names one, else with any.
 *
 * @throws TypeError for an entry that is no host name or address.
 */
export function hostRule(allowHosts: readonly string[] = []): HostRule {
  const exact = new Set<string>()
  const anyPort = new Set<string>()
  for (const entry of allowHosts) {
    const host = entry.toLowerCase()
    if (!hostForm.test(host)) {
      throw new TypeError(
        "An allowed host must be a name or an address, without scheme and path: kv.internal, [::1]:8080",
      )
    }
    if (withoutPort(host) === host) anyPort.add(host)
    else exact.add(host)
  }
  const isAllowed: HostRule = (field, port) => {
    const host = field.toLowerCase()
    const name = withoutPort(host)
    if (loopbackNames.includes(name)) {
      // A client leaves the port out where it is the scheme's own.
      if (host === name ? port === 80 : host.slice(name.length + 1) === String(port)) return true
    }
    return exact.has(host) || (hostForm.test(host) && anyPort.has(name))
  }
  let lastField: string | undefined
  let lastPort: number | undefined
  return (field, port) => {
    if (field === lastField && port === lastPort) return true // nearly every request asks under the same name
    if (!isAllowed(field, port)) return false
    lastField = field
    lastPort = port
    return true
  }
}

/** What is wrong with where a request is addressed to or comes from; null: nothing. */
export function refuse(request: IncomingMessage, allowed: HostRule): Refusal | null {
  const { headers } = request
  const host = headers.host
  if (host === undefined || host === "" || fields(request.rawHeaders, "host") > 1) return "host-invalid"
  if (!allowed(host, request.socket.localPort)) return "host-unknown"
  const target = request.url as string // a server's message always has one
  if (target.charCodeAt(0) !== SLASH && !fits(target, host, request.method)) return "target-invalid"
  const site = headers["sec-fetch-site"]
  if (site !== undefined && site !== "same-origin" && site !== "none") return "cross-site"
  const origin = headers.origin
  if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`) return "cross-site"
  return null
}

/** A target in origin form: an absolute one without its scheme and authority. */
export function originForm(target: string): string {
  if (target.charCodeAt(0) === SLASH || target === "*") return target
  const rest = target.replace(absolute, "")
  return rest.charCodeAt(0) === SLASH ? rest : `/${rest}`
}

// An absolute target must name the authority that Host names (RFC 9112, 3.2.2); `*` is there for OPTIONS alone.
function fits(target: string, host: string, method: string | undefined): boolean {
  if (target === "*") return method === "OPTIONS"
  const [, authority] = absolute.exec(target) ?? []
  return authority !== undefined && authority.toLowerCase() === host.toLowerCase()
}

function withoutPort(host: string): string {
  const colon = host.lastIndexOf(":")
  return colon > host.lastIndexOf("]") ? host.slice(0, colon) : host
}

// node:http keeps the first of several Host fields and says nothing.
function fields(rawHeaders: readonly string[], name: string): number {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const field = rawHeaders[index] as string // even places hold names
    if (field.length === name.length && field.toLowerCase() === name) count += 1
  }
  return count
}
