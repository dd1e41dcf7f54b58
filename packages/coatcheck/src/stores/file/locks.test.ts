import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setImmediate as turn } from "node:timers/promises"
import { Worker } from "node:worker_threads"
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { type Locks, locksIn } from "./locks.ts"
import { type Holder, isGone, type Presence, present, readHolder } from "./presence.ts"

/** Called before each link is made, with its path. */
const links = vi.hoisted(() => ({ onLink: (_path: string): void => {} }))
/** Whom /proc takes this process for; "": for itself. */
const proc = vi.hoisted(() => ({ self: "" }))

vi.mock("node:fs", async (original) => {
  const real = await original<typeof import("node:fs")>()
  return {
    ...real,
    linkSync: (from: string, to: string) => {
      links.onLink(to)
      real.linkSync(from, to)
    },
    readlinkSync: (path: string) => (path === "/proc/self" && proc.self !== "" ? proc.self : real.readlinkSync(path)),
  }
})

const root = fs.mkdtempSync(join(tmpdir(), "coatcheck-locks-"))
let folder = ""
let work = ""
let made = 0
const cleanups: (() => unknown)[] = []

beforeEach(() => {
  folder = join(root, `${++made}`, "locks")
  work = join(root, `${made}`, "work")
  for (const one of [folder, work]) fs.mkdirSync(one, { recursive: true })
})
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
afterAll(() => fs.rmSync(root, { recursive: true, force: true }))

function open(): Locks {
  const locks = locksIn(folder, work)
  cleanups.push(() => locks.end())
  return locks
}

/** A presence of this process that is told to be another one's. */
async function presence(as: Partial<Holder> = {}): Promise<Presence> {
  const made = await present(work)
  cleanups.push(() => made.end())
  fs.writeFileSync(made.file, JSON.stringify({ ...made.holder, ...as }))
  return made
}

/** A process that does nothing but live. */
async function stranger(): Promise<{ pid: number; start: string; end(): Promise<void> }> {
  const child: ChildProcess = spawn(process.execPath, ["-e", "console.log('here'); process.stdin.resume()"])
  const end = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill("SIGKILL")
    await once(child, "exit")
  }
  cleanups.push(end)
  if (child.stdout) await once(child.stdout, "data")
  const stat = fs.readFileSync(`/proc/${child.pid}/stat`, "latin1")
  return { pid: child.pid as number, start: stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] as string, end }
}

const lock = (name: string): string => join(folder, name)
const soon = (): (() => boolean) => {
  let looks = 0
  return () => ++looks <= 6 // asked twice a look
}
const always = (): boolean => true

/** Asserts that a lock that this holder left, a day ago by its times, is taken, or is not. */
async function judged(as: Partial<Holder>, taken: boolean): Promise<void> {
  const { file } = await presence(as)
  fs.linkSync(file, lock("k"))
  fs.utimesSync(lock("k"), 1, 1)
  const locks = open()
  expect(await locks.take("k", soon())).toBe(taken)
  if (taken) locks.giveBack("k")
  fs.rmSync(lock("k"), { force: true })
}

