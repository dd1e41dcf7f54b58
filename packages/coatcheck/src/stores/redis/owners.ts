// Whose entries there are: a sorted set an owner, of keys, whose score is the highest end that was written there (+inf: none). Records
// are the truth; the set only says where to look, and it may be wrong in one direction: it names too many, never too few.
//
// - A key gets in before its record is written, or with it, so a crash in between leaves a name without a record.
// - Scores go up with the ends of their records, and down only by doubt: a key whose record was read and found absent or another's gets the
//   present as its score, if it has the score that was read still. It may be about to be written. If a minute later it is still
//   found so, it goes. So a past score is a suspicion, and nothing goes by its score alone.
// - Pages go up the scores. A record that lives can't slip below a page that was read, because its score never goes down.
// - The set as a whole expires at twice the time that its longest-lived record has left. A crash between a touch and the index
//   leaves it one touch behind, which is less than that. Redis forgets sets of owners who never come back.
//
// Each addition looks at the two most suspicious members too, so that a set nobody lists does not grow for ever.

import type { Calls } from "./calls.ts"
import { script } from "./scripts.ts"

/** A member goes when its record was missed for so long. */
const DOUBT_MS = 60_000
/** The set outlives its highest end by at least this. */
const SPARE_MS = 60_000

/** A name in an owner's set. */
export interface Member {
  readonly key: string
  /** Epoch ms as Redis writes it, or "inf". */
  readonly score: string
}

// ARGV: key, score, now, the end of suspicion, "1" if the end is not known yet. Gives the most suspicious members with their scores.
const addScript = script(
  "again",
  `
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
local top = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
local left = redis.call('PTTL', KEYS[1])
if top == 'inf' or ARGV[5] == '1' then
  if left >= 0 then redis.call('PERSIST', KEYS[1]) end
else
  local wanted = 2 * math.max(0, tonumber(top) - tonumber(ARGV[3])) + ${SPARE_MS}
  if left < wanted then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', wanted)) end
end
return redis.call('ZRANGE', KEYS[1], '-inf', ARGV[4], 'BYSCORE', 'LIMIT', 0, 2, 'WITHSCORES')
`,
)

// ARGV: now, the end of suspicion, then key and score as they were seen, in turn ("": any score).
const doubtScript = script(
  "again",
  `
for at = 3, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if score and (ARGV[at + 1] == '' or ARGV[at + 1] == score) then
    if score == 'inf' or tonumber(score) > tonumber(ARGV[1]) then redis.call('ZADD', KEYS[1], ARGV[1], ARGV[at])
    elseif tonumber(score) <= tonumber(ARGV[2]) then redis.call('ZREM', KEYS[1], ARGV[at]) end
  end
end
return 0
`,
)

// ARGV: score and key of the last member that was seen ("" and "": none), how many. When that member has moved, members of its score
// may be given again.
const pageScript = script(
  "read",
  `
local from = 0
if ARGV[1] ~= '' then
  if redis.call('ZSCORE', KEYS[1], ARGV[2]) == ARGV[1] then from = redis.call('ZRANK', KEYS[1], ARGV[2]) + 1
  else from = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1]) end
end
return redis.call('ZRANGE', KEYS[1], from, from + ARGV[3] - 1, 'WITHSCORES')
`,
)

/** The sets of all owners. */
export interface Owners {
  /**
   * Puts a key into its owner's set, or its score up. Gives members whose records should be looked at.
   *
   * An end of undefined is not known yet: the key gets in as a suspicion, the set stays until the next addition tells.
   */
  add(owner: string, key: string, expiresAt: number | null | undefined, now: number, since?: number): Promise<Member[]>
  /** Members whose records are absent or another's, or (score "") were deleted just now. */
  doubt(owner: string, members: readonly Member[], now: number): Promise<void>
  /** The members that follow one, up the scores. */
  page(owner: string, after: Member | null, count: number, since: number): Promise<Member[]>
  /** Keys whose end is to come, up to so many. */
  living(owner: string, now: number, count: number): Promise<string[]>
  /** How many such keys there are. */
  count(owner: string, now: number): Promise<number>
}

/** @param keyOf the name of an owner's set */
export function ownersOn(calls: Calls, keyOf: (owner: string) => string): Owners {
  return {
    async add(owner, key, expiresAt, now, since) {
      const score = expiresAt === null ? "+inf" : String(expiresAt ?? now)
      const times = [String(now), String(now - DOUBT_MS), expiresAt === undefined ? "1" : ""]
      return members(await calls.script(addScript, keyOf(owner), [key, score, ...times], since))
    },
    async doubt(owner, doubted, now) {
      const pairs = doubted.flatMap(({ key, score }) => [key, score])
      await calls.script(doubtScript, keyOf(owner), [String(now), String(now - DOUBT_MS), ...pairs])
    },
    async page(owner, after, count, since) {
      const { score, key } = after ?? { score: "", key: "" }
      return members(await calls.script(pageScript, keyOf(owner), [score, key, String(count)], since))
    },
    async living(owner, now, count) {
      const range = [`(${now}`, "+inf", "BYSCORE", "LIMIT", "0", String(count)]
      const keys = await calls.read(keyOf(owner), ["ZRANGE", keyOf(owner), ...range])
      return Array.isArray(keys) ? keys.map(String) : []
    },
    count: async (owner, now) => Number(await calls.read(keyOf(owner), ["ZCOUNT", keyOf(owner), `(${now}`, "+inf"])),
  }
}

/** Of a list of keys and scores in turn; scripts give it so in every protocol. */
function members(reply: unknown): Member[] {
  const flat = Array.isArray(reply) ? reply.map(String) : []
  return flat.flatMap((score, at) => (at % 2 === 1 ? [{ key: flat[at - 1] ?? "", score }] : []))
}
