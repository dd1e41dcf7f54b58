// Who is here. Each store that writes has a file in `work/` that names its process: process id and start time, and where those
// numbers mean anything (the boot of the machine, the process id namespace). A lock is a hard link to that file, so it says who
// holds it from the first moment.
//
// Whether a process still lives is asked of the kernel, never of a clock: a process that was stopped for an hour holds what it holds.
// - Another boot: it is gone. (One host: a folder that two machines share is not supported.)
// - The same namespace: it is gone when nobody has its id, or when somebody has it who started at another time. A dead process whose
//   threads are still inside a system call counts as living: one of them may be about to rename. A worker thread that was terminated
//   is gone while its process lives.
// - Another namespace (a container beside this one, or this one's last life): ids mean nothing. Each presence therefore listens on
//   a socket, which the kernel closes with the process's last thread; refused means gone.
// Where nothing can be found out a process counts as living.
//
// A presence names its own inode too. In a copy of the folder, made while somebody held a lock, the locks name processes that live and know
// nothing of the copy; but they are other files, so they are nobody's there.

import * as fs from "node:fs"
import { connect, createServer, type Server } from "node:net"
import { basename, join } from "node:path"
import { once } from "node:events"
import { randomText } from "../../core/crypto.ts"
import { discard, inodeOf, readWhole, writeNew } from "./disk.ts"
import { errno } from "./errors.ts"

/** A process that has, or had, the folder open, as its file names it. */
export interface Holder {
  /** New for each store that is opened. */
  readonly id: string
  readonly pid: number
  /** When it started: clock ticks since the boot. "": this system does not tell. */
  readonly start: string
  /** The boot of the machine. "": this system does not tell. */
  readonly boot: string
  /** The process id namespace. "": this system has none. */
  readonly space: string
  /** The worker thread that it is in: its id and when it started. "": the main thread, or this system does not tell. */
  readonly thread: string
  /** Of the file itself, which every lock is a link to. */
  readonly inode: string
}

/** This store's own presence. */
export interface Presence {
  readonly holder: Holder
  /** The file to link to. */
  readonly file: string
  /** A path for a file on its way, never used before. */
  newPath(): string
  /** Takes it away; to be called when nothing is held any more. */
  end(): void
}

/** Characters of a holder's id. */
export const ID_LENGTH = 16
/** What a holder's file takes at most. */
const HOLDER_BYTES = 1_024
/** What a socket's path may take everywhere. */
const SOCKET_PATH_BYTES = 100

/** Makes this store known in the folder `work`. */
export async function present(work: string): Promise<Presence> {
  const start = statOf("self")?.start ?? ""
  const holder = { id: randomText(12), pid: process.pid, start, ...surroundings(), thread: ownThread(), inode: "" }
  const file = join(work, holder.id)
  await writeNew(file, (fd) => {
    holder.inode = inodeOf(fd)
    return Buffer.from(`${JSON.stringify(holder)}\n`)
  })
  const server = await listen(work, holder.id)
  return {
    holder,
    file,
    newPath: () => `${file}.${randomText(12)}`,
    end() {
      server?.close()
      discard(socketOf(work, holder.id))
      discard(file)
    },
  }
}

/** Who a holder's file, or a link to it, names. null: the file is not there. "nobody": no living process has such a file. */
export function readHolder(path: string): Holder | "nobody" | null {
  let own = ""
  const bytes = readWhole(path, HOLDER_BYTES, (fd) => (own = inodeOf(fd)))
  if (bytes === null) return null
  try {
    const { id, pid, start, boot, space, thread, inode } = JSON.parse(bytes.toString()) as Holder // checked in the next line
    const texts = [id, start, boot, space, thread]
    const isWhole = texts.every((text) => typeof text === "string") && Number.isSafeInteger(pid)
    return isWhole && id.length === ID_LENGTH && /^[\w-]+$/.test(id) && pid > 0 && inode === own
      ? { id, pid, start, boot, space, thread, inode }
      : "nobody"
  } catch {
    return "nobody"
  }
}

/** Whether a holder's process has ended for certain. */
export async function isGone(work: string, holder: Holder): Promise<boolean> {
  const { boot, space } = surroundings()
  if (holder.boot !== boot) return true
  return holder.space === space ? isDead(holder) : isDeaf(work, holder.id)
}

function isDead({ pid, start, thread }: Holder): boolean {
  try {
    process.kill(pid, 0) // finds processes that /proc hides from us
  } catch (error) {
    if (errno(error) === "ESRCH") return true
  }
  const now = statOf(String(pid))
  if (now === null || start === "") return false
  if (now.start !== start || (/[ZX]/.test(now.state) && now.threads <= 1)) return true
  const [id = "", began] = thread.split(" ")
  return id !== "" && statOf(`${pid}/task/${id}`)?.start !== began
}

/** Whether nobody listens behind a presence any more. */
async function isDeaf(work: string, id: string): Promise<boolean> {
  const [path, release] = reachable(work, id)
  try {
    const socket = connect(path)
    try {
      await once(socket, "connect")
      return false
    } finally {
      socket.destroy()
    }
  } catch (error) {
    return errno(error) === "ECONNREFUSED" // no socket at all says nothing: it may be about to be made
  } finally {
    release()
  }
}

async function listen(work: string, id: string): Promise<Server | null> {
  const [path, release] = reachable(work, id)
  const server = createServer((socket) => socket.destroy()).unref()
  try {
    server.listen({ path, exclusive: true }) // in a cluster the socket is this worker's, not the primary's
    await once(server, "listening")
    return server
  } catch {
    return null // a file system without sockets: processes of other namespaces then take this one for living
  } finally {
    release()
  }
}

function socketOf(work: string, id: string): string {
  return join(work, `${id}.socket`)
}

/** The socket's path as the kernel takes it, and how to give back what that needs: a long one goes through an open folder. */
function reachable(work: string, id: string): [string, () => void] {
  const path = socketOf(work, id)
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES || process.platform !== "linux") return [path, () => {}]
  const fd = fs.openSync(work, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
  return [`/proc/self/fd/${fd}/${id}.socket`, () => fs.closeSync(fd)]
}

/** The boot and the namespace of this process. */
function surroundings(): { boot: string; space: string } {
  try {
    const boot = fs.readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()
    return { boot, space: fs.readlinkSync("/proc/self/ns/pid") }
  } catch {
    return { boot: "", space: "" } // no Linux
  }
}

function ownThread(): string {
  try {
    const id = basename(fs.readlinkSync("/proc/thread-self"))
    const start = statOf("thread-self")?.start ?? ""
    return id === String(process.pid) || start === "" ? "" : `${id} ${start}`
  } catch {
    return "" // no Linux
  }
}

/** State, number of threads and start time of a process or a thread; null: it is not to be seen, or these are not our namespace's. */
function statOf(pid: string): { state: string; threads: number; start: string } | null {
  try {
    if (fs.readlinkSync("/proc/self") !== String(process.pid)) return null
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1")
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ") // the name before it may hold anything
    return { state: fields[0] ?? "", threads: Number(fields[17]), start: fields[19] ?? "" }
  } catch {
    return null
  }
}
