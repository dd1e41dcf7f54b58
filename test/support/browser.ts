// Debian's Chromium under playwright-core, without the background traffic that a machine with a closed network would refuse.

import { existsSync } from "node:fs"
import { type Browser, chromium } from "playwright-core"

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium"

const args = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]

/** Starts a browser. */
export function launchBrowser(): Promise<Browser> {
  if (!existsSync(executablePath)) {
    throw new Error(`there is no ${executablePath}: apt-get install chromium, or set CHROMIUM to where it is`)
  }
  return chromium.launch({ executablePath, args })
}
