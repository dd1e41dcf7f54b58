// Who may change a record: the one whose lock stands in `locks/` under the record's name. A lock is made by `link`, which fails where
// a name is taken as O_EXCL does, but puts the name and what it says there in one step: a writer that dies between an open
// and a write would leave an empty lock, of which nobody could ever say whose it is.
//
// A lock is taken from its holder when the holder's process is gone (./presence.ts), never because it is old. Two who find the same dead
// lock must not both remove what is there: the second would remove the first one's new lock. So breaking is done under a lock of
// its own, `<name>~`: whoever holds that looks again, and moves the dead lock away by `rename`. Nobody else removes it meanwhile, since
// its holder is dead. A breaker that dies leaves a dead `<name>~`, which is broken in the same way.
//
// Who holds a lock has a file open or two, so the number of locks that one store holds at once is bounded.
//
// Waiting is looking again every few milliseconds. So that a process with much to do does not take a lock again and again
// before anybody else looks, one who waits leaves a sign, `<name>+`, a link to its presence: it is next, and nobody else takes the lock
// that becomes free. That is a courtesy and excludes nobody: a sign of the dead is taken away, and so is one whose process does not
// come although it was waited for through a number of looks, because it is stopped.

import * as fs from "node:fs"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { discard, namesIn } from "./disk.ts"
import { errno, isMissing } from "./errors.ts"
import { ID_LENGTH, isGone, type Presence, present, readHolder } from "./presence.ts"

/** The locks of a folder, for one store. */
export interface Locks {
  /**
   * Takes a lock; looks again until it has it. Who asked to be next before goes first.
   *
   * @param isWanted asked before each look; false: give up.
   * @returns whether it has it.
   */
  take(name: string, isWanted: () => boolean): Promise<boolean>
  /** Gives it back. */
  giveBack(name: string): void
  /** Does something while it has a lock, if the lock can be had at once. */
  ifFree(name: string, work: () => void): Promise<void>
  /** A path in `work/` for a file on its way. */
  newPath(): Promise<string>
  /** Clears away what processes that are gone have left. */
  tidy(): Promise<void>
  /** Gives up this store's presence; nothing may be held. */
  end(): Promise<void>
}

/** Locks that a store holds at once for its calls. */
const MOST_HELD = 64
const LOOK_MS = 4
/** Who is next looks more often. */
const NEXT_LOOK_MS = 1
/** So many looks are left to the one who is next: some 60 ms, more where processes get their turns late. */
const COURTESY = 20
const BREAK = "~"
const SIGN = "+"
/** How deep the locks on locks go: each level is a process that died within the same few microseconds. */
const DEEPEST = `${BREAK}${BREAK}${BREAK}`

