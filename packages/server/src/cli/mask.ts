// Hides what may be an id, so that a dump can be shown around. Not only `session:` keys hold ids: an old application's keys are bare
// ids, and a value may name another session or carry a token. So the rule is about looks: 20 characters or more of an id's alphabet in
// a row. Every session id worth its name is that long; few words are. The first six stay, to tell one session from another.

import { mapStrings } from "./json-text.ts"

const looksLikeAnId = /[A-Za-z0-9_-]{20,}/g
// At least five, so that an escape such as \u00e9, whose letters may begin a match, stays whole.
const SHOWN = 6

/** A text with everything that looks like an id cut to its first six characters and "…". */
export function maskText(text: string): string {
  return text.replace(looksLikeAnId, (id) => `${id.slice(0, SHOWN)}…`)
}

/** JSON text with its strings masked; numbers, however long, stay. */
export function maskJson(json: string): string {
  return mapStrings(json, maskText)
}
