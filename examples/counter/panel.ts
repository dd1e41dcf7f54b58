// The lesson: what the browser holds and what the store holds, side by side. Nothing here is made up for show: the cookie is
// what was really sent, the record is what the store really answered.

import { type Html, html } from "../shared/html.ts"
import { hanger } from "../shared/page.ts"
import { jsonBlock, timeOf } from "../shared/parts.ts"
import type { Mode } from "./page.ts"

/** The session's cookie, as the browser holds it after this reply. */
export interface CookieView {
  readonly name: string
  readonly value: string
  /** "HttpOnly", "Path=/", …, as they were sent. */
  readonly attributes: readonly string[]
  /** Whether this very reply has set it. */
  readonly isNew: boolean
}

/** The session's record, as the store holds it. */
export interface RecordView {
  readonly key: string
  /** JSON text. */
  readonly value: string
  /** Epoch ms. */
  readonly expiresAt: number | null
}

/** What the panel shows. */
export interface Lesson {
  readonly mode: Mode
  /** null: the browser holds none. */
  readonly cookie: CookieView | null
  /** null: the store holds none, or did not answer. */
  readonly record: RecordView | null
  /** The key-value service's address, without credentials; null: the store is not such a service. */
  readonly service: string | null
}

/** The panel, and beneath it how the two ways differ. */
export function panel(lesson: Lesson): Html {
  return html`<section class="lesson" aria-labelledby="lesson">
  <h2 id="lesson">Who holds what</h2>
  ${lesson.mode === "store" ? storeSides(lesson) : cookieSides(lesson)}
  <p class="aside">A page should never show its visitor’s cookie. This one does, to you alone, because it is a lesson.
  <code>HttpOnly</code> stays on: the server wrote the value into the page; a script in it could not have. Keep it to yourself,
  for who has your cookie has your session.</p>
</section>
<section class="difference" aria-labelledby="difference">
  <h2 id="difference">Two ways to keep a session</h2>
  <div class="ways">
    ${way("Data in the store", lesson.mode === "store", "USE_SESSION_STORE=true npm start", [
      "The browser holds a random number. It tells nothing and can’t be guessed.",
      "The server sees every session, and can end any of them at once.",
      "Each load asks the store.",
    ])}
    ${way("Data in the cookie", lesson.mode === "cookie", "USE_SESSION_STORE=false npm start", [
      "The browser holds the data. Its owner can read it; a signature keeps it from being changed.",
      "The server keeps nothing, so it can’t end a session by itself: an old copy of the cookie is good until it runs out.",
      "No store to ask, but 4 KB at most, and they travel with every request.",
    ])}
  </div>
  <p class="aside">The application’s code is the same for both. One setting decides: <code>USE_SESSION_STORE</code>, in the
  environment or in <code>examples/counter/counter.cfg</code>.</p>
</section>
`
}

function storeSides({ cookie, record, service }: Lesson): Html {
  return html`<div class="sides linked">
    <article class="side">
      <p class="kicker">Your browser holds</p>
      <h3>A ticket</h3>
      <p class="about">A cookie with a random number in it, and no data. It stays the same from load to load.</p>
      ${
        cookie &&
        html`<dl>
        <dt>Name</dt><dd><code class="value">${cookie.name}</code></dd>
        <dt>Value</dt><dd><code class="value">${cookie.value}</code></dd>
        ${attributeList(cookie)}
      </dl>`
      }
    </article>
    <p class="link"><span>SHA-256</span></p>
    <article class="side">
      <p class="kicker">The store holds</p>
      <h3>The coat</h3>
      ${record === null ? missingRecord : recordList(record)}
    </article>
  </div>
  ${record && service && lookYourself(record, service)}`
}

const missingRecord = html`<p class="about">The store did not hand out the record this time: either it is down, or the session was reset
      in another tab a moment ago. Load the page again.</p>`

