// The page of the values: the value and its form, who served it, where it is kept, and why it may be gone.

import { type Html, html } from "../shared/html.ts"
import type { Neighbour } from "../shared/neighbours.ts"
import { type Frame, pageEnd, pageStart, ticket } from "../shared/page.ts"
import { side } from "../shared/parts.ts"
import type { StorePlace } from "./store-place.ts"

/** The most UTF-16 units of a value. */
export const longestValue = 1_000

/** The frame of its pages. */
export function valueFrame(title: string, neighbours: readonly Neighbour[]): Frame {
  return { title: title.slice(0, 60), name: "values", note: html`On <strong>Hono</strong>`, neighbours }
}

/** What the page shows. */
export interface ValueView {
  /** null: none is set. */
  readonly value: string | null
  /** The port on which this request came in. */
  readonly port: number
  readonly place: StorePlace
  /** Whether the browser brought the id of a session that this process does not know. */
  readonly isStranger: boolean
}

/** The whole page. */
export function valuePage(frame: Frame, { value, port, place, isStranger }: ValueView): Html {
  const heading =
    value === null
      ? html`<h1 id="heading" class="message">No session value set.</h1>`
      : html`<h1 id="heading" class="message">Session Value = ${value}</h1>`
  const body = html`<p class="lede who">Served from process at port: ${port}</p>
    ${isStranger && place.reach !== "all" && html`<p class="problem">Your browser brought a ticket that this process has no coat for. ${whyGone(place)}</p>`}
    <form class="form" method="post" action="/session/set">
      <label for="value">A value of your own</label>
      <input id="value" name="value" required maxlength="${longestValue}" autocomplete="off">
      <div class="actions">
        <button class="button" type="submit">Set</button>
        ${value !== null && html`<button class="button quiet" type="submit" form="unset">Unset</button>`}
        <a class="button quiet" href="/">Load again</a>
      </div>
    </form>
    <form id="unset" method="post" action="/session/unset"></form>`
  return html`${pageStart(frame)}${ticket({ number: String(port), kicker: "Which counter served you", heading, body })}
<section aria-labelledby="lesson">
  <h2 id="lesson">Where the value is</h2>
  <div class="sides">
    ${side(
      "This process keeps it in",
      capital(place.name),
      html`${reachText(place)}
      <dl>
        <dt>From the command line, with a jar for the cookie</dt>
        <dd><code class="command">curl -b jar -c jar -L localhost:${port}/session/set/coat</code></dd>
        <dd><code class="command">curl -b jar -c jar -L localhost:${port}/session/unset/</code></dd>
      </dl>`,
    )}
    ${side(
      "One setting decides",
      "STORE_URL",
      html`<p class="about">The application’s code is the same for all of them. Give each instance a store of its own, and a load balancer
      makes every other load forget; give all of them the same one, and it never does.</p>
      <dl>
        <dt>Each for itself</dt><dd><code class="command">STORE_URL=memory:</code></dd>
        <dt>All together</dt><dd><code class="command">STORE_URL=redis://localhost:6379</code></dd>
        <dd><code class="command">STORE_URL=http://localhost:5100</code></dd>
      </dl>`,
    )}
  </div>
</section>
${pageEnd}`
}

function reachText(place: StorePlace): Html {
  if (place.reach === "all") {
    return html`<p class="about">Every instance that is given the same address finds the value there, whichever of them has set it, and
      whichever a load balancer asks next.</p>`
  }
  return html`<p class="about">${whyGone(place)}</p>`
}

function whyGone({ reach }: StorePlace): string {
  const who =
    reach === "process"
      ? "The memory of a process is seen by no other"
      : "An instance with files of its own, or on another machine, does not see these"
  return `${who}: behind a load balancer, a value that one instance has set is gone when the next request goes to another.`
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
