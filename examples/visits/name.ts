// What counts as a name. It becomes the owner of sessions and the text of a page, so it is short, visible and of one spelling.

/** The most characters of a name. */
export const longestName = 100

/** Why a name is none, for the person who typed it. */
export interface NameProblem {
  readonly text: string
}

// Control characters, line and paragraph ends, halves of characters, and what turns the direction of the text around it.
const unfit = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u

/** The name in a form's field, without blanks around it and with its accents composed; or what is wrong with it. */
export function readName(field: unknown): { name: string; problem: null } | { name: null; problem: NameProblem } {
  if (typeof field !== "string") return no("The form needs one field, username.")
  if (unfit.test(field)) return no("The name has a character in it that can’t be seen.")
  const name = field.trim().normalize("NFC")
  if (name === "") return no("Write a name into the field.")
  if ([...name].length > longestName) return no(`The name has more than ${longestName} characters.`)
  return { name, problem: null }
}

function no(text: string): { name: null; problem: NameProblem } {
  return { name: null, problem: { text } }
}