function recordList(record: RecordView): Html {
  return html`<p class="about">A record with your data. Its key is the SHA-256 of your ticket, which can’t be turned back: nobody who reads
      the store can forge a ticket from it.</p>
      <dl>
        <dt>Key</dt><dd><code class="value">${record.key}</code></dd>
        <dt>Value</dt><dd>${jsonBlock(record.value, ["count"])}</dd>
        ${record.expiresAt !== null && html`<dt>Ends</dt><dd>${timeOf(record.expiresAt)}, unless you come back before</dd>`}
      </dl>`
}

// Commands, not links: the service answers programs and addresses that a person types, and refuses what other pages lead to.
function lookYourself(record: RecordView, service: string): Html {
  return html`<div class="look">
    <p>Look for yourself. Your record, and all there are:</p>
    <code class="command">curl ${service}/${encodeURIComponent(record.key)}</code>
    <code class="command">npx coatcheck dump ${service}</code>
  </div>`
}

function cookieSides({ cookie }: Lesson): Html {
  const parts = cookie && readablePart(cookie.value)
  return html`<div class="sides">
    <article class="side">
      <p class="kicker">Your browser holds</p>
      <h3>The coat itself</h3>
      <p class="about">A cookie with your data in it, and a signature. It is a new one after each load.</p>
      ${
        cookie &&
        html`<dl>
        <dt>Name</dt><dd><code class="value">${cookie.name}</code></dd>
        <dt>Value</dt><dd><code class="value">${parts ? html`${parts.before}<mark>${parts.payload}</mark>${parts.after}` : cookie.value}</code></dd>
        ${
          parts &&
          html`<dt>The marked part, decoded</dt><dd>${jsonBlock(parts.decoded, ["count"])}
          <p class="hint">Base64url hides nothing. You can read this, but not change it: with one character altered, the signature
          behind it no longer fits, and you start again at 1.</p></dd>`
        }
        ${attributeList(cookie)}
      </dl>`
      }
    </article>
    <article class="side bare">
      ${hanger}
      <p class="kicker">The store holds</p>
      <h3>Nothing</h3>
      <p class="about">There is no record of you on the server, only the secret that signs.</p>
    </article>
  </div>`
}

const meanings: Readonly<Record<string, string>> = {
  HttpOnly: "no script can read it",
  "SameSite=Lax": "forms on other sites don’t send it",
  "Path=/": "it goes to every page of this host",
  Secure: "it travels by HTTPS only",
}

function attributeList(cookie: CookieView): Html {
  return html`<dt>Attributes</dt><dd><ul class="attributes">
          ${cookie.attributes.map((attribute) => html`<li><code>${attribute}</code> ${meanings[attribute]}</li>`)}
        </ul>
        <p class="hint">${cookie.isNew ? "Set by the very reply that you are reading." : "As they were when the cookie was set. The browser keeps them to itself, and sends back name and value."}</p></dd>`
}

function way(title: string, isOn: boolean, command: string, points: readonly string[]): Html {
  return html`<article class="${isOn ? "way on" : "way"}">
      <h3>${title}${isOn && html` <span class="badge">on now</span>`}</h3>
      <ul>${points.map((point) => html`<li>${point}</li>`)}</ul>
      <p class="switch">${isOn ? "Started with" : "Switch to it with"} <code class="command">${command}</code></p>
    </article>`
}

interface ReadablePart {
  readonly before: string
  readonly payload: string
  readonly after: string
  readonly decoded: string
}

/** The part of a signed cookie that anyone can read; null: there is none. */
function readablePart(value: string): ReadablePart | null {
  for (const payload of value.split(".")) {
    const decoded = Buffer.from(payload, "base64url").toString()
    if (!decoded.startsWith("{")) continue
    const at = value.indexOf(payload)
    return { before: value.slice(0, at), payload, after: value.slice(at + payload.length), decoded }
  }
  return null
}
