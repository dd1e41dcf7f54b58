// From a path to a folder that may be used, without harm to anything that lies there:
//
//     coatcheck            says whose folder this is, and in which format
//     records/3f/3f9a…     one file a record; the first two digits of its name spread the files over 256 folders
//     owners/a0/a01b….3f9a…   an empty file for each record that has an owner: the owner's name, then the record's
//     locks/3f9a…          who changes a record right now
//     work/                who is here, and files on their way into their place
//
// A folder that holds anything else is refused and stays as it was: it would be a pity to chmod 700 somebody's home. Every folder of
// ours is looked at before it is first used and must be one, no link to one; the files in it are opened without following a
// link. So nothing outside is ever opened, whatever was planted here. Symbolic links above the folder are its owner's business.

import * as fs from "node:fs"
import { dirname, join, resolve } from "node:path"
import { randomText } from "../../core/crypto.ts"
import type { Report } from "../../core/store.ts"
import { CoatcheckError } from "../../errors.ts"
import { adoptFolder, namesIn, readWhole, remove, syncFolder, writeNew } from "./disk.ts"
import { errno, FILE, failure, isMissing } from "./errors.ts"

const FORMAT = "coatcheck file store 1\n"
const WHOSE = "coatcheck"
const parts = ["records", "owners", "locks", "work"] as const

/** A folder of ours. */
export interface Folder {
  readonly locks: string
  readonly work: string
  /** Where the file of a record is, or would be. null: there is no such folder yet. */
  find(part: "records" | "owners", name: string): string | null
  /** The same; the folder is made when it is not there, and stays so after power loss. */
  place(part: "records" | "owners", name: string): Promise<string>
  /** Takes back that a path's folder was seen, which has turned out to be gone; the next call makes it again. */
  forget(path: string): void
  /** The names in one of the 256 folders of a part, from 0, in order. */
  names(part: "records" | "owners", shard: number): string[]
  /** Throws `unavailable` when the whole folder is gone: that nothing was found in it says nothing then. */
  stillThere(part: "records" | "owners"): void
}

/** How many folders a part has at most. */
export const SHARDS = 256

/**
 * Opens a folder of ours, or makes an empty or absent one ours (mode 700).
 *
 * @throws CoatcheckError `corrupt` when it is something else or newer; `denied` when this process may not; `unavailable` and `full`
 *   when it can't be made or used.
 */
export async function openFolder(path: string, report: Report): Promise<Folder> {
  const root = resolve(path)
  try {
    await makeFolder(root)
    if (!identify(root)) await found(root)
    for (const part of parts) makeOurs(join(root, part))
    await syncFolder(root)
    fs.accessSync(join(root, "work"), fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK)
  } catch (error) {
    throw trouble(root, error)
  }
  if ((fs.statSync(root).mode & 0o077) !== 0) {
    report({ store: FILE, kind: "warning", message: "Others on this machine may enter the folder: chmod 700 it" })
  }
  return folderAt(root)
}

function folderAt(root: string): Folder {
  const seen = new Set<string>()

  function shardOf(part: string, name: string): string {
    return join(root, part, name.slice(0, 2))
  }

  /** Whether the folder is there, and is one. */
  function isThere(folder: string): boolean {
    if (seen.has(folder)) return true
    const found = fs.lstatSync(folder, { throwIfNoEntry: false })
    if (found === undefined) return false
    if (!found.isDirectory()) throw planted(folder)
    seen.add(folder)
    return true
  }

  return {
    locks: join(root, "locks"),
    work: join(root, "work"),
    find(part, name) {
      const shard = shardOf(part, name)
      return isThere(shard) ? join(shard, name) : null
    },
    async place(part, name) {
      const shard = shardOf(part, name)
      if (!seen.has(shard)) {
        makeOurs(shard)
        await syncFolder(dirname(shard)).catch((error: unknown) => {
          unmake(shard)
          throw error
        })
        seen.add(shard)
      }
      return join(shard, name)
    },
    forget: (path) => void seen.delete(dirname(path)),
    names(part, shard) {
      const folder = shardOf(part, shard.toString(16).padStart(2, "0"))
      return isThere(folder) ? namesIn(folder) : []
    },
    stillThere(part) {
      if (fs.existsSync(join(root, part))) return
      throw new CoatcheckError("unavailable", "The file store's folder is gone; bring it back, or open the store again")
    },
  }
}

