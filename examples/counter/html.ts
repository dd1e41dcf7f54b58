// A template tag that escapes. Everything put into html`…` becomes text, also inside quoted attributes; only what another html`…`
// made passes as it is. So forgetting to escape is not possible, and no template engine is needed for one page.

/** A piece of markup that is safe to send. Only the tag below makes one. */
export interface Html {
  readonly markup: string
}

const made = new WeakSet<object>()

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

function render(value: unknown): string {
  if (value === null || value === undefined || value === false) return ""
  if (Array.isArray(value)) return value.map(render).join("")
  // The set tells what the tag made from an object that merely looks like it, such as parsed JSON.
  if (typeof value === "object" && made.has(value)) return (value as Html).markup
  return escapeHtml(String(value))
}

/** Markup with its values escaped. A list is joined; null, undefined and false are nothing. */
export function html(strings: TemplateStringsArray, ...values: readonly unknown[]): Html {
  const piece = { markup: String.raw({ raw: strings }, ...values.map(render)) }
  made.add(piece)
  return piece
}