describe("a lock", () => {
  it("names its holder's process and when that started, and is never empty", async () => {
    const locks = open()
    expect(await locks.take("k", always)).toBe(true)
    const stat = fs.readFileSync("/proc/self/stat", "latin1")
    const start = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]
    expect(JSON.parse(fs.readFileSync(lock("k"), "utf8"))).toMatchObject({ pid: process.pid, start })
    locks.giveBack("k")
    expect(fs.readdirSync(folder)).toEqual([])
  })

  it("is held by one at a time, however many want it through however many stores", async () => {
    const stores = [open(), open(), open()]
    let inside = 0
    let most = 0
    const one = async (locks: Locks): Promise<void> => {
      expect(await locks.take("k", always)).toBe(true)
      most = Math.max(most, ++inside)
      await turn()
      inside -= 1
      locks.giveBack("k")
    }
    const meanwhile = async (locks: Locks): Promise<void> => {
      for (let times = 0; times < 50; times++) {
        await locks.ifFree("k", () => (most = Math.max(most, inside + 1)))
        await turn()
      }
    }
    const clients = Array.from({ length: 24 }, (_, at) => one(stores[at % 3] as Locks))
    await Promise.all([...clients, ...stores.map(meanwhile)])
    expect(most).toBe(1)
    expect(fs.readdirSync(folder)).toEqual([])
  })

  it("of a living process is not taken, however old it is, and its waiter gives up when nobody wants it any more", async () => {
    const { pid, start } = await stranger()
    await judged({ pid, start }, false)
  })

  it("F-KILL-1: of a dead process is taken at once; so is one whose id another process has now", async () => {
    const other = await stranger()
    await judged({ pid: other.pid, start: String(Number(other.start) - 1) }, true)
    await other.end()
    await judged({ pid: other.pid, start: other.start }, true)
  })

  it("F-KILL-1: of a worker thread that was terminated is taken, while its process lives", async () => {
    const program = `
      const { parentPort, workerData } = require("node:worker_threads"), fs = require("node:fs")
      import("tsx/esm/api").then(async ({ register }) => {
        register()
        const { present } = await import(workerData.presence)
        fs.linkSync((await present(workerData.work)).file, workerData.lock)
        parentPort.postMessage("held")
        setInterval(() => {}, 1000)
      })`
    const workerData = { presence: new URL("presence.ts", import.meta.url).href, work, lock: lock("k") }
    const thread = new Worker(program, { eval: true, workerData })
    cleanups.push(() => thread.terminate())
    await once(thread, "message")
    const locks = open()
    expect(await locks.take("k", soon())).toBe(false)
    await thread.terminate()
    expect(await locks.take("k", soon())).toBe(true)
    locks.giveBack("k")
  })

  it("of a living process is not taken where /proc shows another namespace, in which its number is somebody else's", async () => {
    const { pid, start } = await stranger()
    proc.self = "1"
    cleanups.push(() => (proc.self = ""))
    await judged({ pid, start: String(Number(start) - 1) }, false)
  })

  it("of another boot of the machine is taken", async () => {
    await judged({ boot: "another" }, true)
  })

  it("of a process id namespace that can't be looked into is taken when its socket is closed, not before", async () => {
    const space = "pid:[1]"
    const { file, end, holder } = await presence({ space, pid: 1, start: "1" })
    fs.linkSync(file, lock("k"))
    const locks = open()
    expect(await locks.take("k", soon())).toBe(false)
    const socket = `${holder.id}.socket`
    fs.linkSync(join(work, socket), join(work, "kept")) // as a kill leaves it: the name is there, nobody listens
    end()
    expect(await locks.take("k", soon()), "without a socket nothing is known").toBe(false)
    fs.renameSync(join(work, "kept"), join(work, socket))
    expect(await locks.take("k", soon())).toBe(true)
    locks.giveBack("k")
  })

  it("F-KILL-1: of a process that was killed in a container of its own is taken", async () => {
    const program = `
      const { createServer } = require("node:net"), fs = require("node:fs")
      const [folder, work] = process.argv.slice(1), id = "abcdefghijklmnop"
      createServer().listen(work + "/" + id + ".socket", () => {
        const boot = fs.readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()
        fs.writeFileSync(work + "/" + id, "")
        const inode = String(fs.statSync(work + "/" + id).ino), thread = ""
        const holder = { id, pid: process.pid, start: "1", boot, space: fs.readlinkSync("/proc/self/ns/pid"), thread, inode }
        fs.writeFileSync(work + "/" + id, JSON.stringify(holder))
        fs.linkSync(work + "/" + id, folder + "/k")
        console.log(process.pid)
      })`
    const child = spawn("unshare", [
      "--pid",
      "--fork",
      "--kill-child",
      "--mount-proc",
      process.execPath,
      "-e",
      program,
      folder,
      work,
    ])
    cleanups.push(() => child.kill("SIGKILL"))
    const [line] = (await once(child.stdout, "data")) as [Buffer]
    expect(line.toString(), "this needs the right to make a namespace: run it as root").toBe("1\n")
    const locks = open()
    expect(await locks.take("k", soon()), "it lives").toBe(false)
    const ended = once(child, "close")
    child.kill("SIGKILL")
    await ended
    expect(await locks.take("k", always)).toBe(true)
    locks.giveBack("k")
  })

  it.each([
    "",
    "{",
    "null",
    "rubbish",
    '{"pid":1}',
    `{"id":"../../../etc","pid":1,"start":"","boot":"","space":"","thread":""}`,
  ])("that names nobody (%j) is taken, since no living process has made it", async (content) => {
    fs.writeFileSync(lock("k"), content)
    const locks = open()
    expect(await locks.take("k", soon())).toBe(true)
    locks.giveBack("k")
  })

  it("of a living process is nobody's in a copy of the folder", async () => {
    const { pid, start } = await stranger()
    const { file } = await presence({ pid, start })
    fs.linkSync(file, lock("k"))
    const original = join(root, `${made}`)
    for (const how of ["-r", "-a"]) {
      const copy = join(root, `${made}copy${how}`)
      expect(spawnSync("cp", [how, original, copy]).status).toBe(0)
      const locks = locksIn(join(copy, "locks"), join(copy, "work"))
      cleanups.push(() => locks.end())
      expect(await locks.take("k", soon())).toBe(true)
      locks.giveBack("k")
    }
    expect(await open().take("k", soon())).toBe(false)
  })

  it("that a store could not remove is its own to take again", async () => {
    const locks = open()
    await locks.take("other", always)
    fs.linkSync(lock("other"), lock("k"))
    expect(await locks.take("k", soon())).toBe(true)
  })

  it("that is dead is broken once: of many who find it, each holds it alone", async () => {
    for (let round = 0; round < 20; round++) {
      const name = `k${round}`
      fs.linkSync((await presence({ boot: "another" })).file, lock(name))
      const stores = Array.from({ length: 4 }, open)
      let inside = 0
      let most = 0
      await Promise.all(
        stores.map(async (locks) => {
          expect(await locks.take(name, always)).toBe(true)
          most = Math.max(most, ++inside)
          await turn()
          inside -= 1
          locks.giveBack(name)
        }),
      )
      expect(most).toBe(1)
    }
  })

  it("whose breaker died too, and the breaker's breaker, is taken", async () => {
    const { file } = await presence({ boot: "another" })
    for (const name of ["k", "k~", "k~~"]) fs.linkSync(file, lock(name))
    const locks = open()
    expect(await locks.take("k", soon())).toBe(true)
    locks.giveBack("k")
    expect(fs.readdirSync(folder)).toEqual([])
  })

  it("that somebody is breaking is left to them", async () => {
    const { pid, start } = await stranger()
    fs.linkSync((await presence({ boot: "another" })).file, lock("k"))
    fs.linkSync((await presence({ pid, start })).file, lock("k~"))
    expect(await open().take("k", soon())).toBe(false)
    expect(fs.existsSync(lock("k"))).toBe(true)
  })

  it("that was found dead, and was broken and taken by somebody else a moment before, is theirs", async () => {
    const { pid, start } = await stranger()
    const living = await presence({ pid, start })
    fs.linkSync((await presence({ boot: "another" })).file, lock("k"))
    links.onLink = (path) => {
      if (!path.endsWith("~")) return
      links.onLink = () => {}
      fs.rmSync(lock("k"))
      fs.linkSync(living.file, lock("k"))
    }
    expect(await open().take("k", soon())).toBe(false)
    expect(readHolder(lock("k"))).toMatchObject({ pid })
  })

  it("goes to those who wait, before its holder takes it again", async () => {
    const [a, b] = [open(), open()]
    await a.take("k", always)
    const order: string[] = []
    const waiting = b.take("k", always).then(async () => {
      order.push("b")
      b.giveBack("k")
    })
    while (!fs.existsSync(lock("k+"))) await turn()
    a.giveBack("k")
    await a.take("k", always).then(() => order.push("a"))
    await waiting
    a.giveBack("k")
    expect(order).toEqual(["b", "a"])
    expect(fs.readdirSync(folder)).toEqual([])
  })

  it("is not kept for one who was next and is dead, nor for long for one who lives and does not come", async () => {
    const { pid, start } = await stranger()
    const locks = open()
    fs.linkSync((await presence({ boot: "another" })).file, lock("k+"))
    let looks = 0
    const looked = (): boolean => ++looks < 200
    expect(await locks.take("k", looked)).toBe(true)
    expect(looks).toBe(2) // before it looks, and before it takes
    locks.giveBack("k")

    fs.linkSync((await presence({ pid, start })).file, lock("k+"))
    looks = 0
    expect(await locks.take("k", looked)).toBe(true)
    expect(looks).toBeGreaterThan(10)
    locks.giveBack("k")
    looks = 0
    expect(await locks.take("k", looked)).toBe(true)
    expect(looks, "who did not come once is not waited for again").toBe(2)
    locks.giveBack("k")
  })

  it("is made by a presence that was cleared away and is made anew", async () => {
    const locks = open()
    await locks.take("k", always)
    locks.giveBack("k")
    for (const name of fs.readdirSync(work)) fs.rmSync(join(work, name))
    expect(await locks.take("k", always)).toBe(true)
    locks.giveBack("k")
  })

  it("bounds what is open: 64 are held at once, the others wait in line", async () => {
    const locks = open()
    const names = Array.from({ length: 100 }, (_, at) => `k${at}`)
    let taken = 0
    const all = names.map((name) => locks.take(name, always).then(() => taken++))
    while (taken < 64) await turn()
    for (let turns = 0; turns < 50; turns++) await turn()
    expect(taken).toBe(64)
    expect(fs.readdirSync(folder)).toHaveLength(64)
    for (const name of names.slice(0, 64)) locks.giveBack(name)
    await Promise.all(all)
    for (const name of names.slice(64)) locks.giveBack(name)
    expect(fs.readdirSync(folder)).toEqual([])
  })
})

