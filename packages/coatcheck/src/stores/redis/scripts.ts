// The writes, each one script over one key, so that the compare happens in the server and the same works in a cluster. Redis runs a
// script as one step; its only write is its last command, so that an error means that nothing happened.
//
// A script that refuses answers with what stands there, as text, for the caller to take apart (an answer of nil: nothing); a script that did its
// work answers with a list. Damaged and foreign data count as absent. A script is called by its hash; the first answer of a server
// that does not know it yet (NOSCRIPT) did nothing, so the call is sent once more with the whole text, which teaches it.
//
// Expiry is a duration, so that Redis's clock need not be ours. It reaches a little beyond the end, so that no clock cuts off what
// another one takes for alive.

import { createHash } from "node:crypto"

/** A script, by text and hash. Each takes one key. */
export interface Script {
  readonly text: string
  readonly sha: string
  /** once: it changes a record, and is never sent again when its answer was lost. again: it may be repeated. read: it changes nothing. */
  readonly use: "once" | "again" | "read"
}

/** A script of a text. */
export function script(use: Script["use"], text: string): Script {
  return { use, text, sha: createHash("sha1").update(text).digest("hex") }
}

// What stands under the key: its text, and if it is a record that lives, its parts. The same rules as in ./record.ts.
const look = `
local raw = redis.pcall('GET', KEYS[1])
if type(raw) ~= 'string' then raw = false end
local now = tonumber(ARGV[1])
local version, ends, owner, at = string.match(raw or '', '^1 ([%w_%-]+) (%-?%d*)([^\\n]*)\\n()')
if version and (#version > 64 or ends == '' or #ends > 17 or at > #raw or not (owner == '' or string.find(owner, '^ .'))) then
  version = nil
end
if version and ends ~= '-' and tonumber(ends) <= now then version = nil end
local function put(nextVersion, nextEnds, nextOwner, value, grace)
  local record = '1 ' .. nextVersion .. ' ' .. nextEnds .. nextOwner .. '\\n' .. value
  if nextEnds == '-' then return redis.call('SET', KEYS[1], record) end
  local left = math.max(1, tonumber(nextEnds) - now + tonumber(grace))
  return redis.call('SET', KEYS[1], record, 'PX', string.format('%.0f', left))
end
`

/**
 * ARGV: now, grace in ms, condition ("": none, "*": absent, else a version), new version, end, owner, value.
 *
 * Done: [1 if nothing stood there, else 0], and where an owner's set has to follow, behind it [1 if the owner is another, else 0; owner; end].
 */
export const setScript: Script = script(
  "once",
  `${look}
local condition = ARGV[3]
if condition ~= '' then
  if version and version == ARGV[4] then
    if owner == '' then return {0} end
    return {0, 1, string.sub(owner, 2), ends}
  end
  if condition == '*' then
    if version then return raw end
  elseif version ~= condition then
    return raw
  end
end
local nextEnds, nextOwner = ARGV[5], ARGV[6]
if nextEnds == '' then nextEnds = version and ends or '-' end
if nextOwner == '' then nextOwner = version and owner or '' elseif nextOwner == '-' then nextOwner = '' end
put(ARGV[4], nextEnds, nextOwner, ARGV[7], ARGV[2])
local created = version and 0 or 1
if nextOwner == '' then return {created} end
if not version or owner ~= nextOwner then return {created, 1, string.sub(nextOwner, 2), nextEnds} end
if ends ~= nextEnds or (condition == '' and ARGV[5] == '') then return {created, 0, string.sub(nextOwner, 2), nextEnds} end
return {created}
`,
)

/**
 * ARGV: now, grace in ms, version ("": any), end.
 *
 * Done: [version], with the owner behind it when the end moved and somebody owns it.
 */
export const touchScript: Script = script(
  "once",
  `${look}
if not version or (ARGV[3] ~= '' and version ~= ARGV[3]) then return raw end
if ends == ARGV[4] then return {version} end
put(version, ARGV[4], owner, string.sub(raw, at), ARGV[2])
if owner == '' then return {version} end
return {version, string.sub(owner, 2)}
`,
)

/**
 * ARGV: now, version ("": any).
 *
 * Done: a list, empty or of what was removed, as it stood there.
 */
export const deleteScript: Script = script(
  "once",
  `${look}
if version and ARGV[2] ~= '' and version ~= ARGV[2] then return raw end
redis.call('DEL', KEYS[1])
if version then return {raw} end
return {}
`,
)
