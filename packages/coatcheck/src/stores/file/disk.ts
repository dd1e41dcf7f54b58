// The few things that are done with the file system, so that each is done in one way.
//
// Short calls are synchronous, syncs are not. On Linux an open, a read of a small file, a link or a rename takes a few microseconds; handed
// to a thread it takes some fifty of processor time more (measured: a read of 400 bytes 9 µs here, 175 as promises). What
// takes milliseconds is the disk, and the disk is waited for in fsync alone, which has a thread. (../sqlite.ts waits for it on the
// spot.) Whoever touches many files does so a few at a time, with a turn of the event loop in between.
//
// No call follows a symbolic link at the end of a path, none waits for a pipe to have a writer, and what is no plain file
// reads as an empty one, which is damaged.

import * as fs from "node:fs"
import { dirname } from "node:path"
import { promisify } from "node:util"
import { doubt, errno, isMissing } from "./errors.ts"

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = fs.constants
const fsync = promisify(fs.fsync)

/** What most records fit into; longer files take more reads. */
const CHUNK = 65_536
const chunk = Buffer.alloc(CHUNK)
const nothing = Buffer.alloc(0)

/**
 * The bytes of a file; null: nothing is there. Empty for what is no plain file, or has more than `most` bytes.
 *
 * @param onOpen is given the open file before it is read.
 */
export function readWhole(path: string, most: number, onOpen?: (fd: number) => void): Buffer | null {
  let fd: number
  try {
    fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  } catch (error) {
    if (isMissing(error)) return null
    if (["ELOOP", "EMLINK", "ENXIO"].includes(errno(error))) return nothing // a symbolic link, a socket
    throw error
  }
  try {
    onOpen?.(fd)
    const parts: Buffer[] = []
    for (let length = 0; ; ) {
      const read = fs.readSync(fd, chunk, 0, CHUNK, length)
      length += read
      if (length > most) return nothing
      if (read > 0) parts.push(Buffer.from(chunk.subarray(0, read)))
      if (read < CHUNK) return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
    }
  } catch (error) {
    if (["EISDIR", "ESPIPE", "EAGAIN", "EINVAL"].includes(errno(error))) return nothing // a folder, a pipe, a device
    throw error
  } finally {
    fs.closeSync(fd)
  }
}

/**
 * Writes a new file, mode 600, and syncs it. When that fails the file is taken away again, if it can be.
 *
 * @param content its bytes, or what makes them once the file is open.
 */
export async function writeNew(path: string, content: Buffer | ((fd: number) => Buffer)): Promise<void> {
  const fd = fs.openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    try {
      adopt(fd, dirname(path))
      const bytes = typeof content === "function" ? content(fd) : content
      for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at, bytes.length - at, at)
      await fsync(fd)
    } finally {
      fs.closeSync(fd)
    }
  } catch (error) {
    discard(path)
    throw error
  }
}

/** The number by which the file system knows an open file: a link has the same one, a copy another. */
export function inodeOf(fd: number): string {
  return String(fs.fstatSync(fd, { bigint: true }).ino)
}

/** Makes what was put into a folder stay there. */
export async function syncFolder(path: string): Promise<void> {
  const fd = openFolder(path)
  try {
    await fsync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/**
 * Puts a file that was written and synced in its place, over what is there, for good.
 *
 * @throws CoatcheckError `unknown-outcome` when it may be in its place and may not stay there. Any other error: it is not.
 */
export function replace(from: string, path: string): Promise<void> {
  return changeFolder(path, () => fs.renameSync(from, path))
}

/**
 * Takes a file away for good; fine when it is not there.
 *
 * @throws CoatcheckError `unknown-outcome` when it may be gone and may come back. Any other error: it is still there.
 */
export function erase(path: string): Promise<void> {
  return changeFolder(path, () => remove(path))
}

/** Changes the folder of a path and syncs it. The folder is opened first: what fails then has changed nothing. */
async function changeFolder(path: string, change: () => void): Promise<void> {
  const fd = openFolder(dirname(path))
  try {
    try {
      change()
    } catch (error) {
      throw errno(error) === "EIO" ? doubt(error) : error
    }
    await fsync(fd).catch((error: unknown) => {
      throw doubt(error)
    })
  } finally {
    fs.closeSync(fd)
  }
}

function openFolder(path: string): number {
  return fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
}

/**
 * Gives what root has made to whoever has the folder that it is in: a command that was run as root once must not shut the application
 * out of its own records. SQLite does so too.
 */
function adopt(made: number, folder: string): void {
  if (process.geteuid?.() !== 0) return
  try {
    const { uid, gid } = fs.statSync(folder)
    if (uid !== 0) fs.fchownSync(made, uid, gid)
  } catch {
    // Root of a container may be one that gives nothing away; then it stays as it was made.
  }
}

/** The same with a folder that was made, opened so that nothing else is given away that somebody has put in its place. */
export function adoptFolder(path: string): void {
  const fd = openFolder(path)
  try {
    adopt(fd, dirname(path))
  } finally {
    fs.closeSync(fd)
  }
}

/** Makes an empty file, mode 600, or finds one there. */
export function mark(path: string): void {
  try {
    const fd = fs.openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    adopt(fd, dirname(path))
    fs.closeSync(fd)
  } catch (error) {
    if (errno(error) !== "EEXIST") throw error
  }
}

/** Takes a name away. false: it was not there. */
export function remove(path: string): boolean {
  try {
    fs.unlinkSync(path)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

/** Takes away what is of no use any more; a later sweep tries again when this fails. */
export function discard(path: string): void {
  try {
    fs.unlinkSync(path)
  } catch {
    // It is gone, or the disk fails; nobody waits for it, and whoever put it there tells the error that matters.
  }
}

/** The names in a folder, in order; none when it is not there. */
export function namesIn(path: string): string[] {
  try {
    return fs.readdirSync(path).sort()
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}
