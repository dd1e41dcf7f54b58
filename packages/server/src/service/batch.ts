// Many operations in one request, one batch after the other where many are under way (pace.ts). They are read and their scopes checked before the first is done, then all are handed to the store
// in one tick, which is what lets it put them into one transaction or one round trip. Each has its own result; that one
// fails is no failure of the batch.

import type { GetOptions } from "coatcheck"
import {
  formatDeleteOutcome,
  formatFailure,
  formatGet,
  formatOutcome,
  formatResults,
  type Operation,
  parseBatch,
} from "coatcheck/protocol"
import { readText } from "./body.ts"
import { type Call, sendJson } from "./call.ts"
import { safeError, sendAllowed, sendFailure } from "./failure.ts"
import { permits } from "./scope.ts"

/** `/-/v1/batch`. */
export async function batch(call: Call): Promise<void> {
  if (call.method !== "POST") return sendAllowed(call, "POST, OPTIONS")
  const { limits, pace } = call.setting
  const text = await readText(call, limits.batchBytes)
  await pace.turn()
  const operations = read(call, text)
  pace.begin(operations?.length ?? 0)
  if (operations === null) return
  const results = await Promise.all(operations.map((operation) => resultOf(call, operation)))
  sendJson(call, 200, formatResults(results))
}

/** What the batch asks for; null: the refusal has been sent. */
function read(call: Call, text: string): readonly Operation[] | null {
  const { limits, now } = call.setting
  try {
    const operations = parseBatch(text, now(), limits.batchOps)
    if (operations.some(shows) && !permits(call, "read")) return null
    if (!operations.every(isRead) && !permits(call, "write")) return null
    return operations
  } catch (error) {
    sendFailure(call, error)
    return null
  }
}

// Whether the result may hold what it did not write: a condition that fails shows what stands there.
function shows(operation: Operation): boolean {
  if (operation.op === "get") return true
  return operation.op === "set" ? operation.options.if !== undefined : operation.version !== undefined
}

function isRead(operation: Operation): boolean {
  return operation.op === "get"
}

const freshly: GetOptions = { fresh: true }

async function resultOf(call: Call, operation: Operation): Promise<string> {
  const { store, now, pace } = call.setting
  try {
    switch (operation.op) {
      case "get":
        return formatGet(await store.get(operation.key, operation.fresh === true ? freshly : undefined), now())
      case "set":
        return formatOutcome("set", await store.set(operation.key, operation.value, operation.options), now())
      case "touch": {
        const { key, expiresAt, version } = operation
        return formatOutcome(
          "touch",
          await store.touch(key, expiresAt, version === undefined ? {} : { version }),
          now(),
        )
      }
      case "delete": {
        const { key, version } = operation
        return formatDeleteOutcome(await store.delete(key, version === undefined ? {} : { version }), now())
      }
    }
  } catch (error) {
    return formatFailure(safeError(call, error, isRead(operation) ? "read" : "write"))
  } finally {
    pace.end()
  }
}
