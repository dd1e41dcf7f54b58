// The two refusals that sessions themselves make, in one wording.

import { CoatcheckError } from "../errors.ts"

/** For a change of a session that is not there any more. */
export function endedError(): CoatcheckError {
  return new CoatcheckError("ended", "this session was ended; open it again on the next request")
}

/** For a change that came after the reply's headers. */
export function committedError(): CoatcheckError {
  return new CoatcheckError("committed", "the reply is on its way: change the session before it, or use update()")
}
