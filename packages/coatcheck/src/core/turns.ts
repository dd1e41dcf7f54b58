// Whose turn it is among what one session has under way. A change of its id (creation, rotation, ending) has the session to itself;
// writes go side by side, since the carrier puts them in order; the commit comes after all that was begun before it. This is a
// plain record and functions over it, because one is made for every opened session.

/** What is under way. Neither promise ever rejects: who began the work is told of its failure. */
export interface Turns {
  /** Settles with the change of id. */
  alone: Promise<unknown> | null
  /** Settles with all the writes. */
  beside: Promise<unknown> | null
  writes: number
}

/** Nothing is under way. */
export function noTurns(): Turns {
  return { alone: null, beside: null, writes: 0 }
}

/** Whether anything is under way. */
export function isBusy(turns: Turns): boolean {
  return (turns.alone ?? turns.beside) !== null
}

/** Until nothing is under way. Where that is so already, waiting for it would let others go first. */
export async function quiet(turns: Turns): Promise<void> {
  while (turns.alone ?? turns.beside) await (turns.alone ?? turns.beside)
}

/** Begins a change of id. Only to be called when no other one is under way. */
export async function takeAlone(turns: Turns, work: Promise<void>): Promise<void> {
  turns.alone = work.catch(ignore)
  try {
    await work
  } finally {
    turns.alone = null
  }
}

/** Begins a write. `onLast` is called when it has ended, one way or the other, and no further one is under way. */
export function takeBeside(turns: Turns, work: Promise<void>, onLast: () => void): Promise<void> {
  turns.writes++
  const ending = work.finally(() => {
    if (--turns.writes > 0) return
    turns.beside = null
    onLast()
  })
  turns.beside = Promise.all([turns.beside, ending.catch(ignore)])
  return ending
}

function ignore(): void {}
