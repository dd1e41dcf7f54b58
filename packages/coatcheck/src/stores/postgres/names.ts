// Names of schema and table. They can't be parameters of a statement, so they are text in it: what may stand there is decided here,
// once, when the store is made, and it is quoted besides. Anything but letters, digits and underscores is refused rather than escaped.

import { sha256 } from "../../core/crypto.ts"

/** Postgres cuts names at 63 bytes; the names of the indexes have a tail of their own. */
const longest = 55
const form = /^[A-Za-z_][A-Za-z0-9_]*$/

/** The names of one table and what belongs to it, quoted, ready to stand in a statement. */
export interface TableNames {
  /** `"schema"`; null: wherever the role's search path leads. */
  readonly schema: string | null
  /** With its schema, if one was named. */
  readonly table: string
  readonly byEnd: string
  readonly byOwner: string
}

/**
 * Checks and quotes the names of schema and table.
 *
 * @throws TypeError when one has other characters than letters, digits and underscores, or is too long.
 */
export function tableNames(schema: string | null, table: string): TableNames {
  if (schema !== null) check("schema", schema)
  check("table", table)
  const within = schema === null ? "" : `"${schema}".`
  return {
    schema: schema === null ? null : `"${schema}"`,
    table: `${within}"${table}"`,
    byEnd: `"${table}_by_end"`,
    byOwner: `"${table}_by_owner"`,
  }
}

/** A short name that is always the same for the same text, and another one for another: of statements and channels. */
export function shortName(text: string): string {
  return `coatcheck_${sha256(text).slice(0, 16)}`
}

function check(what: string, name: string): void {
  if (typeof name !== "string" || !form.test(name) || name.length > longest) {
    throw new TypeError(`${what} must be a name of letters, digits and underscores, of at most ${longest} characters`)
  }
}
