// Connections as the redis store makes them, for tests that look at one below the store.

import { systemClock } from "../../packages/coatcheck/src/core/clock.ts"
import { redisAddress } from "../../packages/coatcheck/src/stores/redis/address.ts"
import { type ConnectSettings, connectTo } from "../../packages/coatcheck/src/stores/redis/connect.ts"
import type { RedisConnection } from "../../packages/coatcheck/src/stores/redis/connection.ts"
import { loadDriver } from "../../packages/coatcheck/src/stores/redis/ioredis.ts"
import type { OpenLink } from "../../packages/coatcheck/src/stores/redis/link.ts"

/** Settings that leave everything to the URL; calls may take 300 ms. */
export const plainly: ConnectSettings = {
  clock: systemClock,
  deadline: 300,
  username: undefined,
  password: undefined,
  sentinelUsername: undefined,
  sentinelPassword: undefined,
  tls: false,
}

/** Each driver that our own connections can be made by. */
export const drivers: readonly (readonly [name: string, driver: () => Promise<OpenLink>])[] = [
  ["ioredis", () => loadDriver([() => import("ioredis")])],
  ["iovalkey", () => loadDriver([() => import("iovalkey")])],
]

/** Connects to a URL. */
export function dial(
  url: string,
  settings: Partial<ConnectSettings> = {},
  driver?: () => Promise<OpenLink>,
): Promise<RedisConnection> {
  return connectTo(redisAddress(url), { ...plainly, ...settings }, driver)
}
