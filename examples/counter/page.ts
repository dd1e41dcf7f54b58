// The frame of every page, and the short pages: not found, store down. The lesson itself is in panel.ts.
// Plain markup without scripts: all there is to do here is a link and a form.

import { type Html, html } from "./html.ts"

/** The page is on: data in the store, or data in the cookie. */
export type Mode = "store" | "cookie"

/** What can be said before the reply's headers are on their way. */
export interface Frame {
  readonly title: string
  /** Where the stylesheet is, with what makes its address change when it does. */
  readonly stylesheet: string
  readonly mode: Mode
}

/** The house mark. */
export const hanger: Html = html`<svg class="hanger" viewBox="0 0 64 44" aria-hidden="true" focusable="false">
  <path d="M26 11a6 6 0 1 1 8.6 5.4C33 17.2 32 18.4 32 20v2L5.5 36.2C3 37.6 4 41 6.8 41h50.4c2.8 0 3.8-3.4 1.3-4.800L32 22"/>
</svg>`

/** The site's icon, as a file of its own: with one named, no browser asks for /favicon.ico. */
export const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="#7a1f2b"/><path transform="translate(6 12) scale(.8125)" d="M26 11a6 6 0 1 1 8.6 5.4C33 17.2 32 18.4 32 20v2L5.5 36.2C3 37.6 4 41 6.8 41h50.4c2.8 0 3.8-3.4 1.3-4.800L32 22" fill="none" stroke="#fbeed3" stroke-width="5" stroke-linecap="round" stroke-linejoin="round"/></svg>
`

const modeNames = { store: "in the store", cookie: "in the cookie" } as const

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
<link rel="stylesheet" href="${frame.stylesheet}">
</head>
<body>
<header class="masthead">
  <p class="brand">${hanger} Coatcheck <span>counter</span></p>
  <p class="mode">Your data is kept <strong>${modeNames[frame.mode]}</strong></p>
</header>
<main>
`
}

/** Everything after it. */
export const pageEnd: Html = html`</main>
</body>
</html>
`

/** The ticket with the count on it. */
export function ticket(count: number): Html {
  const number = String(count).padStart(4, "0")
  return html`<section class="ticket" aria-labelledby="count">
  ${stub(number)}
  <div class="face">
    <p class="kicker">Good for one session · Not transferable</p>
    <h1 id="count">Count: ${count}</h1>
    <p class="lede">One more each time this page is loaded. Every browser counts for itself.</p>
    <div class="actions">
      <a class="button" href="/">Count again</a>
      <form method="post" action="/reset"><button class="button quiet" type="submit">Reset</button></form>
    </div>
  </div>
  <p class="counterfoil" aria-hidden="true">${number}</p>
</section>
`
}

function stub(number: string | null): Html {
  return html`<div class="stub" aria-hidden="true">
    ${hanger}
    <p class="stub-label">Cloakroom</p>
    ${number !== null && html`<p class="stub-number">${number}</p>`}
  </div>`
}

/** A page that only says something, with a way back. */
export function messagePage(frame: Frame, message: { heading: string; text: string; link: string }): Html {
  return html`${pageStart(frame)}<section class="ticket" aria-labelledby="heading">
  ${stub(null)}
  <div class="face">
    <h1 id="heading" class="message">${message.heading}</h1>
    <p class="lede">${message.text}</p>
    <div class="actions"><a class="button" href="/">${message.link}</a></div>
  </div>
</section>
${pageEnd}`
}
