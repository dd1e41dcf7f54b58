// What the counter's page has of its own: the ticket with the count on it. The lesson beneath it is in panel.ts.

import { type Html, html } from "../shared/html.ts"
import type { Neighbour } from "../shared/neighbours.ts"
import { type Frame, ticket, ticketNumber } from "../shared/page.ts"

/** The page is on: data in the store, or data in the cookie. */
export type Mode = "store" | "cookie"

const modeNames = { store: "in the store", cookie: "in the cookie" } as const

/** The frame of the counter's pages. */
export function counterFrame(title: string, mode: Mode, neighbours: readonly Neighbour[]): Frame {
  const note = html`Your data is kept <strong>${modeNames[mode]}</strong>`
  return { title, name: "counter", note, neighbours }
}

/** The ticket with the count on it. */
export function countTicket(count: number): Html {
  return ticket({
    number: ticketNumber(count),
    kicker: "Good for one session · Not transferable",
    heading: html`<h1 id="heading">Count: ${count}</h1>`,
    body: html`<p class="lede">One more each time this page is loaded. Every browser counts for itself.</p>
    <div class="actions">
      <a class="button" href="/">Count again</a>
      <form method="post" action="/reset"><button class="button quiet" type="submit">Reset</button></form>
    </div>`,
  })
}
