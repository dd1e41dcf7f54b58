// The application that the adapter suite serves: one small page for each way of using a session. It is written against the
// suite's call and reply alone, so that every framework serves the very same pages.

import type { Session } from "../core/session.ts"
import type { Sessions } from "../core/sessions.ts"
import type { SuiteCall, SuiteData, SuiteReply } from "./adapter-harness.ts"

type Page = (session: Session<SuiteData>, call: SuiteCall) => SuiteReply | Promise<SuiteReply>

/** The headers of a page that has much to lose. */
export const manyHeaders: readonly (readonly [name: string, value: string])[] = [
  ["Content-Type", "text/html; charset=utf-8"],
  ["X-Many", "one"],
  ["X-Many", "two"],
  ["Set-Cookie", "theirs=1; Path=/"],
  ["Set-Cookie", "others=2; Path=/x"],
  ["Vary", "Accept-Language"],
  ["ETag", '"a"'],
  ["Link", "</style.css>; rel=preload"],
]

/** Pages that don't touch the session. */
const plainPages: Readonly<Record<string, (call: SuiteCall) => SuiteReply | Promise<SuiteReply>>> = {
  "/plain": () => ({ body: "untouched" }),
  "/echo": async (call) => ({ body: await call.text() }),
  "/theirs": () => ({ headers: [["Vary", "Accept"]], body: "theirs" }),
}

const pages: Readonly<Record<string, Page>> = {
  "/open": () => ({ body: "opened" }),
  "/is-new": (session) => ({ body: String(session.isNew) }),
  "/read": (session) => ({ body: `Count: ${session.data.count ?? 0}` }),
  "/keys": (session) => ({ body: Object.keys(session.data).join() }),
  "/has": (session) => ({ body: String("count" in session.data) }),
  "/handle": (session) => ({ body: session.handle ?? "none" }),
  "/count": (session) => count(session),
  "/update": async (session) => {
    const data = await session.update((newest) => {
      newest.count = (newest.count ?? 0) + 1
    })
    return { body: `Count: ${data.count}` }
  },
  "/redirect": (session) => ({ ...count(session), status: 303, headers: [["Location", "/read"]] }),
  "/reset": async (session) => {
    await session.destroy()
    return { status: 303, headers: [["Location", "/"]] }
  },
  "/regenerate": async (session) => {
    count(session)
    await session.regenerate()
    return { body: "regenerated" }
  },
  "/everything": async (session) => {
    await session.update((newest) => {
      newest.count = 7
    })
    await session.regenerate()
    await session.destroy()
    return { headers: [["Set-Cookie", "session=theirs; Path=/"]], body: "everything" }
  },
  "/many-headers": (session) => ({ ...count(session), status: 201, headers: manyHeaders }),
  "/public": (session) => ({
    ...count(session),
    headers: [
      ["Cache-Control", "public, max-age=600, s-maxage=60"],
      ["CDN-Cache-Control", "max-age=600"],
    ],
  }),
  "/public-read": () => ({ headers: [["Cache-Control", "public, max-age=600"]], body: "read" }),
  "/strict": (session) => ({ ...count(session), headers: [["Cache-Control", "no-store, no-cache"]] }),
  "/own-cookie": (session) => ({ ...count(session), headers: [["Set-Cookie", "session=theirs; Path=/"]] }),
  "/stream": (session) => ({ headers: [["Content-Type", "text/plain"]], body: pieces(count(session).body) }),
  "/throw": (session) => {
    count(session)
    throw new Error("secret detail of /srv/app.ts")
  },
  "/fill": (session, call) => {
    session.data.filling = "x".repeat(Number(call.url.split("?")[1]))
    return { headers: [["X-Page", "1"]], body: "filled" }
  },
}

/** Answers a call: a page of its path, or 404. */
export async function answer(sessions: Sessions<SuiteData>, call: SuiteCall): Promise<SuiteReply> {
  const path = call.url.split("?", 1)[0] ?? ""
  const plain = Object.hasOwn(plainPages, path) ? plainPages[path] : undefined
  if (plain) return plain(call)
  const page = Object.hasOwn(pages, path) ? pages[path] : undefined
  if (!page) return { status: 404, body: "no such page" }
  return page(await sessions.open(call.request), call)
}

function count(session: Session<SuiteData>): { readonly body: string } {
  session.data.count = (session.data.count ?? 0) + 1
  return { body: `Count: ${session.data.count}` }
}

async function* pieces(text: string): AsyncGenerator<string> {
  for (const letter of text) {
    yield letter
    await Promise.resolve()
  }
}
