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

/** Runs in the page: texts whose contrast is below WCAG AA, 4.5 to 1 (3 to 1 where they are large). */
export const faintTexts: string = `(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number)
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * x + 0.7152 * y + 0.0722 * z
  }
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor)
      if (color.length === 3 || color[3] === 1) return color
    }
    return [255, 255, 255]
  }
  const texts = [...document.querySelectorAll("body *")].filter(
    (element) => !element.closest("[aria-hidden]") && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  return texts.flatMap((element) => {
    const style = getComputedStyle(element)
    const [a, b] = [luminance(channels(style.color)), luminance(ground(element))].sort((x, y) => y - x)
    const ratio = (a + 0.05) / (b + 0.05)
    return ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5) ? [element.className + " " + element.textContent.slice(0, 40) + " " + ratio.toFixed(2)] : []
  })
})()`