/** Makes a folder with all above it, mode 700. Refuses what is there and is none. */
async function makeFolder(folder: string): Promise<void> {
  const there = fs.lstatSync(folder, { throwIfNoEntry: false })
  if (there?.isSymbolicLink()) throw refusal("it is a symbolic link; name the folder that it leads to")
  if (there !== undefined && !there.isDirectory()) throw refusal("it is no folder; name one of its own")
  if (there !== undefined) return
  const missing: string[] = []
  for (let at = folder; !fs.existsSync(at); at = dirname(at)) missing.push(at)
  for (const one of missing.reverse()) {
    makeOne(one)
    await syncFolder(dirname(one))
  }
}

/** Makes a folder. false: it is there. */
function makeOne(folder: string): boolean {
  try {
    fs.mkdirSync(folder, { mode: 0o700 })
    return true
  } catch (error) {
    if (errno(error) !== "EEXIST") throw error
    if (!fs.lstatSync(folder).isDirectory()) throw planted(folder)
    return false
  }
}

/** Makes a folder in ours. */
function makeOurs(folder: string): void {
  if (makeOne(folder)) adoptFolder(folder)
}

/** Takes an empty folder away whose making was not synced, so that it is made again: a second sync would promise nothing. */
function unmake(folder: string): void {
  try {
    fs.rmdirSync(folder)
  } catch {
    // Another process has put something there, and has synced it, or will say so.
  }
}

/** Whether the folder is ours; false: it is empty, or another process is making it ours. Refuses everything else. */
function identify(root: string): boolean {
  const says = readWhole(join(root, WHOSE), 1_024)?.toString()
  if (says === FORMAT) return true
  if (says === undefined) {
    const known = new Set<string>([WHOSE, ...parts])
    if (namesIn(root).some((name) => !known.has(name))) throw refusal("it holds other files; name an empty folder")
    return false
  }
  if (/^coatcheck file store \d+\n$/.test(says)) throw refusal("a newer version of coatcheck made it; update this one")
  throw refusal(`its file "${WHOSE}" is damaged; restore the folder from a backup`)
}

/** Makes an empty folder ours. A link puts the whole file in place or nothing; of several processes one wins, and that is as good. */
async function found(root: string): Promise<void> {
  fs.chmodSync(root, 0o700)
  makeOurs(join(root, "work"))
  const path = join(root, "work", `new.${randomText(12)}`)
  await writeNew(path, Buffer.from(FORMAT))
  try {
    fs.linkSync(path, join(root, WHOSE))
  } catch (error) {
    if (!identify(root)) throw error
  } finally {
    remove(path)
  }
}

/** Refused while it is opened: nothing in it was touched. */
class Refusal extends Error {}

function refusal(why: string): Refusal {
  return new Refusal(why)
}

function planted(folder: string): CoatcheckError {
  const where = folder.split("/").slice(-2).join("/")
  return new CoatcheckError("corrupt", `The file store does not use ${where}: it is no folder; look who put it there`)
}

function trouble(root: string, error: unknown): CoatcheckError {
  if (error instanceof CoatcheckError) return error
  if (error instanceof Refusal)
    return new CoatcheckError("corrupt", `The file store did not touch ${root}: ${error.message}`)
  const { code } = failure("open", error)
  const advice = new Map([
    ["EACCES", "this process may not; give it the folder (chown, chmod 700)"],
    ["ENOTDIR", "a part of the path is no folder"],
    ["ENAMETOOLONG", "the path is too long"],
    ["ENOSPC", "the disk is full"],
    ["EROFS", "the disk is read-only"],
    ["EPERM", "this process may not, or the file system knows no hard links"],
    ["ENOTSUP", "the file system knows no hard links"],
    ["EMLINK", "a part of the path is a symbolic link"],
    ["ELOOP", "a part of the path is a symbolic link"],
  ]).get(errno(error))
  const why = advice ?? (isMissing(error) ? "a part of the path is gone" : "see the cause")
  return new CoatcheckError(code, `The file store can't use ${root}: ${why}`, { cause: error })
}
