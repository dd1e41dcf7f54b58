// What a store does around its verbs, the same in every store, once: bad arguments are refused before anything happens, what was
// left out is filled in, a closed store rejects, and whatever is thrown rejects the promise. Left to the author are the verbs
// themselves, which may rely on what they are given. There is one promise a call, as there is without this: a verb that knows
// its answer at once returns it plainly, and a verb's own promise is handed on as it is. (An async function around it would make
// two more and wait three turns for them, which is why the four verbs of a request are none.)
//
// Rejected: a base class (a store is closures over its connection, not a subject with state to inherit), and an engine of smaller
// parts, such as read, compare and write, which is shorter still for a map but can't say what one SQL statement or one request does.

import { checkDelete, checkKey, type CheckedQuery, checkQuery, checkSet, checkTouch, closedError } from "./contract.ts"
import {
  type DeleteOutcome,
  type Entry,
  limits,
  type Outcome,
  type Page,
  type SetOptions,
  type Store,
} from "./store.ts"

/** A store's verbs, for `checkedStore`: those of `Store`, with arguments that are in order, answering now or by a promise. */
export interface StoreVerbs {
  readonly info: Store["info"]
  /** `fresh`: not from a copy nearby. */
  get(key: string, fresh: boolean): Entry | null | Promise<Entry | null>
  set(key: string, value: string, options: SetOptions): Outcome | Promise<Outcome>
  /** `version`: the one that it is for; undefined: any. */
  touch(key: string, expiresAt: number | null, version: string | undefined): Outcome | Promise<Outcome>
  /** `version`: the one that it is for; undefined: any. */
  delete(key: string, version: string | undefined): DeleteOutcome | Promise<DeleteOutcome>
  list(query: CheckedQuery): Page | Promise<Page>
  count?(query: CheckedQuery): number | null | Promise<number | null>
  watch?(onChange: (key: string | null) => void): () => void
  /** Called once at most, and no verb after it. Left out: there is nothing to release. */
  close?(): void | Promise<void>
}

/**
 * A store made of verbs: it checks arguments as the contract has it, fills in defaults, and closes once.
 *
 * @param maxValueBytes the longest value, in bytes of UTF-8. Default 1 MiB.
 */
export function checkedStore(verbs: StoreVerbs, maxValueBytes: number = limits.valueBytes): Store {
  const { info } = verbs
  let closing: Promise<void> | null = null

  function open(): void {
    if (closing !== null) throw closedError(info.name)
  }

  async function close(): Promise<void> {
    await verbs.close?.()
  }

  return {
    info,
    get(key, options) {
      try {
        checkKey(key)
        open()
        return Promise.resolve(verbs.get(key, options?.fresh === true))
      } catch (error) {
        return rejected(error)
      }
    },
    set(key, value, options = {}) {
      try {
        checkSet(key, value, options, maxValueBytes)
        open()
        return Promise.resolve(verbs.set(key, value, options))
      } catch (error) {
        return rejected(error)
      }
    },
    touch(key, expiresAt, options) {
      try {
        checkTouch(key, expiresAt, options)
        open()
        return Promise.resolve(verbs.touch(key, expiresAt, options?.version))
      } catch (error) {
        return rejected(error)
      }
    },
    delete(key, options) {
      try {
        checkDelete(key, options)
        open()
        return Promise.resolve(verbs.delete(key, options?.version))
      } catch (error) {
        return rejected(error)
      }
    },
    async list(query) {
      const asked = checkQuery(query)
      open()
      return verbs.list(asked)
    },
    ...(verbs.count !== undefined && {
      async count(query?: { readonly prefix?: string; readonly owner?: string }) {
        const asked = checkQuery(query)
        open()
        return (await verbs.count?.(asked)) ?? null
      },
    }),
    ...(verbs.watch !== undefined && {
      // It gives no promise that could reject: of a closed store there is nothing to tell.
      watch: (onChange: (key: string | null) => void) =>
        (closing === null ? verbs.watch?.(onChange) : null) ?? (() => {}),
    }),
    close: () => (closing ??= close()),
  }
}

/** A promise that rejects with whatever was thrown. */
async function rejected(error: unknown): Promise<never> {
  throw error
}
