// What every reply of every example has in common, whatever the framework: the headers that fence a page in, the two files that it
// needs, and what it says when something went wrong.

import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { CoatcheckError } from "coatcheck"

const stylesheet = readFileSync(new URL("style.css", import.meta.url), "utf8")

/** Where the stylesheet is. The address changes with the content, so that browsers may keep it for good. */
export const stylesheetAddress = `/style.css?${createHash("sha256").update(stylesheet).digest("hex").slice(0, 8)}`

/** For every reply: no scripts, no frames, no guesses at types, and forms that lead nowhere else. */
export const fences: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
}

/** For every page. */
export const pageHeaders: Readonly<Record<string, string>> = {
  ...fences,
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
}

/** A file that is served as it is. */
export interface Asset {
  readonly headers: Readonly<Record<string, string>>
  readonly content: string
}

// A file of its own: with an icon named, no browser asks for /favicon.ico.
const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="#7a1f2b"/><path transform="translate(6 12) scale(.8125)" d="M26 11a6 6 0 1 1 8.6 5.4C33 17.2 32 18.4 32 20v2L5.5 36.2C3 37.6 4 41 6.8 41h50.4c2.8 0 3.8-3.4 1.3-4.800L32 22" fill="none" stroke="#fbeed3" stroke-width="5" stroke-linecap="round" stroke-linejoin="round"/></svg>
`

/** The files of every example, by their paths. */
export const assets: ReadonlyMap<string, Asset> = new Map([
  ["/style.css", asset("text/css; charset=utf-8", stylesheet, "public, max-age=31536000, immutable")],
  ["/icon.svg", asset("image/svg+xml", icon, "public, max-age=86400")],
])

function asset(type: string, content: string, caching: string): Asset {
  return { headers: { ...fences, "content-type": type, "cache-control": caching }, content }
}

/** What a person is told when the page can't be shown. */
export interface Trouble {
  readonly status: number
  readonly heading: string
  readonly text: string
  readonly link: string
  /** Headers beside the page's own. */
  readonly headers: Readonly<Record<string, string>>
}

/** Nothing has this address. */
export const notFound: Trouble = {
  status: 404,
  heading: "Not found",
  text: "Nobody has left a coat at this address.",
  link: "To the first page",
  headers: {},
}

/** The address is there, but not for this method. */
export function notAllowed(allow: string): Trouble {
  const text = "This address can’t be called in that way."
  return { status: 405, heading: "Not allowed", text, link: "To the first page", headers: { allow } }
}

const ended: Trouble = {
  status: 409,
  heading: "This session has ended",
  text: "It was ended in another window while this page was loading. What is ended stays ended.",
  link: "Start again",
  headers: {},
}

const closed: Trouble = {
  status: 503,
  heading: "The cloakroom is closed for a moment",
  text: "The store that keeps the sessions does not answer. Your ticket stays good; try again in a moment.",
  link: "Try again",
  headers: { "retry-after": "2" },
}

const defect: Trouble = {
  status: 500,
  heading: "Something is wrong here",
  text: "It is not your fault, and it is written down for who can mend it.",
  link: "To the first page",
  headers: {},
}

const badRequest: Trouble = {
  status: 400,
  heading: "That can’t be read",
  text: "The request is not of a form that this page understands.",
  link: "To the first page",
  headers: {},
}

/** What to tell about an error that a page has run into. Frameworks mark what they refuse to read by a status of 400 and up. */
export function troubleOf(error: unknown): Trouble {
  if (error instanceof CoatcheckError) return error.code === "ended" ? ended : closed
  const { statusCode = 500 } = error as { statusCode?: number }
  return statusCode >= 400 && statusCode < 500 ? badRequest : defect
}

/** For the log: an error of ours says all in its message; anything else is a defect, which needs its trace. */
export function lineOf(error: unknown): string {
  if (error instanceof CoatcheckError) return `${error.message} (${error.code})`
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

/** The same for programs: two lines of text. */
export function plainText({ heading, text }: Trouble): string {
  return `${heading}\n${text}\n`
}

/** Whether whoever asks reads pages, as browsers say that they do. */
export function wantsPage(accept: string | undefined | null): boolean {
  return accept?.includes("text/html") ?? false
}
