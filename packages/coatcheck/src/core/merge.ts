// Puts one request's changes on a newer version of the same data: a three-way merge of top-level keys. What only one side changed
// is taken from that side; what both changed is decided by that key's rule. Pure, and all or nothing: a rule that throws leaves
// the newer data as it was.
//
// Top-level keys are the unit because applications think in them (count, cart, flash): going deeper would join halves of objects
// that belong together. Where the whole is not enough, the rule may be a function, or the change be made by `update`.

import { CoatcheckError } from "../errors.ts"
import { isObject, type SessionData } from "./record.ts"

/**
 * What happens to a key that two requests changed.
 *
 * - "mine": the later writer's value stands (the default).
 * - "theirs": the earlier writer's value stands.
 * - "error": the later writer's commit fails with `conflict`.
 * - "add": numbers; both differences count, so that parallel increments are exact.
 * - "union": lists; what either side added is there, what either side removed is not.
 * - a function of (base, mine, theirs), each undefined where the key is absent; undefined removes it. It must be pure, and is also
 *   asked when both sides changed the key to the same value.
 *
 * Where "add" meets something that is no number, or "union" something that is no list, the rule for all other keys decides.
 */
export type Rule = "mine" | "theirs" | "error" | "add" | "union" | MergeFunction

/** Decides a key that two requests changed. Values are JSON values, or undefined where the key is absent. */
export type MergeFunction = (base: unknown, mine: unknown, theirs: unknown) => unknown

/** The rule of each key, and of all the others. */
export interface Rules {
  readonly of: ReadonlyMap<string, Rule>
  readonly others: "mine" | "theirs" | "error"
}

/**
 * Puts the changes from `base` to `mine` on `theirs`, in place.
 *
 * @returns the keys that both sides changed to different values, whatever rule decided them.
 * @throws CoatcheckError `conflict` where a rule is "error"; whatever a rule's function throws. `theirs` is unchanged then.
 */
export function mergeInto(theirs: SessionData, base: SessionData, mine: SessionData, rules: Rules): string[] {
  const decided: [key: string, value: unknown][] = []
  const conflicts: string[] = []
  for (const key of new Set([...Object.keys(base), ...Object.keys(mine)])) {
    const was = own(base, key)
    const wanted = own(mine, key)
    if (same(was, wanted)) continue
    const there = own(theirs, key)
    if (same(was, there)) {
      decided.push([key, wanted])
      continue
    }
    const equal = same(wanted, there)
    if (!equal) conflicts.push(key)
    decided.push([key, decide(key, was, wanted, there, equal, rules)])
  }
  for (const [key, value] of decided) {
    if (value === undefined) delete theirs[key]
    else theirs[key] = value
  }
  return conflicts
}

function decide(key: string, base: unknown, mine: unknown, theirs: unknown, equal: boolean, rules: Rules): unknown {
  const rule = rules.of.get(key) ?? rules.others
  if (typeof rule === "function") return rule(base, mine, theirs)
  if (rule === "add" && isNumber(base ?? 0) && isNumber(mine) && isNumber(theirs))
    return theirs + (mine - Number(base ?? 0))
  if (rule === "union" && isList(base ?? []) && isList(mine) && isList(theirs))
    return union((base ?? []) as unknown[], mine, theirs)
  if (equal) return theirs
  const plain = rule === "add" || rule === "union" ? rules.others : rule
  if (plain === "error") {
    throw new CoatcheckError(
      "conflict",
      "another request changed the same part of this session; load it again and repeat",
    )
  }
  return plain === "mine" ? mine : theirs
}

function isNumber(value: unknown): value is number {
  return typeof value === "number"
}

function isList(value: unknown): value is unknown[] {
  return Array.isArray(value)
}

// Elements are told apart by their text. What I removed goes, what I added comes last, each text once where I touched it.
function union(base: unknown[], mine: unknown[], theirs: unknown[]): unknown[] {
  const before = new Set(base.map(textOf))
  const kept = new Set(mine.map(textOf))
  const result = theirs.filter((element) => kept.has(textOf(element)) || !before.has(textOf(element)))
  const there = new Set(result.map(textOf))
  for (const element of mine) {
    const text = textOf(element)
    if (!before.has(text) && !there.has(text)) {
      result.push(element)
      there.add(text)
    }
  }
  return result
}

function textOf(value: unknown): string {
  return JSON.stringify(value) ?? "undefined"
}

/** Whether two JSON values are the same, in whatever order their members come. */
function same(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (isList(a) && isList(b)) return a.length === b.length && a.every((element, i) => same(element, b[i]))
  if (!isObject(a) || !isObject(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
}

function own(data: SessionData, key: string): unknown {
  return Object.hasOwn(data, key) ? data[key] : undefined
}

/** Rules from settings. @throws TypeError for a rule that is none. */
export function rulesFrom(
  onConflict: Rules["others"] | undefined,
  perKey: Readonly<Record<string, Rule | undefined>> | undefined,
): Rules {
  const others = onConflict ?? "mine"
  if (!["mine", "theirs", "error"].includes(others))
    throw new TypeError('onConflict must be "mine", "theirs" or "error"')
  const of = new Map<string, Rule>()
  for (const [key, rule] of Object.entries(perKey ?? {})) {
    if (rule === undefined) continue
    if (typeof rule !== "function" && !["mine", "theirs", "error", "add", "union"].includes(rule)) {
      throw new TypeError(`the rule of "${key}" must be "mine", "theirs", "error", "add", "union" or a function`)
    }
    of.set(key, rule)
  }
  return { of, others }
}
