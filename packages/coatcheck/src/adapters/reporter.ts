// What an adapter tells people. Replies say as little as they can, so this is where the rest goes.

/** Where an adapter reports to; shared by every adapter's options. */
export interface ReporterOptions {
  /**
   * Gets what a handler threw, and what kept a session from being kept (not conflicts, which are ordinary). The reply has left
   * by then. Default: console.error.
   */
  readonly onError?: (error: unknown) => unknown
  /** Gets a sentence, once each, when the application's reply had to be changed. Default: console.warn. */
  readonly warn?: (message: string) => unknown
}

/** Reports that can't fail. */
export interface Reporter {
  onError(error: unknown): void
  warn(message: string): void
}

/** @throws TypeError when a hook is no function. */
export function createReporter({ onError = console.error, warn = console.warn }: ReporterOptions): Reporter {
  if (typeof onError !== "function") throw new TypeError("onError must be a function")
  if (typeof warn !== "function") throw new TypeError("warn must be a function")
  const told = new Set<string>()
  return {
    onError: (error) => survive(() => onError(error)),
    warn(message) {
      if (told.has(message)) return
      told.add(message)
      survive(() => warn(message))
    },
  }
}

/** The sentence that tells an application that its caching was overruled. */
export function overruled(field: string): string {
  return `coatcheck: took "${field}" from a page that looked at a session; caches would have shown it to others`
}

// A hook that fails must not take the reply, or the process, with it.
function survive(hook: () => unknown): void {
  try {
    const result = hook()
    if (result instanceof Promise) result.catch((error: unknown) => console.error(error))
  } catch (error) {
    console.error(error)
  }
}
