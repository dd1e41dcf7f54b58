// Loaded before a program: nothing is synced to disk any more, though everybody is told that it was. With it a store must lose what it
// acknowledged when the power goes; a test in which it does not shows nothing about stores that do sync.

import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"

const fsync = (_fd: number, done: (error: Error | null) => void): void => void setImmediate(done, null)
Object.assign(fs, { fsync })
fs.fsyncSync = () => {}
syncBuiltinESMExports()

const { DatabaseSync } = (await import("node:sqlite" as string).catch(() => import("@photostructure/sqlite"))) as {
  DatabaseSync: { prototype: { exec(sql: string): void } }
}
const { exec } = DatabaseSync.prototype
DatabaseSync.prototype.exec = function (sql) {
  exec.call(this, sql.replace("synchronous = FULL", "synchronous = OFF"))
}
