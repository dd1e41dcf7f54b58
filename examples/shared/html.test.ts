import { describe, expect, it } from "vitest"
import { escapeHtml, html } from "./html.ts"

describe("html", () => {
  it("escapes what is put in, as text and as an attribute", () => {
    const hostile = `"><script>alert('1')</script>&`
    const markup = html`<a title="${hostile}">${hostile}</a>`.markup
    const escaped = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"
    expect(markup).toBe(`<a title="${escaped}">${escaped}</a>`)
    expect(escapeHtml("plain")).toBe("plain")
  })

  it("passes what it made itself, joins lists and leaves out nothing, null and false", () => {
    const items = ["<", ">"].map((text) => html`<li>${text}</li>`)
    expect(html`<ul>${items}</ul>${null}${undefined}${false}${0}`.markup).toBe("<ul><li>&lt;</li><li>&gt;</li></ul>0")
  })

  it("is not fooled by an object of the same shape", () => {
    expect(html`${{ markup: "<script>" }}`.markup).toBe("&lt;script&gt;")
  })
})
