// The page of the two counters: the ticket with both numbers and their buttons, the record as it is kept, and what happens when two tabs
// press at once.

import type { Entry } from "coatcheck"
import { type Html, html } from "../shared/html.ts"
import type { Neighbour } from "../shared/neighbours.ts"
import { type Frame, pageEnd, pageStart, ticket, ticketNumber } from "../shared/page.ts"
import { jsonBlock, side, timeOf } from "../shared/parts.ts"

/** The frame of its pages. */
export function countersFrame(title: string, neighbours: readonly Neighbour[]): Frame {
  return { title, name: "two-counters", note: html`On <strong>Fastify</strong>`, neighbours }
}

/** The whole page. `record` is null when the store did not hand it out. */
export function countersPage(
  frame: Frame,
  { count1, count2 }: { readonly count1: number; readonly count2: number },
  record: Entry | null,
): Html {
  const heading = html`<h1 id="heading" class="pair"><span>Counter 1: ${count1}</span> <span>Counter 2: ${count2}</span></h1>`
  const body = html`<p class="lede">Loading this page adds one to the first. Only the button adds one to the second; it leads back here,
    so the first goes up as well.</p>
    <div class="actions">
      <a class="button" href="/">Refresh</a>
      <form method="post" action="/increment"><button class="button" type="submit">Increment Counter 2</button></form>
      <form method="post" action="/reset"><button class="button quiet" type="submit">Reset</button></form>
    </div>`
  return html`${pageStart(frame)}${ticket({ number: ticketNumber(count1), kicker: "Two coats · One ticket", heading, body })}
<section aria-labelledby="lesson">
  <h2 id="lesson">Two numbers in one session</h2>
  <div class="sides">
    ${side("The store holds", "One record", recordText(record))}
    ${side(
      "Two tabs at once",
      "Nothing is lost",
      html`<p class="about">Press Refresh in one tab and Increment in another at the same moment. Both requests read the same record,
      and both write. The second to come finds that the record has changed, puts its own difference on the newer one, and writes
      that.</p>
      <dl>
        <dt>This is all that the application says about it</dt>
        <dd><code class="command">rules: { count1: "add", count2: "add" }</code></dd>
        <dt>Then a handler may simply assign</dt>
        <dd><code class="command">session.data = { count1, count2: count2 + 1 }</code></dd>
        <dt>Without rules, for any change whatever</dt>
        <dd><code class="command">await session.update((data) =&gt; { data.count2 += 1 })</code></dd>
      </dl>`,
    )}
  </div>
</section>
${pageEnd}`
}

function recordText(record: Entry | null): Html {
  if (record === null) {
    return html`<p class="about">The store did not hand out the record this time. Load the page again.</p>`
  }
  return html`<p class="about">Your browser brought a cookie named <code>SID</code>: a random id, and no data. Both numbers are under
      the hash of it.</p>
      <dl>
        <dt>Key</dt><dd><code class="value">${record.key}</code></dd>
        <dt>Value</dt><dd>${jsonBlock(record.value, ["count1", "count2"])}</dd>
        ${record.expiresAt !== null && html`<dt>Ends</dt><dd>${timeOf(record.expiresAt)}, unless you come back before</dd>`}
      </dl>`
}
