// The stores of express-session that peers are measured with, as their own pages set them up. STORE names one, STORE_URL says where it is;
// undefined is the peer's own, in memory.
import session from "express-session"

const { STORE: name, STORE_URL: url } = process.env

const stores = {
  async redis() {
    const { createClient } = await import("redis")
    const { RedisStore } = await import("connect-redis")
    const client = createClient({ url })
    await client.connect()
    return new RedisStore({ client })
  },
  async postgres() {
    const { default: pg } = await import("pg")
    const { default: connect } = await import("connect-pg-simple")
    const Store = connect(session)
    return new Store({ pool: new pg.Pool({ connectionString: url }), createTableIfMissing: true })
  },
}

export const store = name === undefined ? undefined : await stores[name]()
