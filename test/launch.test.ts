// What a newcomer types first: `npm start`, and the Procfile under Debian's foreman. The service runs from the built packages, as
// users run it (`npm test` builds them first).

import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { command, freePort, isFree, root, runSource, start, startSource } from "./support/processes.ts"
import { call, visitor } from "./support/visitor.ts"

const folder = mkdtempSync(join(tmpdir(), "launch-"))
afterAll(() => rmSync(folder, { recursive: true }))

const store = (name: string) => `sqlite:${join(folder, name)}`

/** The processes whose parent this is. */
function children(parent: number): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      // pid (name) state ppid …; the name may hold spaces and brackets.
      const [, ppid] = readFileSync(`/proc/${name}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? []
      return Number(ppid) === parent ? [Number(name)] : []
    } catch {
      return [] // it has ended meanwhile
    }
  })
}

/** How far above the counter's port the other pages are. */
const distances = [10, 20, 30] as const

/** Whether nobody listens on any port of theirs. */
async function allFree({ port, servicePort }: { port: number; servicePort: number }): Promise<boolean> {
  const free = await Promise.all([servicePort, port, ...distances.map((distance) => port + distance)].map(isFree))
  return free.every(Boolean)
}

async function ports() {
  const [port, servicePort] = [await freePort(...distances), await freePort()]
  return { port, servicePort, options: ["--port", String(port), "--service-port", String(servicePort)] }
}

async function npmStart(name: string) {
  const { port, servicePort, options } = await ports()
  const npm = start("npm", ["start", "--", ...options, "--store", store(name)], { group: true })
  const [, url = ""] = await npm.says(/^launch {7}\| open (http:\/\/localhost:\d+) /)
  return { npm, url, port, servicePort }
}

async function launch(name: string) {
  const { port, servicePort, options } = await ports()
  const launcher = startSource("examples/launch.ts", [...options, "--store", store(name)])
  await launcher.says(/^launch {7}\| open http:\/\/localhost:/)
  return { launcher, port, servicePort }
}

describe("npm start", () => {
  it("P1 P6: one command starts all, with labelled lines; Ctrl-C ends all with exit 0 and leaves the ports free", async () => {
    const [port, servicePort] = [await freePort(...distances), await freePort()]
    const args = [
      "start",
      "--",
      "--port",
      String(port),
      "--service-port",
      String(servicePort),
      "--store",
      store("p1.db"),
    ]
    const npm = start("npm", args, { group: true })
    const [, url = ""] = await npm.says(/^launch {7}\| open (http:\/\/localhost:\d+) /)
    expect(url).toBe(`http://localhost:${port}`)
    await npm.says(/^service {6}\| .*serving/)
    for (const name of ["counter", "two-counters", "values", "visits"])
      await npm.says(new RegExp(`^${name.padEnd(12)} \\| .*ready at`))

    const one = visitor()
    expect((await one.get(`${url}/`)).body).toContain("Count: 1")
    expect((await one.get(`${url}/`)).body).toContain("Count: 2")
    await npm.says(/^counter {6}\| GET \/ 200$/)
    expect((await call("GET", `http://127.0.0.1:${servicePort}/`)).body).toMatch(
      /^\{"keys":\s*\["session:[\w-]{43}"\]\}/,
    )

    // Every page leads to all the others, and they keep their sessions in one service without meddling with each other's.
    const addresses = [0, ...distances].map((distance) => `http://localhost:${port + distance}/`)
    for (const address of addresses) {
      const { status, body } = await one.get(address)
      const links = [...body.matchAll(/<li><a href="([^"]+)"/g)].map(([, href = ""]) => (href === "/" ? address : href))
      expect([status, links]).toEqual([200, addresses])
    }
    await one.get(`http://localhost:${port + 20}/session/set/coat`)
    expect((await one.get(`http://localhost:${port + 20}/`)).body).toContain("Session Value = coat")
    expect((await one.get(`http://localhost:${port + 10}/`)).body).toContain("Counter 1: 2")
    expect((await call("GET", `http://127.0.0.1:${servicePort}/`)).body.match(/session:/g)).toHaveLength(3)

    const kv = `http://localhost:${servicePort}`
    const up = await runSource(command, ["doctor", kv])
    expect([up.code, up.stdout]).toEqual([0, expect.stringContaining("ok")])

    process.kill(-(npm.child.pid ?? 0), "SIGINT") // a terminal sends it to everybody in the group
    const { code, stdout } = await npm.ended
    expect(code).toBe(0)
    expect(stdout).toContain("launch       | SIGINT: stopping")
    expect(stdout).not.toContain("\u001b[") // colours are for terminals
    expect(await allFree({ port, servicePort })).toBe(true)

    const down = await runSource(command, ["doctor", kv])
    expect(down.code).not.toBe(0)
    expect(down.stdout + down.stderr).toContain(`localhost:${servicePort}`)
  })

  it("P1: SIGTERM to npm alone ends everything too, and the next start finds the sessions again", async () => {
    const one = visitor()
    for (const count of [1, 2]) {
      const { npm, port, servicePort } = await npmStart("again.db")
      expect((await one.get(`http://127.0.0.1:${port}/`)).body).toContain(`Count: ${count}`)
      expect((await npm.stop("SIGTERM")).code).toBe(0)
      expect(await allFree({ port, servicePort })).toBe(true)
    }
  })

  it("P1: when one of them dies, the others are stopped, a line says so, and the exit code is not 0", async () => {
    for (const [index, name] of ["service", "counter", "visits"].entries()) {
      const { launcher, port, servicePort } = await launch(`dies-${index}.db`)
      const pids = children(launcher.child.pid ?? 0).toSorted((a, b) => a - b)
      const commands = pids.map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8"))
      const mark = name === "service" ? "coatcheck.js" : `/${name}/server.ts`
      const victim = pids[commands.findIndex((line) => line.includes(mark))]
      process.kill(victim ?? 0, "SIGKILL")
      const { code, stderr } = await launcher.ended
      expect(code).toBe(1)
      expect(stderr).toContain(`launch       | the ${name} was ended by SIGKILL, so the rest is stopped`)
      expect(await allFree({ port, servicePort })).toBe(true)
    }
  })

  it("P2 P4: ports come from the environment too; a busy one is one clear line, and nothing is started", async () => {
    const [port, servicePort] = [await freePort(...distances), await freePort()]
    const squatter = createServer().listen(port, "127.0.0.1")
    const service = { SERVICE_PORT: String(servicePort) }
    for (const [env, option] of [
      [{ COUNTER_PORT: String(port), ...service }, "--port"],
      [{ PORT: String(port), ...service }, "--port"],
      [{ PORT: String(port - 20), ...service }, "--values-port"],
      [{ PORT: String(port + 1), TWO_COUNTERS_PORT: String(port), ...service }, "--two-counters-port"],
      [{ PORT: String(port + 1), SERVICE_PORT: String(port) }, "--service-port"],
    ] as const) {
      const { code, stdout, stderr } = await startSource("examples/launch.ts", [], { env }).ended
      expect([code, stdout]).toEqual([1, ""])
      expect(stderr).toMatch(new RegExp(`^launch {7}\\| port ${port} is already in use[^\\n]* ${option} [^\\n]*\\n$`))
    }
    await new Promise((resolve) => squatter.close(resolve))
  })

  it("P2 P4: what counter.cfg says holds, the page's port too; what is wrong in it is said before anything starts", async () => {
    // A project of its own, whose settings may be changed.
    const place = mkdtempSync(join(folder, "settings-"))
    cpSync(join(root, "examples"), join(place, "examples"), { recursive: true })
    for (const name of ["packages", "node_modules", "package.json"]) symlinkSync(join(root, name), join(place, name))
    const settings = join(place, "examples/counter/counter.cfg")
    const [port, servicePort] = [await freePort(...distances), await freePort()]
    appendFileSync(settings, `PORT=${port}\n`)
    const args = ["--service-port", String(servicePort)]
    const launcher = startSource("examples/launch.ts", args, { cwd: place })
    const [, shown] = await launcher.says(/^launch {7}\| open http:\/\/localhost:(\d+) /)
    expect(Number(shown)).toBe(port)
    expect((await launcher.stop("SIGINT")).code).toBe(0)

    appendFileSync(settings, "USE_SESSION_STORE=perhaps\n")
    const { code, stdout, stderr } = await runSource("examples/launch.ts", args, { cwd: place })
    expect([code, stdout]).toEqual([1, ""])
    expect(stderr).toBe("launch       | USE_SESSION_STORE (counter.cfg) must be true or false\n")
  })

  it("P4: bad options and a store that can't be opened are clear lines without a trace", async () => {
    for (const args of [
      ["--port", "x"],
      ["--prot", "1"],
      ["--port", "5100"],
    ]) {
      const { code, stdout, stderr } = await runSource("examples/launch.ts", args)
      expect([code, stdout]).toEqual([1, ""])
      expect(stderr).toMatch(/^launch {7}\| [^\n]+\n$/)
    }
    const rubbish = join(folder, "rubbish.db")
    writeFileSync(rubbish, "no database ".repeat(1_000))
    const { options } = await ports()
    const { code, stderr } = await runSource("examples/launch.ts", [...options, "--store", `sqlite:${rubbish}`])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^service {6}\| [^\n]+\nlaunch {7}\| the service ended with exit code \d[^\n]*\n$/)
    expect(stderr).not.toMatch(/^\s+at /m)
  })

  it("--help tells the options and the variables", async () => {
    const { code, stdout } = await runSource("examples/launch.ts", ["--help"])
    expect(code).toBe(0)
    for (const word of ["--port", "--values-port", "--service-port", "COUNTER_PORT", "VALUES_PORT", "SERVICE_PORT"])
      expect(stdout).toContain(word)
  })
})