describe("what processes leave behind", () => {
  it("F-KILL-1: is cleared away when they are gone: locks, signs, files on their way and presences", async () => {
    const dead = await presence({ boot: "another" })
    for (const name of ["a", "b~", "c+"]) fs.linkSync(dead.file, lock(name))
    fs.writeFileSync(dead.newPath(), "half a record")
    fs.writeFileSync(join(work, "new.abcdefgh12345678"), "coatcheck file store 1\n")
    await open().tidy()
    expect(fs.readdirSync(folder)).toEqual([])
    expect(fs.readdirSync(work)).toEqual([expect.stringMatching(/^[\w-]{16}$/), expect.stringMatching(/\.socket$/)])
  })

  it("stays while they live, and so does a presence that is just being written, for once", async () => {
    const { pid, start } = await stranger()
    const living = await presence({ pid, start })
    fs.linkSync(living.file, lock("a"))
    fs.writeFileSync(living.newPath(), "half a record")
    fs.writeFileSync(join(work, "AAAAAAAAAAAAAAAA"), "")
    const locks = open()
    await locks.tidy()
    expect(fs.readdirSync(folder)).toEqual(["a"])
    expect(fs.readdirSync(work)).toHaveLength(4)
    await locks.tidy()
    expect(fs.readdirSync(work)).toHaveLength(3)
  })

  it("is nothing when a store was closed", async () => {
    const locks = locksIn(folder, work)
    await locks.take("k", always)
    locks.giveBack("k")
    await locks.end()
    expect([fs.readdirSync(folder), fs.readdirSync(work)]).toEqual([[], []])
  })
})

