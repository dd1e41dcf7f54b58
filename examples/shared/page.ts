// The frame of every page of every example, its ticket, and the pages that only say something. Plain markup without scripts: all
// there is to do is links and forms.

import { type Html, html } from "./html.ts"
import type { Neighbour } from "./neighbours.ts"
import { stylesheetAddress } from "./replies.ts"

/** What can be said before the page's content. */
export interface Frame {
  readonly title: string
  /** The example's name, as it stands beside the house's. */
  readonly name: string
  /** A few words at the top right: what it is made of, or where the data is. */
  readonly note: Html
  /** All examples that run beside this one, itself among them; empty: it runs alone. */
  readonly neighbours: readonly Neighbour[]
}

/** The house mark. */
export const hanger: Html = html`<svg class="hanger" viewBox="0 0 64 44" aria-hidden="true" focusable="false">
  <path d="M26 11a6 6 0 1 1 8.6 5.4C33 17.2 32 18.4 32 20v2L5.5 36.2C3 37.6 4 41 6.8 41h50.4c2.8 0 3.8-3.4 1.3-4.800L32 22"/>
</svg>`

/** Everything up to the page's content. */
export function pageStart(frame: Frame): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${frame.title} · Coatcheck</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="${stylesheetAddress}">
</head>
<body>
<header class="masthead">
  <p class="brand">${hanger} Coatcheck <span>${frame.name}</span></p>
  <p class="mode">${frame.note}</p>
  ${frame.neighbours.length > 0 && neighbourLinks(frame)}
</header>
<main>
`
}

function neighbourLinks({ name, neighbours }: Frame): Html {
  const entries = neighbours.map((one) => {
    const isHere = one.name === name
    return html`<li>${isHere ? html`<a href="/" aria-current="true">${one.name}</a>` : html`<a href="${one.url}">${one.name}</a>`}</li>`
  })
  return html`<nav class="rooms" aria-label="Examples"><ul>${entries}</ul></nav>`
}

/** Everything after it. */
export const pageEnd: Html = html`</main>
</body>
</html>
`

/** What a ticket says. */
export interface TicketText {
  /** Printed on the stub; null: nothing. */
  readonly number: string | null
  /** The small line on top; null: none. */
  readonly kicker: string | null
  readonly heading: Html
  readonly body: Html
}

/** The ticket: a stub with a number, and the face with all that matters on the page. */
export function ticket({ number, kicker, heading, body }: TicketText): Html {
  return html`<section class="ticket" aria-labelledby="heading">
  <div class="stub" aria-hidden="true">
    ${hanger}
    <p class="stub-label">Cloakroom</p>
    ${number !== null && html`<p class="stub-number">${number}</p>`}
  </div>
  <div class="face">
    ${kicker !== null && html`<p class="kicker">${kicker}</p>`}
    ${heading}
    ${body}
  </div>
  ${number !== null && html`<p class="counterfoil" aria-hidden="true">${number}</p>`}
</section>
`
}

/** A number as the ticket prints it. */
export function ticketNumber(number: number): string {
  return String(number).padStart(4, "0")
}

/** What a page says that has nothing else to say, and where its one link leads. */
export interface Message {
  readonly heading: string
  readonly text: string
  readonly link: string
  /** Default "/". */
  readonly href?: string
}

/** A page that only says something, with a way on. */
export function messagePage(frame: Frame, { heading, text, link, href = "/" }: Message): Html {
  const body = html`<p class="lede">${text}</p>
    <div class="actions"><a class="button" href="${href}">${link}</a></div>`
  const shown = html`<h1 id="heading" class="message">${heading}</h1>`
  return html`${pageStart(frame)}${ticket({ number: null, kicker: null, heading: shown, body })}${pageEnd}`
}