/** The locks of a folder. The store is made known to others when it needs its first one. */
export function locksIn(folder: string, work: string): Locks {
  const held = new Set<string>()
  const places = bounded(MOST_HELD)
  let empties = new Set<string>() // presences that said nothing when they were last looked at
  let presence: Promise<Presence> | null = null

  function self(): Promise<Presence> {
    presence ??= present(work).catch((error: unknown) => {
      presence = null
      throw error
    })
    return presence
  }

  const pathOf = (name: string): string => join(folder, name)

  /** Links a lock to this store's file. false: the name is taken. */
  async function link(name: string, again = true): Promise<boolean> {
    const { file } = await self()
    try {
      fs.linkSync(file, pathOf(name))
      return true
    } catch (error) {
      if (errno(error) === "EEXIST") return false
      if (!isMissing(error)) throw error
      presence = null // somebody has cleared the file away, which harms nothing: here is another one
      if (again) return link(name, false)
      throw error
    }
  }

  /** Whether the lock that stands there is nobody's: its process is gone, or it is this store's own, left when it could not be removed. */
  async function isLeft(name: string): Promise<boolean> {
    const holder = readHolder(pathOf(name))
    if (holder === null) return false
    if (holder === "nobody") return true // every lock is made whole, so no living process made this one
    if (holder.id === (await presence)?.holder.id) return !held.has(name)
    return isGone(work, holder)
  }

  /** Takes a dead lock away, unless somebody else is about to. */
  async function breakLock(name: string): Promise<void> {
    if (name.endsWith(DEEPEST)) return
    const breaking = name + BREAK
    if (!(await claim(breaking))) return
    try {
      if (!(await isLeft(name))) return
      const away = (await self()).newPath()
      fs.renameSync(pathOf(name), away)
      discard(away)
    } finally {
      letGo(breaking)
    }
  }

  /** Takes a lock that is free, or dead. */
  async function claim(name: string): Promise<boolean> {
    if (await hold(name)) return true
    if (held.has(name) || !(await isLeft(name))) return false
    await breakLock(name)
    return hold(name)
  }

  /** Takes a lock that is free. It counts as held from before it is there, or this store could take it for its own left one. */
  async function hold(name: string): Promise<boolean> {
    if (held.has(name)) return false
    held.add(name)
    let taken = false
    try {
      taken = await link(name)
      return taken
    } finally {
      if (!taken) held.delete(name)
    }
  }

  function letGo(name: string): void {
    held.delete(name)
    discard(pathOf(name)) // if it stays, it is this store's own and not held, so the next one to want it breaks it
  }

  async function take(name: string, isWanted: () => boolean): Promise<boolean> {
    let isNext = false
    let left = COURTESY
    try {
      while (isWanted()) {
        await places.enter()
        let taken = false
        try {
          const isFirst = isNext || !(await isPromised(name, --left < 0))
          taken = isFirst && isWanted() && (await claim(name))
          if (!taken && (await link(name + SIGN))) isNext = true // at each look, since others may have taken the sign away
        } finally {
          if (!taken) places.leave()
        }
        if (taken) return true
        await pause(1 + Math.random() * (isNext ? NEXT_LOOK_MS : LOOK_MS))
      }
      return false
    } finally {
      if (isNext) discard(pathOf(name + SIGN)) // others who wait put it there again
    }
  }

  /** Whether somebody else is to have the lock next, who may be expected to come. */
  async function isPromised(name: string, isLate: boolean): Promise<boolean> {
    const sign = pathOf(name + SIGN)
    if (!fs.existsSync(sign)) return false
    if (!isLate && !(await isLeft(name + SIGN))) return true
    discard(sign)
    return false
  }

  function giveBack(name: string): void {
    letGo(name)
    places.leave()
  }

  async function tidy(): Promise<void> {
    for (const name of namesIn(folder)) {
      if (!(await isLeft(name))) continue
      if (name.endsWith(SIGN)) discard(pathOf(name))
      else await breakLock(name)
    }
    await tidyWork()
  }

  /** Files on their way, sockets and presences, whose processes are gone. */
  async function tidyWork(): Promise<void> {
    const unsure = new Set<string>()
    const byHolder = new Map<string, string[]>()
    for (const name of namesIn(work)) {
      const id = name.slice(0, ID_LENGTH)
      byHolder.set(id, [...(byHolder.get(id) ?? []), name])
    }
    for (const [id, names] of byHolder) {
      const holder = readHolder(join(work, id))
      if (holder === "nobody" && !empties.has(id)) {
        unsure.add(id) // perhaps it is just being written; if it is so the next time too, it is rubbish
        continue
      }
      const isRubbish = holder === null || holder === "nobody" || (await isGone(work, holder))
      if (isRubbish) for (const name of names.reverse()) discard(join(work, name))
    }
    empties = unsure
  }

  return {
    take,
    giveBack,
    async ifFree(name, work) {
      if (!(await claim(name))) return
      try {
        work()
      } finally {
        letGo(name)
      }
    },
    newPath: async () => (await self()).newPath(),
    tidy,
    async end() {
      const own = presence
      presence = null
      ;(await own)?.end()
    },
  }
}

/** So many at once; the others wait in line. */
function bounded(most: number): { enter(): Promise<void>; leave(): void } {
  let free = most
  const line: (() => void)[] = []
  return {
    async enter() {
      if (free === 0) await new Promise<void>((next) => line.push(next))
      else free -= 1
    },
    leave() {
      const next = line.shift()
      if (next) next()
      else free += 1
    },
  }
}
