// Whether a request reached us over HTTPS. A proxy that ended TLS says so in X-Forwarded-Proto, and so can anybody else: the field
// counts only from addresses that were listed. A list of several values, or two fields, counts when every one says https, for a
// proxy that appends would otherwise pass on what a stranger wrote in front.

import type { IncomingHttpHeaders } from "node:http"
import { BlockList, isIP } from "node:net"

/** What there is to know of a connection. */
export interface Peer {
  readonly encrypted?: boolean
  readonly remoteAddress?: string | undefined
}

/** Tells whether the user agent came over HTTPS. */
export type SecureCheck = (peer: Peer, headers: IncomingHttpHeaders) => boolean

/**
 * A check that believes X-Forwarded-Proto from these proxies alone.
 *
 * @param proxies addresses ("10.0.0.7", "::1") and blocks ("10.0.0.0/8"). An IPv4 address counts in its IPv6 form as well.
 * @throws TypeError when one is neither.
 */
export function secureCheck(proxies: readonly string[] = []): SecureCheck {
  if (!Array.isArray(proxies)) throw new TypeError("trustProxies must be a list of addresses and blocks")
  if (proxies.length === 0) return (peer) => peer.encrypted === true
  const trusted = new BlockList()
  for (const proxy of proxies as readonly unknown[]) add(trusted, proxy)
  return (peer, headers) => {
    if (peer.encrypted === true) return true
    const claim = headers["x-forwarded-proto"]
    if (claim === undefined || peer.remoteAddress === undefined) return false
    const version = isIP(peer.remoteAddress)
    if (version === 0 || !trusted.check(peer.remoteAddress, version === 4 ? "ipv4" : "ipv6")) return false
    return String(claim)
      .split(",")
      .every((proto) => proto.trim().toLowerCase() === "https")
  }
}

function add(trusted: BlockList, proxy: unknown): void {
  const [address = "", bits, ...rest] = typeof proxy === "string" ? proxy.split("/") : []
  const version = isIP(address)
  const widest = version === 4 ? 32 : 128
  const isBlock = bits !== undefined
  if (version === 0 || rest.length > 0 || (isBlock && !(/^\d{1,3}$/.test(bits) && Number(bits) <= widest))) {
    throw new TypeError(`trustProxies takes addresses such as "10.0.0.7" and blocks such as "10.0.0.0/8"`)
  }
  trusted.addSubnet(address.split("%", 1)[0] ?? "", isBlock ? Number(bits) : widest, version === 4 ? "ipv4" : "ipv6")
}