describe("whether a process lives", () => {
  it("is asked in another namespace through a socket also where the path is longer than a socket's may be", async () => {
    work = join(root, "x".repeat(120), "work")
    fs.mkdirSync(work, { recursive: true })
    const one = await present(work)
    const holder = { ...one.holder, space: "pid:[1]" }
    expect(await isGone(work, holder)).toBe(false)
    const socket = join(work, `${holder.id}.socket`)
    fs.linkSync(socket, `${socket}2`)
    one.end()
    fs.renameSync(`${socket}2`, socket)
    expect(await isGone(work, holder)).toBe(true)
  })

  it("a killed process that nobody has asked about yet counts as dead", async () => {
    // The shell becomes a program that never waits for its children, so the killed one stays in the table.
    const parent = spawn("/bin/sh", ["-c", "sleep 1000 & echo $!; exec sleep 1000"])
    cleanups.push(() => parent.kill("SIGKILL"))
    const [line] = (await once(parent.stdout, "data")) as [Buffer]
    const pid = Number(line)
    const stat = (): string[] => {
      const text = fs.readFileSync(`/proc/${pid}/stat`, "latin1")
      return text.slice(text.lastIndexOf(")") + 2).split(" ")
    }
    const holder = { ...(await presence()).holder, pid, start: stat()[19] as string }
    expect(await isGone(work, holder)).toBe(false)
    process.kill(pid, "SIGKILL")
    while (stat()[0] !== "Z") await turn()
    expect(await isGone(work, holder)).toBe(true)
  })

  it("a holder's file that is no file names nobody", () => {
    fs.mkdirSync(join(work, "folder"))
    fs.symlinkSync("/etc/passwd", join(work, "link"))
    expect(spawnSync("mkfifo", [join(work, "pipe")]).status).toBe(0)
    for (const name of ["folder", "link", "pipe"]) expect(readHolder(join(work, name))).toBe("nobody")
    expect(readHolder(join(work, "absent"))).toBeNull()
  })
})
