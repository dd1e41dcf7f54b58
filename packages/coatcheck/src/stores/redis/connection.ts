// What the Redis store asks of a driver, and no more: send one command to where a key lives, name the primaries, close. One node,
// Sentinel, Cluster and a client of the caller's own can all give it, and the store above knows none of them.
//
// What a driver owes:
// - Texts go in and come out as UTF-8 strings, numbers as numbers, nil as null, arrays as arrays. Where RESP2 and RESP3 differ
//   (maps, scores) either form is fine; the store reads both.
// - Commands of one tick leave together, and those for one node go over one socket in the order of the calls (`inOrder`; WAIT
//   needs it). A pool of sockets says false.
// - A command is sent once or never. One that can't be written now, because there is no link, is refused at once with
//   `RedisLinkError` and `sent: false`; the store waits and tries again within its own deadline, and only what surely did not
//   happen. There is no offline queue, and no command is repeated after a lost link. MOVED and ASK are the exception: the
//   server says that it did nothing, so the driver follows them.
// - A link that is lost is made anew by the driver, by itself, for as long as it is open; what was under way on it is rejected with
//   `sent: true`. A link that has owed an answer for longer than two deadlines is dead: it is cut, so that a frozen server holds
//   no call, no memory and no socket of ours for long.
// - READONLY means that the primary has moved: the reply is passed on, and the driver looks for the primary again.
// - Reads come from primaries only.
// - Deadlines of calls are the store's business, and so is a bound on how many are under way.

/** The server answered with an error. The message is the server's text, code word first: "NOSCRIPT No matching script". */
export class RedisReplyError extends Error {
  override readonly name = "RedisReplyError"
}

/** No answer came. The cause is what the driver or the socket said. */
export class RedisLinkError extends Error {
  override readonly name = "RedisLinkError"
  /** false: not one byte of the command left this process, so nothing happened. */
  readonly sent: boolean

  constructor(sent: boolean, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.sent = sent
  }
}

/** One primary. */
export interface RedisNode {
  /** The same for the same server for as long as it is a primary, without `|`: a cluster's node id, or a name for the one node. */
  readonly id: string
  /** As `RedisConnection.send`, to this server. */
  send(args: readonly string[]): Promise<unknown>
}

/** The way to the servers. */
export interface RedisConnection {
  /** Whether commands for one node run in the order in which they were sent. */
  readonly inOrder: boolean
  /**
   * Sends one command to the primary that holds `key`.
   *
   * Rejects with `RedisReplyError` or `RedisLinkError`; anything else counts as sent and unanswered.
   *
   * @param goingTo told of the server right before the command goes there: again after a redirection, never after the answer. A client of
   *   the caller's does not tell.
   */
  send(key: string, args: readonly string[], goingTo?: (node: RedisNode) => void): Promise<unknown>
  /** Every primary: one, or those of a cluster, in a stable order by id. */
  primaries(): Promise<readonly RedisNode[]>
  /**
   * Calls back with each key that changed and begins with `prefix`, whoever changed it, and with null whenever changes may have
   * gone by unseen: the channel broke, a server was flushed, a primary moved; and once more when the channel stands (again).
   * Over connections of its own (client tracking in broadcast mode). Left out by a client that can't. Returns the way to stop.
   */
  watch?(prefix: string, onChange: (key: string | null) => void): () => void
  /** Ends every link; what is under way rejects. */
  close(): Promise<void>
}
