// The pages of the visits: nobody logged in, the form, and the count.

import type { Entry } from "coatcheck"
import { type Html, html } from "../shared/html.ts"
import type { Neighbour } from "../shared/neighbours.ts"
import { type Frame, pageEnd, pageStart, ticket, ticketNumber } from "../shared/page.ts"
import { jsonBlock, side } from "../shared/parts.ts"
import { longestName, type NameProblem } from "./name.ts"

/** The frame of its pages. */
export function visitsFrame(title: string, neighbours: readonly Neighbour[]): Frame {
  return { title, name: "visits", note: html`On <strong>Express</strong>`, neighbours }
}

/** For who has not signed in. */
export function strangerPage(frame: Frame): Html {
  const heading = html`<h1 id="heading" class="message">You are not logged in</h1>`
  const body = html`<p class="lede">Give a name, and this page counts your visits. There is no password: the name is all there is to an
    account here.</p>
    <div class="actions"><a class="button" href="/login">Log in</a></div>`
  return html`${pageStart(frame)}${ticket({ number: null, kicker: "Guest book", heading, body })}${lesson(null, 0)}${pageEnd}`
}

/** What the login form shows. */
export interface LoginForm {
  readonly token: string
  /** Who is signed in already; null: nobody. */
  readonly owner: string | null
  /** What was wrong with the name that was sent. */
  readonly problem?: NameProblem
}

/** The form. */
export function loginPage(frame: Frame, { token, owner, problem }: LoginForm): Html {
  const heading = html`<h1 id="heading" class="message">Log in</h1>`
  const field = problem
    ? html`<input id="username" name="username" autocomplete="username" required maxlength="${longestName}" autofocus
        aria-invalid="true" aria-describedby="problem">
      <p class="problem" id="problem">${problem.text}</p>`
    : html`<input id="username" name="username" autocomplete="username" required maxlength="${longestName}" autofocus>`
  const body = html`${owner !== null && html`<p class="lede">You are logged in as ${owner}. Another name ends that.</p>`}
    <form class="form" method="post" action="/login">
      <input type="hidden" name="csrf" value="${token}">
      <label for="username">E-mail or name</label>
      ${field}
      <div class="actions"><button class="button" type="submit">Log in</button> <a class="button quiet" href="/">Back</a></div>
    </form>`
  return html`${pageStart(frame)}${ticket({ number: null, kicker: "Guest book", heading, body })}
<section aria-labelledby="lesson">
  <h2 id="lesson">What signing in does</h2>
  <div class="sides">
    ${side(
      "The ticket changes",
      "A new id",
      html`<p class="about">Whatever id this browser held before is dead afterwards. Who had planted it, or copied it, holds nothing.</p>`,
    )}
    ${side(
      "The form has a token",
      "Good for this visit alone",
      html`<p class="about">A hidden field binds the form to your session. Another site can make your browser send a form, but it can’t
      know the token; without it the answer is 403. It dies with the id.</p>`,
    )}
  </div>
</section>
${pageEnd}`
}

/** What the first page shows to somebody. */
export interface Visit {
  readonly name: string
  readonly visits: number
  /** The count as the store holds it; null: it did not hand it out. */
  readonly entry: Entry | null
}

/** The count. */
export function visitsPage(frame: Frame, { name, visits, entry }: Visit): Html {
  const heading = html`<h1 id="heading">Visits: ${visits}</h1>`
  const body = html`<p class="lede who">Logged in as ${name}.</p>
    <p class="lede">Come back within 30 seconds, and the count goes on. Stay away for longer, and it begins at 1.</p>
    <div class="actions">
      <a class="button" href="/">Visit again</a>
      <form method="post" action="/logout"><button class="button quiet" type="submit">Log out</button></form>
    </div>`
  return html`${pageStart(frame)}${ticket({ number: ticketNumber(visits), kicker: "Guest book", heading, body })}${lesson(entry, visits)}${pageEnd}`
}

function lesson(entry: Entry | null, visits: number): Html {
  return html`<section aria-labelledby="lesson">
  <h2 id="lesson">Two things, two lives</h2>
  <div class="sides">
    ${side(
      "The login",
      "A session",
      html`<p class="about">It begins when you log in, under an id that nobody has seen before, and ends when you log out, or when you have
      not come for half an hour. Logging out does not touch the count.</p>
      <dl><dt>How the application says it</dt>
      <dd><code class="command">await session.signIn(name)</code></dd>
      <dd><code class="command">await session.signOut()</code></dd></dl>`,
    )}
    ${side(
      "The count",
      "An entry of its own",
      html`<p class="about">It belongs to the name, so all browsers of one person count together, and a hundred visits at once are a
      hundred. Each moves its end to 30 seconds from now.</p>
      ${entry === null ? html`<dl><dt>How the application says it</dt><dd>${updateLine}</dd></dl>` : entryList(entry, visits)}`,
    )}
  </div>
</section>
`
}

const updateLine = html`<code class="command">updateEntry(store, key, (count = 0) =&gt; count + 1, { expiresIn: "30s" })</code>`

function entryList(entry: Entry, visits: number): Html {
  const ends = entry.expiresAt === null ? null : new Date(entry.expiresAt).toISOString()
  return html`<dl>
        <dt>How the application says it</dt><dd>${updateLine}</dd>
        <dt>Key, with a hash of the name in it</dt><dd><code class="value">${entry.key}</code></dd>
        <dt>Value</dt><dd>${jsonBlock(entry.value, [])}</dd>
        ${ends !== null && html`<dt>Ends</dt><dd><time datetime="${ends}">${ends.slice(11, 19)} UTC</time>, unless visit ${visits + 1} comes before</dd>`}
      </dl>`
}
