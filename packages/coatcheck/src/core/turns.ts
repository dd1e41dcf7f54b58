// The operations of one session take turns in the order in which they were called, whether or not the handler waits for each.
// Updates go side by side, for the carrier puts their writes in order; a rotation or an ending has the session to itself, and the
// commit is the last. So the reply comes after all that was begun before it, and nobody works on an id that is being replaced.
//
// This is a plain record and functions over it, because one is made for every opened session. Where nobody is in the way, work
// begins at once, and a plain result stays one.

/** Who has a turn, or waits for one. The promises never reject: who began the work is told of its failure. */
export interface Turns {
  /** Settles with the last one that has, or will have, the session to itself. */
  alone: Promise<unknown> | null
  /** Settles with all that go side by side and were begun after that one. */
  beside: Promise<unknown> | null
}

/** Nobody has a turn. */
export function noTurns(): Turns {
  return { alone: null, beside: null }
}

/** Does work after the last one that was begun to be alone, side by side with others. */
export function takeBeside<T>(turns: Turns, work: () => Promise<T>): Promise<T> {
  const turn = turns.alone ? turns.alone.then(work) : work()
  const ending = Promise.allSettled([turns.beside, turn])
  turns.beside = ending
  void ending.then(() => {
    if (turns.beside === ending) turns.beside = null
  })
  return turn
}

/** Does work after all that was begun before, as the last one: nobody takes a turn behind it. */
export function takeLast<T>(turns: Turns, work: () => T | Promise<T>): T | Promise<T> {
  const before = turns.beside ?? turns.alone // who goes beside was begun after the last one who is alone
  return before ? before.then(work) : work()
}

/** Does work alone, after all that was begun before. */
export function takeAlone<T>(turns: Turns, work: () => Promise<T>): Promise<T> {
  const turn = Promise.resolve(takeLast(turns, work))
  const ending = turn.then(ignore, ignore)
  turns.alone = ending
  turns.beside = null
  void ending.then(() => {
    if (turns.alone === ending) turns.alone = null
  })
  return turn
}

/** Work that may overlap. */
export interface UnderWay {
  count: number
  /** Settles with all of it, and never rejects. */
  ending: Promise<unknown> | null
}

/** No work yet. */
export function nothingUnderWay(): UnderWay {
  return { count: 0, ending: null }
}

/** Follows work to its end; when it was the last that was under way, calls `onLast` before anybody is told. */
export async function follow(underWay: UnderWay, work: Promise<void>, onLast: () => void): Promise<void> {
  underWay.count++
  underWay.ending = Promise.allSettled([underWay.ending, work])
  try {
    await work
  } finally {
    if (--underWay.count === 0) onLast()
  }
}

function ignore(): void {}
