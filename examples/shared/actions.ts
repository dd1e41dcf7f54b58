// Addresses that change something when they are merely opened, as course notes have them: /logout, /session/set/coat. A GET must change
// nothing, so such a request is turned into the POST that it stands for before any adapter sees it. From there on it is an unsafe
// method like any other: the guard refuses it to other sites' links and pictures, and there is one handler for both.

import type { RequestListener } from "node:http"

/** Passes each GET of such a path on as a POST. HEAD stays HEAD: it asks about a page, and these are none. */
export function actionsAsPosts(isAction: (path: string) => boolean, listener: RequestListener): RequestListener {
  return (request, response) => {
    const [path = "/"] = (request.url ?? "/").split("?", 1)
    if (request.method === "GET" && isAction(path)) request.method = "POST"
    listener(request, response)
  }
}