describe("the Procfile", () => {
  it("P2 P3: foreman starts the page on its base port and the service 100 above, and Ctrl-C ends both", async () => {
    // A folder that looks like the project, so that ./var is not the project's own.
    const place = mkdtempSync(join(folder, "foreman-"))
    for (const name of ["examples", "packages", "node_modules", "package.json", "Procfile"])
      symlinkSync(join(root, name), join(place, name))
    const port = await freePort(100)
    const foreman = start("foreman", ["start", "-p", String(port)], { cwd: place, group: true })
    await foreman.says(/service\.1 +\| .*serving/)
    await foreman.says(/counter\.1 +\| .*ready at/)

    const one = visitor()
    expect((await one.get(`http://127.0.0.1:${port}/`)).body).toContain("Count: 1")
    expect((await one.get(`http://127.0.0.1:${port}/`)).body).toContain("Count: 2")
    expect((await call("GET", `http://127.0.0.1:${port + 100}/`)).body).toContain("session:")

    process.kill(-(foreman.child.pid ?? 0), "SIGINT")
    const { stdout } = await foreman.ended
    expect(stdout).toMatch(/service\.1 +\| exited with code 0/)
    expect(stdout).toMatch(/counter\.1 +\| exited with code 0/)
    expect([await isFree(port), await isFree(port + 100)]).toEqual([true, true])
  })

  it("P2: foreman's default base is 5000, so the Procfile names the page first and the service second", () => {
    const names = [...readFileSync(join(root, "Procfile"), "utf8").matchAll(/^(\w+):/gm)].map(([, name]) => name)
    expect(names).toEqual(["counter", "service"])
  })
})
