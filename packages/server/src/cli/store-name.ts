/** A store's URL for messages: without credentials and query, which may be secret. */
export function storeName(url: string): string {
  return url.replace(/\?.*$/s, "").replace(/\/\/[^/]*@/, "//")
}
