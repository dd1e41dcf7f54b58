// Somewhere to wait for something, no longer than so many ms, without asking again and again.

/** See the head of the file. */
export interface Bell {
  /** Resolves at the next `ring`, or after so many ms; the caller looks what has happened. */
  wait(ms: number): Promise<void>
  ring(): void
}

/** Makes a bell that nobody waits for. */
export function bell(): Bell {
  const waiting = new Set<() => void>()
  return {
    wait: (ms) =>
      new Promise((resolve) => {
        const done = (): void => {
          clearTimeout(late)
          waiting.delete(done)
          resolve()
        }
        const late = setTimeout(done, ms)
        waiting.add(done)
      }),
    ring() {
      for (const done of waiting) done() // each takes itself out
    },
  }
}
