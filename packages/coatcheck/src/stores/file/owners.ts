// Which records an owner has. A record's owner stands in the record, and there is no index but the file system; so for each record
// with an owner there is an empty file whose name is the owner's hash and the record's. It is on disk before the record is, and is
// taken away after the record has gone or changed hands, so that every record of an owner is found. What is found is a
// suspicion only: a listing reads the record, and a sweep clears away marks that lead to none.

import { dirname } from "node:path"
import { discard, mark, syncFolder } from "./disk.ts"
import { isMissing } from "./errors.ts"
import type { Folder } from "./folder.ts"
import { isName, nameOf } from "./record.ts"

/** The marks of a folder. */
export interface Owners {
  /** Makes a mark, for good. */
  add(owner: string, name: string): Promise<void>
  /** Takes a mark away. One that stays does no harm. */
  remove(owner: string, name: string): void
  /** The names of the records that may be this owner's, in order. */
  recordsOf(owner: string): string[]
  /** All marks in one of the folders: a mark, and the name of its record. */
  marksIn(shard: number): { readonly mark: string; readonly name: string }[]
  /** Whether a mark is for this owner. */
  isFor(mark: string, owner: string): boolean
  /** Takes a mark away. */
  drop(mark: string): void
}

/** The marks in a folder. */
export function ownersIn(folder: Folder): Owners {
  const markOf = (owner: string, name: string): string => `${nameOf(owner)}.${name}`

  function drop(one: string): void {
    const path = folder.find("owners", one)
    if (path !== null) discard(path)
  }

  return {
    async add(owner, name) {
      const path = await folder.place("owners", markOf(owner, name))
      try {
        mark(path)
        await syncFolder(dirname(path))
      } catch (error) {
        if (isMissing(error)) folder.forget(path)
        discard(path) // to be made again: a second sync of the same change would promise nothing
        throw error
      }
    },
    remove: (owner, name) => drop(markOf(owner, name)),
    recordsOf(owner) {
      const begin = markOf(owner, "")
      const names = folder.names("owners", Number.parseInt(begin.slice(0, 2), 16))
      return names
        .filter((one) => one.startsWith(begin))
        .map((one) => one.slice(begin.length))
        .filter(isName)
    },
    marksIn(shard) {
      const names = folder.names("owners", shard).map((one) => ({ mark: one, name: one.slice(one.indexOf(".") + 1) }))
      return names.filter(({ name }) => isName(name))
    },
    isFor: (one, owner) => one.startsWith(markOf(owner, "")),
    drop,
  }
}
