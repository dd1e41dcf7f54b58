// How many operations of batches are under way at once. What is under way is alive in memory, and thousands of small things that all
// live a while cost the garbage collector more than doing them does: a fifth of a batch, with 32 clients. No engine gains by more
// than it takes together. So a batch that comes when many operations are under way waits, as one text, until fewer are.
//
// It waits only while operations end: where the engine is stuck, nobody is to wait for the others' operations as well.

/** The operations of one service's batches. */
export interface Pace {
  /** Takes a turn, which ends with `begin`. undefined: there is nothing to wait for. */
  turn(): Promise<void> | undefined
  /** So many operations begin; 0: the batch was none. */
  begin(count: number): void
  /** One of them has ended. */
  end(): void
}

const most = 256
const stuckMs = 50

/** A pace at which nothing is under way. */
export function pace(): Pace {
  const waiting: (() => void)[] = []
  let underWay = 0
  let taken = false // a turn is between `turn` and `begin`, and nobody knows yet how many operations it brings
  let ended = 0 // since the timer looked
  let timer: NodeJS.Timeout | undefined

  function next(): void {
    if (taken || underWay >= most) return
    const go = waiting.shift()
    if (go === undefined) return
    taken = true
    go()
  }

  function look(): void {
    if (ended === 0) for (const go of waiting.splice(0)) go()
    ended = 0
    timer = waiting.length > 0 ? setTimeout(look, stuckMs) : undefined
  }

  return {
    turn() {
      if (underWay < most && waiting.length === 0) return undefined
      timer ??= setTimeout(look, stuckMs)
      return new Promise((resolve) => waiting.push(resolve))
    },
    begin(count) {
      underWay += count
      taken = false
      next()
    },
    end() {
      underWay -= 1
      ended += 1
      if (waiting.length > 0) next()
    },
  }
}
