// A template tag that escapes. Everything put into html`…` becomes text, also inside quoted attributes; only what another html`…`
// made passes as it is. So forgetting to escape is not possible, and no template engine is needed for one page.

/** A piece of markup that is safe to send. Only the tag below makes one. */
export interface Html {
  readonly markup: string
}

/** What can be put into a template. */
export type Value = Html | string | number | false | null | undefined | readonly Value[]

const made = new WeakSet<Html>()

const replacements: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
}

/** Text as it has to be written inside an element or a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => replacements[character] ?? character)
}

function render(value: Value): string {
  if (value === null || value === undefined || value === false) return ""
  if (typeof value === "string" || typeof value === "number") return escapeHtml(String(value))
  if (isList(value)) return value.map(render).join("")
  // An object that only looks like it, such as parsed JSON, is none of the tag's.
  return made.has(value) ? value.markup : escapeHtml(value.markup)
}

function isList(value: Html | readonly Value[]): value is readonly Value[] {
  return Array.isArray(value)
}

/** Markup with its values escaped. A list is joined; null, undefined and false are nothing. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  const piece = { markup: String.raw({ raw: strings }, ...values.map(render)) }
  made.add(piece)
  return piece
}
