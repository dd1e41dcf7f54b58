// Pieces that several pages show in the same way.

import { type Html, html } from "./html.ts"

/** JSON, indented, with the lines marked that hold one of these members. */
export function jsonBlock(json: string, marked: readonly string[]): Html {
  const lines = JSON.stringify(JSON.parse(json), null, 2).split("\n")
  const isMarked = (line: string) => marked.some((name) => line.includes(`"${name}":`))
  const shown = lines.map((line) => (isMarked(line) ? html`<mark>${line}</mark>\n` : html`${line}\n`))
  // A block that may scroll sideways has to be reachable by keyboard.
  return html`<pre tabindex="0"><code>${shown}</code></pre>`
}

/** A moment, to the minute. */
export function timeOf(at: number): Html {
  const iso = new Date(at).toISOString()
  return html`<time datetime="${iso}">${iso.slice(0, 16).replace("T", " ")} UTC</time>`
}

/** A card with a title, as they stand side by side. */
export function side(kicker: string, title: string, body: Html): Html {
  return html`<article class="side">
      <p class="kicker">${kicker}</p>
      <h3>${title}</h3>
      ${body}
    </article>`
}
