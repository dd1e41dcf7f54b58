// What can be a key. The store checks every key itself; the service asks before it calls, because a request with several keys must
// be refused as a whole, and because a key in a path is the request's form and not its size.

import { CoatcheckError, limits } from "coatcheck"

// With the u flag a surrogate only matches when it stands alone.
const unfit = /[\p{Cc}\p{Cs}]/u

/**
 * Refuses what can't be a key.
 *
 * @throws CoatcheckError `invalid` when it is empty, longer than 512 bytes of UTF-8, or holds a control character or half of a pair.
 */
export function checkKey(key: string): void {
  if (key === "" || unfit.test(key) || key.length > limits.keyBytes || Buffer.byteLength(key) > limits.keyBytes) {
    throw new CoatcheckError("invalid", `A key is 1 to ${limits.keyBytes} bytes of UTF-8 without control characters`)
  }
}
